"""What stands between the brackets of MEASURE(…), and which measure of which mart it means."""

from dataclasses import dataclass
from typing import NoReturn

from serving.content.validate import near
from serving.errors import QueryRefused
from serving.semantic.measure.scope import Seat, Seats
from serving.semantic.model import Model
from serving.syntax import Node, folded


@dataclass(frozen=True)
class Call:
    """`MEASURE(~orders.buyers)`: a measure, of a relation that is perhaps named, perhaps estimated."""

    name: str
    relation: str = ""
    approximate: bool = False

    def __str__(self) -> str:
        path = f"{self.relation}.{self.name}" if self.relation else self.name
        return f"MEASURE({'~' if self.approximate else ''}{path})"


def read_call(node: Node) -> Call:
    """The call that a node named `measure` makes; raises QueryRefused for any other form."""
    if node["class"] == "WINDOW":
        hint = (
            "write a window over it: sum(MEASURE(revenue)) OVER (…), rank() OVER (ORDER BY MEASURE(revenue))"
        )
        raise QueryRefused("MEASURE(…) OVER (…) is not a window function", hint=hint)
    arguments = node["arguments"]
    special = node["distinct"] or node["order_bys"]["orders"] or node["export_state"]
    if special or len(node["qualified_name"]["path"]) != 1 or len(arguments) != 1 or arguments[0]["name"]:
        _refuse_form()
    name = arguments[0]["expression"]
    approximate = name["class"] == "FUNCTION" and name["function_name"] == "~" and len(name["arguments"]) == 1
    if approximate:
        name = name["arguments"][0]["expression"]
    if name["class"] != "COLUMN_REF" or len(name["column_names"]) > 2:
        _refuse_form()
    *relation, last = name["column_names"]
    return Call(last, relation[0] if relation else "", approximate)


def _refuse_form() -> NoReturn:
    hint = "as in MEASURE(revenue), MEASURE(orders.revenue), or MEASURE(~buyers) for an estimate"
    raise QueryRefused("MEASURE takes the name of one measure", hint=hint)


def find(call: Call, seats: Seats, model: Model) -> tuple[Seat, str]:
    """The relation whose rows are measured, and the measure's name; raises QueryRefused."""
    chosen = [seat for seat in seats if seat.relation.mart]
    if call.relation:
        chosen = _named(call, seats)
    found = [(seat, name) for seat in chosen if (name := _measure(model, seat.relation.mart, call.name))]
    if len(found) == 1:
        seat, name = found[0]
        if other := next((mart for mart in seat.relation.beside if _measure(model, mart, call.name)), ""):
            problem = f"{call} may be of {seat.relation.mart} or {other}, which {seat.title} joins"
            raise QueryRefused(problem, hint=f"write MEASURE({seat.relation.mart}.{call.name}) there")
        return seat, name
    if found:
        names = [seat.written or seat.relation.mart for seat, _ in found]
        problem = f"{call} may be of {' or '.join(names)}: each has a measure of that name"
        raise QueryRefused(problem, hint=f"write MEASURE({names[0]}.{call.name})")
    return _refuse_unknown(call, seats, chosen, model)


def _named(call: Call, seats: Seats) -> list[Seat]:
    """The relations that the name before the dot means: an alias, or else a mart that has another alias."""
    name = folded(call.relation)
    found = [seat for seat in seats if seat.name == name]
    found = found or [seat for seat in seats if folded(seat.relation.mart) == name]
    if not found:
        known = [seat.written for seat in seats if seat.relation.mart and seat.written]
        hint = near(call.relation, known) or "name a mart that stands in FROM"
        raise QueryRefused(f"{call}: '{call.relation}' does not stand in FROM here", hint=hint)
    return found


def _measure(model: Model, mart: str, name: str) -> str:
    measures = model.content.marts[mart].measures if mart else {}
    return name if name in measures else next((m for m in measures if folded(m) == folded(name)), "")


def _refuse_unknown(call: Call, seats: Seats, chosen: list[Seat], model: Model) -> NoReturn:
    marts = list(dict.fromkeys(seat.relation.mart for seat in chosen if seat.relation.mart))
    if not marts:
        titles = " and ".join(seat.title for seat in seats)
        problem = (
            f"{call}: {titles} passes no mart's rows on" if titles else f"{call}: there is no mart in FROM"
        )
        hint = "MEASURE belongs into the SELECT that reads the mart: use the column that it makes there"
        raise QueryRefused(problem, hint=hint if titles else "add FROM and the mart whose measure it is")
    elsewhere = [m for m in model.readable if m not in marts and _measure(model, m, call.name)]
    known = [name for mart in marts for name in model.content.marts[mart].measures]
    hint = near(call.name, known) or f"{marts[0]} has none: declare it in its YAML"
    if elsewhere:
        hint = f"it is a measure of {elsewhere[0]}: read that in FROM, or in a CTE of its own"
    raise QueryRefused(f"{' and '.join(marts)} has no measure '{call.name}'", hint=hint)
