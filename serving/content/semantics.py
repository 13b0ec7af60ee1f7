"""What a mart's YAML says about meaning: dimensions, measures, joins, hierarchies, rollups."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from serving.content.spec import Names, Spec

Grain = Literal["hour", "day", "week", "month", "quarter", "year"]
Aggregate = Literal["sum", "count", "count_distinct", "avg", "min", "max", "median", "quantile"]


class Described(Spec):
    """What people read about a thing, and search it by."""

    label: str = ""  # display name; default: the key in words
    description: str = ""
    synonyms: Names = ()  # other words that people search for
    format: str = ""  # d3-like: "$,.0f", ".1%"

    def title(self, name: str) -> str:
        """The label, or the name in words."""
        return self.label or name.replace("_", " ").capitalize()


class Dimension(Described):
    """A computed dimension: an expression over the mart's columns, row by row."""

    expr: str = Field(min_length=1)


class Measure(Described):
    """An aggregate (`agg` over `expr`), an expression over other measures, or a window over one.

    - `agg` (with `expr`, `filter`, `quantile`): one aggregate of the mart's rows
    - `expr` alone: derived from measures of this mart (`revenue / orders`) or of others
      (`revenue / tickets.tickets`); null where a divisor is 0
    - `cumulative`: that measure over all time up to the end of each bucket; over the last `window`
      ("28 days") of it; or since the start of its `to_date` grain
    - `semi_additive`: an aggregate that is never added up over that time column: only the rows of
      its `take` (last or first) value in each group count, for each combination of `per` apart
    """

    agg: Aggregate | None = None
    expr: str | None = Field(default=None, min_length=1)
    filter: str | None = Field(default=None, min_length=1)  # only rows where it holds are aggregated
    quantile: float | None = Field(default=None, ge=0, le=1)
    semi_additive: str | None = None  # a column of time
    take: Literal["last", "first"] = "last"
    per: Names = ()  # columns
    cumulative: str | None = None  # a measure of this mart
    window: str | None = Field(default=None, pattern=r"^[1-9]\d{0,3} (day|week|month|quarter|year)s?$")
    to_date: Literal["week", "month", "quarter", "year"] | None = None
    fill_nulls_with: int | float | None = None  # instead of NULL where there are no rows

    @model_validator(mode="after")
    def _complete(self) -> "Measure":
        if self.cumulative is not None:
            if self.agg or self.expr or self.filter or self.semi_additive:
                raise ValueError("with 'cumulative' takes 'window' or 'to_date' beside it, nothing else")
            if self.window and self.to_date:
                raise ValueError("takes 'window' or 'to_date', not both")
            return self
        if self.window or self.to_date:
            raise ValueError("has a 'window' or 'to_date', but no 'cumulative' that they belong to")
        if self.expr is None and self.agg != "count":
            raise ValueError("needs 'expr' (only agg: count goes without)")
        if (self.agg == "quantile") != (self.quantile is not None):
            raise ValueError("needs 'quantile' (0 to 1) with agg: quantile, and only there")
        if self.agg is None and (self.filter or self.semi_additive):
            raise ValueError("is derived: put 'filter' and 'semi_additive' on the measures it is made of")
        if self.per and not self.semi_additive:
            raise ValueError("has 'per', but no 'semi_additive' that it belongs to")
        return self


class Join(Spec):
    """A way to another mart whose rows are unique by the columns joined on: `kind` is tested at each build.

    Rows without a partner stay, with NULL dimensions (a LEFT JOIN).
    """

    mart: str
    on: Mapping[str, str] = Field(min_length=1)  # column here -> column there
    kind: Literal["many_to_one", "one_to_one"] = "many_to_one"
    description: str = ""


class Rollup(Spec):
    """A smaller table of the mart's measures by some of its dimensions, built with it and proven equal.

    `dimensions`: columns, computed dimensions, or `column.grain`. `measures`: names of measures; `~name`
    keeps the state of an approximate distinct count or quantile.
    """

    dimensions: Names = ()
    measures: Names = Field(min_length=1)
    description: str = ""
