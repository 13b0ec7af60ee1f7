"""Expressions of a wanted family over the columns at hand; many of them can fail."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.oracle.choices import Choices

PLAIN = ("num", "text", "date", "ts", "bool", "real")
LITERALS = {
    "num": ("1", "0", "-1", "3", "7.5", "100", "null::int", "2147483647"),
    "text": ("'EMEA'", "'AMER'", "''", "'7'", "'paid'", "'2026-01-15'", "'Ü'", "null::varchar"),
    "date": ("date '2026-02-01'", "date '1980-05-17'", "null::date"),
    "ts": ("timestamp '2026-02-01 10:30:00'", "null::timestamp"),
    "bool": ("true", "false", "null::boolean"),
    "real": ("0.25::double", "-2.5::double", "null::double"),
    "list": ("['a1', 'b']", "[]::varchar[]", "null::varchar[]"),
    "struct": ("{'w': 1, 'label': 'L1'}", "null::struct(w int, label varchar)"),
    "map": ("map(['k'], [1])",),
}


@dataclass(frozen=True)
class Cell:
    """A column that can be named here."""

    text: str
    family: str


Scope = Sequence[Cell]
Subquery = Callable[[Choices, str, Scope], str]  # a family -> a query with one column of it; may correlate
# what grows into what: {n}umber, {t}ext, {d}ate, {z} timestamp, {b}ool, {r}eal, {l}ist, {s}truct, {m}ap.
# two spaces or a new line stand between shapes; the first is the plainest
_SHAPES = {
    "num": """
        {n} + {n}  {n} - {n}  {n} * 2  length({t})  {n} % 3  abs({n})  round({n}, 1)  year({d})  len({l})
        date_diff('day', {d}, {d})  {s}.w  {m}['k']  hour({z})  ({t})::int  1 // ({n})::bigint  ({n})::tinyint
        ({t})::decimal(10,2)  try_cast({t} as int)  ({n}) + 9223372036854775807  instr({t}, 'a')  ascii({t})
        greatest({n}, {n})  ({n})::smallint * 300::smallint  strlen({t})  -({n})  coalesce({n}, 0)  day({d})
        ({s}.label)::int  list_position({l}, {t})  datepart('month', {z})  ({b})::int  levenshtein({t}, {t})
        """,
    "real": """
        ({n}) / 4  {r} * 2  {r} + {n}  ({n})::double  sqrt({n})  ({n}) / ({n})  ln({n})  ({t})::double
        floor({r})  power({r}, 2)  {n} ** 0.5  atan2({n}, {r})
        """,
    "text": """
        upper({t})  {t} || {t}  lower({t})  ({n})::varchar  left({t}, 2)  trim({t})  substring({t}, 2, 3)
        replace({t}, 'a', 'b')  ({d})::varchar  concat_ws('-', {t}, {t})  regexp_replace({t}, '[0-9]+', '#')
        strftime({d}, '%Y-%m')  {l}[1]  {s}.label  split_part({t}, '-', 1)  reverse({t})  ({l})::varchar
        array_to_string({l}, ',')  regexp_extract({t}, {t})  ({s})::varchar  ({m})::varchar  md5({t})
        to_json({t})::varchar  dayname({d})  ({z})::varchar  {t}[1:2]  lpad({t}, 4, '_')  format('<>', {t})
        chr(({n})::int)  monthname({d})  concat({t}, {n})  ({b})::varchar  hex({t})
        """,
    "date": """
        {d} + 7  date_trunc('month', {d})::date  ({z})::date  last_day({d})  least({d}, {d})  ({t})::date
        make_date(2026, ({n})::int, 1)  ({d} - interval 1 month)::date  {d} + ({n})::int
        try_cast({t} as date)  ({s}.label)::date  try_strptime({t}, '%Y-%m-%d')::date
        """,
    "ts": """
        {z} + interval 1 hour  date_trunc('week', {z})  ({d})::timestamp  greatest({z}, {z})  ({t})::timestamp
        strptime({t}, '%Y-%m-%d')  time_bucket(interval 1 week, {z})  epoch_ms(({n})::bigint)
        {z} - to_days(({n})::int)
        """,
    "bool": """
        {n} > {n}  {t} = {t}  {n} is null  {t} is not null  {d} < {d}  {n} between 1 and 9  not ({b})
        {t} in ('EMEA', 'paid', '7')  {t} like '%a%'  ({b}) and ({b})  ({b}) or ({b})  {z} >= {z}  {r} < {r}
        {t} is not distinct from {t}  regexp_matches({t}, '^[a-z]+$')  list_contains({l}, {t})
        {n} in (1, 2, null)  ({t})::boolean  regexp_matches({t}, {t})  {n} <> {n}  {t} ilike 'e%'
        ({t})::int > 3  ({t})::date > date '2026-01-01'  starts_with({t}, 'p')  {t} between 'A' and 'F'
        {d} = ({t})::date  1 // ({n}) > 0  EXISTS  IN  NOT_IN  ANY  ALL  SCALAR
        """,
    "list": """
        [{t}, {t}]  list_transform({l}, lambda x: upper(x))  list_filter({l}, lambda x: x > 'a')
        list_sort({l})  string_split({t}, '-')  list_concat({l}, {l})  [x || '!' for x in {l}]
        list_distinct({l}).list_sort()  {l}[1:1]  list_reverse({l})  list_append({l}, {t})  map_keys({m})
        list_transform({l}, lambda x, i: x || i)  ({t})::varchar[]
        list_transform({l}, lambda x: (x)::int::varchar)
        list_zip({l}, {l}).list_transform(lambda z: z[1])
        """,
    "struct": "{'w': ({n})::int, 'label': {t}}  struct_pack(w := ({n})::int, label := {t})",
    "map": "map(['k', 'x'], [({n})::int, 1])  map {'k': ({n})::int}  map([{t}], [1])",
}
SHAPES = {family: re.split(r"\s\s+", text.strip()) for family, text in _SHAPES.items()}
_MARKS = dict(
    zip("ntdzbrlsm", ("num", "text", "date", "ts", "bool", "real", "list", "struct", "map"), strict=True)
)
_MARK = re.compile(r"\{([ntdzbrlsm])\}")
_SIMPLE = re.compile(r"[\w.]+")


class Expressions:
    """Grows expressions; `subquery` gives whole queries to put inside."""

    def __init__(self, choices: Choices, subquery: Subquery) -> None:
        self.choices, self.subquery = choices, subquery

    def grow(self, scope: Scope, family: str, depth: int = 2) -> str:
        """An expression of that family."""
        cells = [cell.text for cell in scope if cell.family == family]
        roll = self.choices.below(10)
        if cells and (depth <= 0 or roll < 5):
            return self.choices.pick(cells)
        if depth <= 0 or roll < 6:
            return self.choices.pick(LITERALS[family])
        if self.choices.chance(6):
            return self._guarded(scope, family, depth)
        shape = self.choices.pick(SHAPES[family])
        if shape.isupper():
            return self._subquery(shape, scope, depth - 1)
        return _MARK.sub(lambda mark: self._part(scope, _MARKS[mark[1]], depth - 1), shape)

    def any_of(self, scope: Scope, families: Sequence[str] = PLAIN, depth: int = 2) -> Cell:
        """An expression of a family that the scope knows."""
        known = [family for family in families if any(cell.family == family for cell in scope)]
        family = self.choices.pick(known or families[:1])
        return Cell(self.grow(scope, family, depth), family)

    def _guarded(self, scope: Scope, family: str, depth: int) -> str:
        inner, other = (self.grow(scope, family, depth - 1) for _ in range(2))
        shape = self.choices.pick(("coalesce", "case", "nullif", "try", "if", "subquery"))
        if shape == "subquery" and family in PLAIN:
            return f"({self.subquery(self.choices, family, scope)})"
        if shape == "case":
            return f"case when {self.grow(scope, 'bool', depth - 1)} then {inner} else {other} end"
        if shape == "if":
            return f"if({self.grow(scope, 'bool', depth - 1)}, {inner}, {other})"
        if shape == "try":
            return f"try({inner})"
        return f"{'nullif' if shape == 'nullif' else 'coalesce'}({inner}, {other})"

    def _subquery(self, shape: str, scope: Scope, depth: int) -> str:
        family = self.choices.pick(("num", "text"))
        query, left = self.subquery(self.choices, family, scope), self.grow(scope, family, depth)
        match shape:
            case "EXISTS":
                return f"{self.choices.pick(('exists', 'not exists'))} ({query})"
            case "SCALAR":
                return f"{left} >= ({query})"
            case "ANY":
                return f"{left} = any({query})"
            case "ALL":
                return f"{left} <= all({query})"
        return f"{left} {'not in' if shape == 'SUB_NOT_IN' else 'in'} ({query})"

    def _part(self, scope: Scope, family: str, depth: int) -> str:
        grown = self.grow(scope, family, depth)
        return grown if _SIMPLE.fullmatch(grown) else f"({grown})"
