"""Questions from a grammar of DuckDB's friendly SQL: seeded, typed, and able to fail while they run.

Every question's answer is one value: no random functions, no LIMIT without a total order, no aggregate that
depends on the order of rows, no sum of floating numbers that is not rounded.
"""

import re

from serving import Project
from tests.oracle.choices import Choices
from tests.oracle.clauses import Clauses
from tests.oracle.expressions import Cell
from tests.oracle.outcome import Asked
from tests.oracle.tables import Schema, families

SHAPES = (
    ("plain",) * 5
    + ("grouped",) * 3
    + (
        "window",
        "window",
        "star",
        "columns",
        "distinct",
        "distinct_on",
        "setop",
        "setop",
        "sets",
        "pivot",
        "unpivot",
        "cte",
        "cte",
        "shadow",
        "recursive",
        "alias",
        "described",
        "wrong",
        "from_first",
        "nested",
    )
)
_LITERAL = re.compile(r"(?<=[(= ])'(?P<text>EMEA|AMER|paid|7)'|(?<=[<>=] )(?P<number>\d+)\b")
FRAMES = (
    "",
    " rows between 2 preceding and current row",
    " rows between unbounded preceding and unbounded following",
    " range between unbounded preceding and current row",
    " rows between 1 following and 3 following",
    " groups between 1 preceding and 1 following",
    " rows between unbounded preceding and current row exclude current row",
)


def schema_of(project: Project) -> Schema:
    """The visible marts of the current version with the families of their columns."""
    version = project.current_version()
    assert version is not None, "build the project first"
    shown = [name for name in version.marts if project.content.marts[name].visible]
    return {name: families(version.marts[name].columns) for name in shown}


def question(choices: Choices, schema: Schema) -> Asked:
    """One question over marts with these columns, at times with parameters."""
    grown = _Question(choices, schema).grow()
    return _bound(grown, choices) if choices.chance(8) else Asked(grown)


def _bound(sql: str, choices: Choices) -> Asked:
    """The question with some of its literals as parameters."""
    named = choices.chance(50)
    values: dict[str, object] = {}

    def place(match: re.Match[str]) -> str:
        if not choices.chance(70):
            return match[0]
        name = f"p{len(values) + 1}"
        values[name] = match["text"] if match["number"] is None else int(match["number"])
        return f"${name}" if named else "?"

    text = _LITERAL.sub(place, sql)
    return Asked(text, values if named else list(values.values())) if values else Asked(sql)


class _Question(Clauses):
    def grow(self) -> str:
        query: str = getattr(self, f"_{self.choices.pick(SHAPES)}")()
        return query

    def _plain(self) -> str:
        table = self.tables.grow()
        return f"select {self.items(table.scope)} from {table.text}{self.where(table.scope)}{self.order()}"

    def _from_first(self) -> str:
        table = self.tables.bare()
        rest = f"{self.where(table.scope)}{self.order()}"
        return (
            f"from {table.text}{rest}"
            if self.choices.chance(50)
            else f"from {table.text} select {self.items(table.scope)}{rest}"
        )

    def _grouped(self) -> str:
        table = self.tables.grow()
        key = self.expressions.any_of(table.scope, ("text", "num", "date", "bool"), 1).text
        aggregates = ", ".join(self.aggregate(table.scope) for _ in range(1 + self.choices.below(2)))
        having = f" having {self.aggregate(table.scope)} is not null" if self.choices.chance(15) else ""
        having = " having count(*) > 1" if self.choices.chance(15) else having
        head = f"select {key} as g, {aggregates} from {table.text}{self.where(table.scope)}"
        return f"{head} group by {self.choices.pick(('all', '1', 'g'))}{having}{self.order()}"

    def _sets(self) -> str:
        table = self.tables.bare()
        keys = self.choices.some(table.of("text", "num", "bool", "date"), 2, 2)
        one, two = keys if len(keys) == 2 else (*keys, "1")
        sets = self.choices.pick(
            (f"rollup ({one}, {two})", f"cube ({one}, {two})", f"grouping sets (({one}, {two}), ({two}), ())")
        )
        head = (
            f"select {one}, {two}, grouping({one}) as level, {self.aggregate(table.scope)} from {table.text}"
        )
        return f"{head}{self.where(table.scope)} group by {sets}{self.order()}"

    def _window(self) -> str:
        table = self.tables.bare()
        orderable = ", ".join(table.of("num", "text", "date", "ts", "bool", "real"))
        number, text = (self.expressions.grow(table.scope, family, 1) for family in ("num", "text"))
        part = self.choices.pick(("", f"partition by {self.choices.pick(table.of('text', 'num'))} "))
        over = f"({part}order by {orderable}{self.choices.pick(FRAMES)})"
        if "range" in over:  # a range frame orders by one value; peers share a frame
            over = f"({part}order by {self.choices.pick(table.of('num', 'date'))}{FRAMES[3]})"
        calls = [
            f"sum({number})",
            f"max({text})",
            f"count({text})",
            "rank()",
            "dense_rank()",
            "percent_rank()",
        ]
        if "range between" not in over:  # where peers share a frame, one of them cannot be told from another
            calls += [
                "row_number()",
                f"lag({text})",
                f"first_value({number})",
                f"lead({number}, 2)",
                "ntile(3)",
            ]
            calls += [f"nth_value({text}, 2)", f"last_value({number} ignore nulls)"]
        call = self.choices.pick(calls)
        first = f" qualify row_number() over (order by {orderable}) <= 4"
        qualify = self.choices.pick(("", "", "", "", " qualify w is not null", first))
        head = f"select {self.items(table.scope, 1, 2)}, {call} over {over} as w from {table.text}"
        return f"{head}{self.where(table.scope)}{qualify}{self.order()}"

    def _star(self) -> str:
        table = self.tables.bare()
        name, cell = table.mart, self.choices.pick(table.scope)
        value = self.expressions.grow(table.scope, cell.family, 1)
        star = self.choices.pick(
            (
                "*",
                f"{name}.*",
                f"* exclude ({cell.text})",
                f"* replace ({value} as {cell.text})",
                name,
                f"to_json({name})",
                f"* rename ({cell.text} as renamed)",
                "* like '%e%'",
                f"unnest({name})",
                f"{name}.{cell.text}",
            )
        )
        return f"select {star} from {name}{self.where(table.scope)}{self.order()}"

    def _columns(self) -> str:
        table = self.tables.bare()
        pattern = self.choices.pick(
            ("'^.*e.*$'", "'^[a-n]'", "lambda c: c like '%o%'", "*", "lambda c: c <> 'note'", "'('")
        )
        around = self.choices.pick(
            ("columns({})", "max(columns({}))", "count(columns({}))", "coalesce(columns({})::varchar, '-')")
        )
        return f"select {around.format(pattern)} from {table.text}{self.where(table.scope)}{self.order()}"

    def _distinct(self) -> str:
        table = self.tables.grow()
        head = f"select distinct {self.items(table.scope)} from {table.text}"
        return f"{head}{self.where(table.scope)}{self.order()}"

    def _distinct_on(self) -> str:
        table = self.tables.bare()
        items = [self.choices.pick(table.of("text", "num", "date"))]
        items += [self.expressions.any_of(table.scope, depth=1).text for _ in range(2)]
        every = ", ".join(items)
        where = self.where(table.scope)
        return f"select distinct on ({items[0]}) {every} from {table.text}{where} order by {every}"

    def _setop(self) -> str:
        kinds = [self.choices.pick(("num", "text", "date")) for _ in range(1 + self.choices.below(2))]
        arms: list[str] = []
        for _ in range(2 + self.choices.chance(20)):
            table = self.tables.grow(1)
            items = ", ".join(
                f"{self.expressions.grow(table.scope, kind, 1)} as k{n}" for n, kind in enumerate(kinds)
            )
            arms.append(f"select {items} from {table.text}{self.where(table.scope, 30)}")
        words = (
            "union all",
            "union",
            "except",
            "intersect",
            "union all by name",
            "union by name",
            "except all",
            "intersect all",
        )
        return f" {self.choices.pick(words)} ".join(arms) + self.order()

    def _pivot(self) -> str:
        table = self.tables.bare()
        on, by = self.choices.pick(table.of("text")), self.choices.pick(table.of("num", "date"))
        values = "'EMEA', 'AMER', 'paid'"
        using = self.choices.pick((f"count({by})", f"max({by}) as m, count(*) as n", f"min({by})"))
        source = self.choices.pick(
            (table.mart, f"(select {on}, {by} from {table.mart}{self.where(table.scope)})")
        )
        group = self.choices.pick(("", f" group by {by}"))
        return f"from (pivot {source} on {on} in ({values}) using {using}{group}){self.order()}"

    def _unpivot(self) -> str:
        table = self.tables.bare()
        names = (
            ", ".join(self.choices.some(table.of(self.choices.pick(("num", "text"))), 1, 2))
            or table.scope[0].text
        )
        source = self.choices.pick(
            (table.mart, f"(select {names} from {table.mart}{self.where(table.scope)})")
        )
        text = self.choices.pick(
            (
                f"(unpivot {source} on {names} into name what value how)",
                f"{source} unpivot include nulls (how for what in ({names}))",
            )
        )
        return f"select * from {text}{self.order()}"

    def _cte(self) -> str:
        return self._with("numbers")

    def _shadow(self) -> str:
        return self._with(self.choices.pick(sorted(self.tables.names)))

    def _with(self, name: str) -> str:
        """A CTE; with a mart's name it reads that mart, and hides it from then on."""
        inner = self.tables.grow(1)
        cells = [self.expressions.any_of(inner.scope, depth=1) for _ in range(2 + self.choices.below(2))]
        chosen = ", ".join(f"{cell.text} as c{n}" for n, cell in enumerate(cells))
        kind = self.choices.pick(("", "materialized ", "not materialized "))
        body = f"{name} as {kind}(select {chosen} from {inner.text}{self.where(inner.scope)})"
        self.tables.names = {name: {f"c{n}": cell.family for n, cell in enumerate(cells)}} | {
            known: columns for known, columns in self.tables.names.items() if known != name
        }
        return f"with {body} {self._plain() if self.choices.chance(60) else self._grouped()}"

    def _recursive(self) -> str:
        table = self.tables.bare()
        name = self.choices.pick(("steps", "steps", table.mart))
        n, t = (self.choices.pick(table.of(family) or ["null"]) for family in ("num", "text"))
        word = self.choices.pick(("union all", "union"))
        anchor = f"select {n} as n, {t} as t from {table.mart}{self.where(table.scope)}"
        step = f"select n + 1, t || '.' from {name} where n between -3 and 4"
        rest = self.choices.pick((f"select * from {name}", f"select t, count(*) from {name} group by all"))
        return f"with recursive {name}(n, t) as ({anchor} {word} {step}) {rest}{self.order()}"

    def _alias(self) -> str:
        table = self.tables.bare()
        first = self.expressions.any_of(table.scope, ("num", "text"))
        scope = (Cell("z", first.family),)
        second = self.expressions.grow((*scope, *table.scope), first.family, 1)
        where = f" where {self.expressions.grow(scope, 'bool', 1)}" if self.choices.chance(50) else ""
        return f"select {first.text} as z, {second} as y from {table.text}{where}{self.order()}"

    def _described(self) -> str:
        table = self.tables.bare()
        return self.choices.pick(
            (
                f"describe {table.mart}",
                f"describe select {self.items(table.scope)} from {table.mart}",
                "show tables",
                f"from (describe {table.mart})",
                f"select column_name, min, max, count from (summarize {table.mart})",
            )
        )

    def _wrong(self) -> str:
        """Names and types that do not fit, and things nobody may do."""
        table = self.tables.bare()
        name = self.choices.pick(table.scope).text
        return self.choices.pick(
            (
                f"select {name}x from {table.mart}",
                f"select {name} from {table.mart}s",
                f"select sum({name}, 1) from {table.mart}",
                f"select {name} from main.{table.mart}",
                f"select stats({name}) from {table.mart}",
                "from duckdb_tables()",
                f"select rowid from {table.mart}",
                f"select {name} + ['x'] from {table.mart}",
                f"select * from {table.mart} where",
                f"select nofunction({name}) from {table.mart}",
                f"select a.{name} from {table.mart} b",
            )
        )

    def _nested(self) -> str:
        inner = _Question(self.choices, self.tables.names)
        kind = self.choices.pick(("_plain", "_grouped", "_window", "_setop", "_star"))
        text: str = getattr(inner, kind)()
        return (
            f"select count(*) from ({text})" if self.choices.chance(30) else f"from ({text}) {self.order()}"
        )
