"""What a SELECT gives to the query around it: its columns, its keys, and whether they are a mart's rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from serving.errors import QueryRefused
from serving.semantic.measure.scope import (
    Key,
    Relation,
    Resolve,
    Seat,
    Seats,
    Shown,
    pathed,
    resolver,
    unambiguous,
)
from serving.semantic.measure.types import kind_of
from serving.syntax import Node, folded, plain_form

# every aggregate that a question may call; one that is missing here proves nothing, and is no harm
AGGREGATES = frozenset(
    """
    any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min
    arg_min_null argmax argmin array_agg avg bit_and bit_or bit_xor bitstring_agg bool_and bool_or corr
    count count_if count_star countif covar_pop covar_samp entropy favg first fsum geometric_mean
    group_concat histogram kahan_sum kurtosis kurtosis_pop last list listagg mad max max_by mean median
    min min_by mode product quantile quantile_cont quantile_disc regr_avgx regr_avgy regr_count
    regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy sem skewness stddev stddev_pop
    stddev_samp string_agg sum sum_no_overflow sumkahan var_pop var_samp variance weighted_avg wavg
    """.split()
)
_ROW_MAKERS = frozenset("generate_subscripts regexp_split_to_table unlist unnest".split())
QUERIES = frozenset("SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE".split())

Estimated = Callable[[Node], bool]


def is_query(node: Node) -> bool:
    """Whether a node is a query of its own."""
    return "cte_map" in node and node["type"] in QUERIES


def near_nodes(root: Any) -> Iterator[dict[str, Any]]:
    """Every node of a value, but none of the queries inside it."""
    todo: list[Any] = [root]
    while todo:
        item = todo.pop()
        if isinstance(item, dict) and not is_query(item):
            yield item
            todo += item.values()
        elif isinstance(item, list):
            todo += item


def given(node: Node, seats: Seats, estimated: Estimated) -> Relation:
    """The rows of a SELECT_NODE whose measures are spelled out."""
    resolve = resolver(seats)
    items, modifiers = node["select_list"], {m["type"]: m for m in node["modifiers"]}
    columns = _columns(items, seats, resolve, estimated)
    if any(str(n.get("function_name")).lower() in _ROW_MAKERS for n in near_nodes(items)):
        return Relation(_plain(columns))
    adds_up = [_adds_up(item) for item in items]
    all_by_name = node["aggregate_handling"] == "FORCE_AGGREGATES"
    grouped = bool(node["group_sets"]) or (all_by_name and not all(adds_up))
    single = _takes_one(modifiers.get("LIMIT_MODIFIER"))
    if grouped:
        of_groups = _group_keys(node, seats, adds_up, columns, resolve)
        keys = (*of_groups, *_distinct(modifiers, columns, resolve))
        return Relation(_plain(columns), keys=keys, single=single)
    if any(adds_up) or node["having"] is not None:
        return Relation(_plain(columns), single=True)
    single = single or all(seat.relation.single and not seat.padded for seat in seats)
    mart = _mart(seats, columns)
    kept = columns if mart else _plain(columns)
    keys = tuple(_kept_keys(seats, columns))
    alike = "DISTINCT_MODIFIER" in modifiers and all(key.nulls for key in keys)
    if alike and not modifiers["DISTINCT_MODIFIER"]["distinct_on_targets"]:
        mart, kept = "", _plain(columns)  # rows that look alike became one
    marts = [m for seat in seats for m in (seat.relation.mart, *seat.relation.beside) if m not in ("", mart)]
    return Relation(kept, mart, tuple(marts), (*keys, *_distinct(modifiers, columns, resolve)), single)


def combined(node: Node, arms: list[Relation]) -> Relation:
    """What UNION, EXCEPT and INTERSECT give: the columns of the first arm, and distinct rows without ALL."""
    known = [arm.columns for arm in arms if arm.columns is not None]
    by_place = len(known) == len(arms) and len({len(columns) for columns in known}) == 1
    if not by_place or node.get("setop_type") == "UNION_BY_NAME" or node["type"] == "RECURSIVE_CTE_NODE":
        if any(column.estimated for columns in known for column in columns):
            hint = "use MEASURE without ~, or join instead"
            raise QueryRefused("an estimate (MEASURE(~…)) cannot be followed through this query", hint=hint)
        return Relation()
    columns = unambiguous(
        [
            Shown(
                same[0].name,
                same[0].header,
                same[0].kind if len({column.kind for column in same}) == 1 else "",
                estimated=any(column.estimated for column in same),
            )
            for same in zip(*known, strict=True)
        ]
    )
    names = [column.name for column in columns]
    keys = () if node["setop_all"] or not all(names) else (Key(frozenset(names)),)
    return Relation(columns, keys=keys)


def _columns(
    items: Sequence[Node], seats: Seats, resolve: Resolve, estimated: Estimated
) -> tuple[Shown, ...] | None:
    owner = _owner(seats)
    found: list[Shown] = []
    for item in items:
        if item["class"] == "STAR":
            starred = _starred(item, seats, owner)
            if starred is None:
                return None
            found += starred
            continue
        target = resolve(item) if item["class"] == "COLUMN_REF" else None
        name = item["alias"] or (item["column_names"][-1] if item["class"] == "COLUMN_REF" else "")
        shown = _seen(*target, owner) if target else Shown("", name, kind_of(item, resolve))
        header = item["alias"] or shown.header
        found.append(replace(shown, name=folded(name), header=header, estimated=estimated(item)))
    return unambiguous(found)


def _starred(item: Node, seats: Seats, owner: Seat | None) -> list[Shown] | None:
    """The columns that a star stands for; None where that is not known."""
    if item["columns"] or item["expr"] is not None or item["rename_list"] or item["qualified_exclude_list"]:
        return None
    chosen = [s for s in seats if not item["relation_name"] or s.name == folded(item["relation_name"])]
    if not chosen or any(seat.relation.columns is None for seat in chosen):
        return None
    left_out = {folded(str(name)) for name in item["exclude_list"]}
    replaced = {folded(str(entry["key"])) for entry in item["replace_list"]}
    shown = [_seen(seat, c, owner) for seat in chosen for c in seat.relation.columns or ()]
    kept = [column for column in shown if column.name not in left_out]
    return [Shown(c.name, c.header, estimated=c.estimated) if c.name in replaced else c for c in kept]


def _seen(seat: Seat, column: Shown, owner: Seat | None) -> Shown:
    own = column.own if seat is owner else ""
    never_null = column.never_null and not seat.padded
    return replace(column, own=own, never_null=never_null, origin=(seat.name, column.name))


def _owner(seats: Seats) -> Seat | None:
    """The one relation of a mart's rows whose rows are the rows of the join."""
    found = [seat for seat in seats if seat.relation.mart and not seat.repeated and not seat.padded]
    return found[0] if len(found) == 1 else None


def _mart(seats: Seats, columns: tuple[Shown, ...] | None) -> str:
    """The mart whose rows a SELECT without groups shows: proven by one of its columns."""
    owner = _owner(seats)
    return owner.relation.mart if owner and any(column.own for column in columns or ()) else ""


def _plain(columns: tuple[Shown, ...] | None) -> tuple[Shown, ...] | None:
    return None if columns is None else tuple(replace(column, own="") for column in columns)


def _adds_up(item: Node) -> bool:
    """Whether an item holds an aggregate that this SELECT computes."""
    return any(
        node.get("class") == "FUNCTION"
        and (node["function_name"].lower() in AGGREGATES or node["filter"] is not None or node["distinct"])
        for node in near_nodes(item)
    )


def _takes_one(modifier: Node | None) -> bool:
    if modifier is None or modifier["limit"] is None or modifier["limit_type"] != "ROW_COUNT":
        return False
    literal = modifier["limit"].get("literal") or {}
    return literal.get("kind") == "INTEGER" and literal["text"] in ("0", "1")


def _distinct(
    modifiers: dict[str, Node], columns: tuple[Shown, ...] | None, resolve: Resolve
) -> Iterator[Key]:
    """DISTINCT makes all columns a key, DISTINCT ON its own."""
    modifier = modifiers.get("DISTINCT_MODIFIER")
    if modifier is None or columns is None:
        return
    names = [column.name for column in columns]
    if targets := modifier["distinct_on_targets"]:
        found = [resolve(target) if target["class"] == "COLUMN_REF" else None for target in targets]
        origins = [(target[0].name, target[1].name) if target else ("", "") for target in found]
        kept = {column.origin: column.name for column in columns if column.name == column.origin[1]}
        names = [kept.get(origin, "") for origin in origins]
    if all(names):
        yield Key(frozenset(names))


def _group_keys(
    node: Node, seats: Seats, adds_up: Sequence[bool], columns: tuple[Shown, ...] | None, resolve: Resolve
) -> Iterator[Key]:
    """The columns that show every group key."""
    sets, expressions, items = node["group_sets"], node["group_expressions"], node["select_list"]
    if node["aggregate_handling"] == "FORCE_AGGREGATES":
        pairs = zip(items, adds_up, strict=True)
        expressions = [item for item, adds in pairs if not adds and item["class"] != "CONSTANT"]
    elif len(sets) != 1 or sorted(sets[0]) != list(range(len(expressions))) or not sets[0]:
        return
    if columns is None or len(columns) != len(items):
        return
    shown = {plain_form(item, pathed(resolve)): c.name for item, c in zip(items, columns, strict=True)}
    aliases = {folded(item["alias"]) for item in items} & {column.name for column in columns}
    free = {name for name in aliases if all(_lacks(seat, name) for seat in seats)}
    names = []
    for expression in expressions:
        literal, parts = expression.get("literal") or {}, expression.get("column_names", ())
        if literal.get("kind") == "INTEGER" and expression not in items:
            place = int(literal["text"]) - 1
            names.append(columns[place].name if 0 <= place < len(columns) else "")
        elif len(parts) == 1 and folded(parts[0]) in free:
            names.append(folded(parts[0]))
        else:
            names.append(shown.get(plain_form(expression, pathed(resolve)), ""))
    if all(names):
        yield Key(frozenset(names))


def _lacks(seat: Seat, name: str) -> bool:
    """Whether a relation certainly has no column of that name."""
    return seat.relation.columns is not None and all(c.name not in (name, "") for c in seat.relation.columns)


def _kept_keys(seats: Seats, columns: tuple[Shown, ...] | None) -> Iterator[Key]:
    """Keys of relations whose rows are not repeated are keys of the joined rows, where they are shown."""
    names = {column.origin: column.name for column in columns or () if column.name and column.origin[1]}
    for seat in seats:
        for key in () if seat.repeated else seat.relation.keys:
            outer = frozenset(names.get((seat.name, column), "") for column in key.columns)
            if "" not in outer:
                yield Key(outer, key.nulls or seat.padded)
