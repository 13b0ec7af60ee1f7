"""Clauses that many shapes of questions share."""

import re

from tests.oracle.choices import Choices
from tests.oracle.expressions import Expressions, Scope
from tests.oracle.tables import Schema, Tables

AGGREGATES = tuple(
    re.split(
        r"\s\s+",
        """count(*)  sum({num})  max({text})  min({date})  count(distinct {text})  avg({num})
        count_if({bool})  string_agg({text}, ',' order by {text})  list({num} order by {num})  bool_or({bool})
        median({num})  round(sum({real}), 3)  list_sort(list(distinct {text}))  max({num})  min({num})
        bool_and({bool})  max({ts})  histogram({text})  sum(distinct {num})  count({num})
        quantile_disc({num}, 0.75)  max({text}, 2)  min({list})  round(avg({real}), 3)""",
    )
)


class Clauses:
    """Grows WHERE, ORDER BY, lists of items, aggregates and subqueries over the tables at hand."""

    def __init__(self, choices: Choices, schema: Schema) -> None:
        self.choices = choices
        self.expressions = Expressions(choices, self.subquery)
        self.tables = Tables(choices, self.expressions, schema)

    def subquery(self, choices: Choices, family: str, outer: Scope) -> str:
        """One column, mostly one row; sees the outer columns at times."""
        table = self.tables.bare("i")
        cells = [cell.text for cell in table.scope if cell.family == family] or ["null"]
        where = ""
        if choices.chance(60):
            pairs = [(i.text, o.text) for i in table.scope for o in outer if i.family == o.family]
            correlated = choices.chance(50) and pairs
            where = " where " + (
                "{} = {}".format(*choices.pick(pairs))
                if correlated
                else self.expressions.grow(table.scope, "bool", 0)
            )
        value = choices.pick(("max({})", "min({})", "max({})", "{}")).format(choices.pick(cells))
        return f"select {value} from {table.text}{where}"

    def where(self, scope: Scope, percent: int = 55) -> str:
        """A condition on the rows, that often."""
        return f" where {self.expressions.grow(scope, 'bool')}" if self.choices.chance(percent) else ""

    def order(self) -> str:
        """A total order, and perhaps a limit; or nothing."""
        nulls = self.choices.pick(("", "", " desc", " nulls first", " desc nulls last"))
        limit = self.choices.pick(("", "", "", " limit 3", " limit 5 offset 2", " limit 20%", " offset 1"))
        return f" order by all{nulls}{limit}" if self.choices.chance(60) else ""

    def items(self, scope: Scope, least: int = 1, most: int = 3) -> str:
        """A few expressions for a select list."""
        return ", ".join(
            self.expressions.any_of(scope).text for _ in range(least + self.choices.below(most - least + 1))
        )

    def aggregate(self, scope: Scope) -> str:
        """An aggregate that does not depend on the order of rows."""
        grow = self.expressions.grow
        shape = self.choices.pick(AGGREGATES)
        for family in ("num", "text", "date", "ts", "bool", "real", "list"):
            while "{" + family + "}" in shape:
                # what is ordered by must be what is gathered, or equal rows have no order
                text = grow(scope, family, 1)
                shape = shape.replace("{" + family + "}", text, 2 if "order by" in shape else 1)
        if self.choices.chance(15):
            shape += f" filter (where {grow(scope, 'bool', 1)})"
        return shape
