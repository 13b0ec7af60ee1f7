"""Measures over given rows, by plain SQL: one row of the answer is one set of rows per mart."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serving.semantic.asking.request import Metric
from tests.property.metrics.measures import MeasureDef
from tests.property.metrics.sight import Sight

Pick = tuple[str, str]  # mart, and which measure picks among the rows ('': none does)
Cell = Mapping[Pick, Sequence[int]]  # the rows that one row of the answer is about


@dataclass
class _Leaves:
    """The aggregates that a question needs, each once."""

    columns: dict[tuple[Pick, str], str] = field(default_factory=dict)

    def name(self, pick: Pick, sql: str, counts: bool) -> str:
        column = self.columns.setdefault((pick, sql), f"l{len(self.columns)}")
        return f"coalesce({column}, 0)" if counts else column


def picks(sight: Sight, metrics: Sequence[Metric]) -> set[Pick]:
    """The row sets that the metrics are aggregates of."""
    leaves = _Leaves()
    for metric in metrics:
        _text(sight, metric.mart, metric.measure, metric.approximate, "", leaves)
    return {pick for pick, _ in leaves.columns}


def evaluated(sight: Sight, metrics: Sequence[Metric], cells: Sequence[Cell]) -> list[tuple[object, ...]]:
    """The metrics of every cell, in their order."""
    if not cells:
        return []
    leaves = _Leaves()
    texts = [_text(sight, m.mart, m.measure, m.approximate, "", leaves) for m in metrics]
    found: dict[Pick, list[str]] = {}
    for (pick, sql), column in leaves.columns.items():
        found.setdefault(pick, []).append(f"{sql} AS {column}")
    parts: list[str] = []
    joins: list[str] = []
    parameters: dict[str, list[int]] = {}
    for number, (pick, columns) in enumerate(found.items()):
        pairs = [(gid, rid) for gid, cell in enumerate(cells) for rid in cell.get(pick, ())]
        parameters |= {f"g{number}": [g for g, _ in pairs], f"r{number}": [r for _, r in pairs]}
        parts.append(
            f"c{number} AS (SELECT unnest($g{number}::INTEGER[]) AS gid, "
            f"unnest($r{number}::BIGINT[]) AS rid), "
            f"a{number} AS (SELECT gid, {', '.join(columns)} FROM c{number} "
            f'JOIN "{pick[0]}" USING (rid) GROUP BY gid)'
        )
        joins.append(f"LEFT JOIN a{number} USING (gid)")
    values = ", ".join(f"{text} AS m{number}" for number, text in enumerate(texts))
    sql = (
        f"WITH {', '.join(parts)} SELECT gid, {values} "
        f"FROM (SELECT unnest(range({len(cells)})) AS gid) {' '.join(joins)}"
    )
    return _fetched(sight, sql, parameters)


def _fetched(sight: Sight, sql: str, parameters: Mapping[str, list[int]]) -> list[tuple[object, ...]]:
    table = sight.copy.sql(sql, params=parameters).to_arrow_table()
    rows = sorted(zip(*(column.to_pylist() for column in table.columns), strict=True), key=lambda row: row[0])
    return [row[1:] for row in rows]


def _text(sight: Sight, mart: str, name: str, approximate: bool, pick: str, leaves: _Leaves) -> str:
    measure = sight.world.marts[mart].measures[name]
    pick = name if measure.semi_additive or measure.cumulative else pick
    if not measure.parts:
        sql = measure.estimate if approximate and measure.estimate else measure.sql
        found = leaves.name((mart, pick), sql, measure.counts)
        return _filled(measure, found)

    def part(match: re.Match[str]) -> str:
        other, _, inner = match[1].rpartition(".")
        return f"({_text(sight, other or mart, inner, approximate, pick, leaves)})"

    return _filled(measure, re.sub(r"\{([\w.]+)\}", part, measure.sql))


def _filled(measure: MeasureDef, text: str) -> str:
    filled = measure.spec.get("fill_nulls_with")
    return text if filled is None else f"coalesce({text}, {filled})"
