"""The texts of a block that reads the mart itself; choose.py gives those that read a rollup."""

from serving.content.model import Mart
from serving.semantic.dimension import dimension_sql, quoted
from serving.semantic.routing.routes import Days, Miss, Need, Route, Source


def base_source(
    mart: Mart,
    need: Need,
    kinds: dict[str, str],
    week_starts: str,
    misses: tuple[Miss, ...] = (),
    rows: int = 0,
) -> Source:
    """The mart's own rows; `kinds` are the types of its columns as built."""
    keys = dict.fromkeys((*need.groups, *sorted(need.filters)))
    return Source(
        Route(mart.name, None, rows, False, misses),
        quoted(mart.name),
        {key: dimension_sql(mart, key, week_starts) for key in keys},
        {leaf: leaf.sql() for leaf in need.leaves},
        tuple(text for days in need.days for text in day_conditions(days, kinds.get(days.column, ""))),
        (mart.name,),
    )


def day_conditions(days: Days, kind: str) -> list[str]:
    """The range as conditions on the mart's own column: days are the session's time zone's."""
    column = quoted(days.column)
    if "TIME ZONE" in kind:  # an hour may come twice: only the day itself says on which side it is
        column = f"CAST({column} AS DATE)"
    found = []
    if days.start is not None:
        found.append(f"{column} >= DATE '{days.start}'")
    if days.end is not None:
        found.append(f"{column} < DATE '{days.end}'")
    return found
