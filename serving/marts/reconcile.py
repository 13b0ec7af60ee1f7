"""Is a rollup equal to its mart? Its kept values, put together, are compared with the mart's own.

Over all rows, and for each value of each of its dimensions, in one pass over the mart. Exact distinct
counts, medians and quantiles have values of their own groups only: some of those are computed again.
Estimates of quantiles depend on how they were put together: theirs must lie near the mart's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb

from serving.errors import BuildFailed
from serving.marts.declared import UNPUBLISHED, DeclaredRollup
from serving.semantic.dimension import quoted
from serving.semantic.leaves import Leaf

SAMPLE = 100  # groups of exact distinct counts and quantiles that are computed again, about
NEAR = 0.05  # how far, of all rows, an estimated quantile may lie from the mart's estimate


def reconcile(connection: duckdb.DuckDBPyConnection, rollup: DeclaredRollup) -> tuple[str, ...]:
    """Compare; one sentence per leaf, in their order. Raises BuildFailed with the first difference."""
    leaves = rollup.leaves.values()
    parts = [leaf for leaf in leaves if leaf.mergeable and leaf.function != "approx_quantile"]
    whole = [leaf for leaf in leaves if not leaf.mergeable]
    words: dict[Leaf, str] = {}
    groups = _equal(connection, rollup, parts, _direct(rollup, parts), _merged(rollup, parts))
    each = f" and for each value of {', '.join(rollup.dimensions)}: {groups - 1:,}" if groups > 1 else ""
    words |= dict.fromkeys(parts, f"equal over all rows{each}")
    if whole:
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {quoted(rollup.table)}").fetchall()
        sample = _sample(rollup, whole, max(rows // SAMPLE, 1))
        groups = _equal(connection, rollup, whole, _again(rollup, whole), sample)
        words |= dict.fromkeys(whole, f"equal in the groups compared: {groups:,} of {rows:,}")
    words |= {leaf: _near(connection, rollup, leaf) for leaf in leaves if leaf.function == "approx_quantile"}
    return tuple(f"{leaf.sql()}: {words[leaf]}" for leaf in leaves)


def _equal(
    connection: duckdb.DuckDBPyConnection,
    rollup: DeclaredRollup,
    leaves: Sequence[Leaf],
    direct: str,
    kept: str,
) -> int:
    """How many groups were compared; raises BuildFailed where a value of one differs."""
    keys = range(len(rollup.dimensions))
    wrong = [f"here.sluice_value_{i} IS DISTINCT FROM there.sluice_value_{i}" for i in range(len(leaves))]
    here, there = (
        ", ".join(f"CAST({side}.sluice_value_{i} AS VARCHAR)" for i in range(len(leaves)))
        for side in ("here", "there")
    )
    shown = ", ".join(f"CAST(coalesce(here.sluice_key_{i}, there.sluice_key_{i}) AS VARCHAR)" for i in keys)
    met = [f"here.sluice_key_{i} IS NOT DISTINCT FROM there.sluice_key_{i}" for i in keys]
    found = connection.execute(
        f"WITH sluice_kept AS MATERIALIZED (\n{kept}\n), sluice_direct AS (\n{direct}\n)\n"
        "SELECT count(*), min(struct_pack(level := coalesce(here.level, there.level), "
        f"keys := CAST([{shown}] AS VARCHAR[]), wrong := [{', '.join(wrong)}], "
        f"direct := [{here}], kept := [{there}]))\n"
        f"  FILTER (WHERE {' OR '.join(wrong)})\n"
        f"FROM sluice_direct AS here FULL JOIN sluice_kept AS there "
        f"ON {' AND '.join(['here.level = there.level', *met])}"
    )
    ((groups, first),) = found.fetchall()
    if first is not None:
        place = first["wrong"].index(True)
        raise _difference(
            rollup, leaves[place], _where(rollup, first), first["direct"][place], first["kept"][place]
        )
    return int(groups)


def _direct(rollup: DeclaredRollup, leaves: Sequence[Leaf]) -> str:
    """The leaves over all rows of the mart and by each dimension alone, in one pass."""
    return f"SELECT {_shown(rollup, leaves, Leaf.sql)}\nFROM {_rows(rollup)}\n{_by_each(rollup)}"


def _merged(rollup: DeclaredRollup, leaves: Sequence[Leaf]) -> str:
    """The same from what the rollup keeps."""
    keys = [f"{quoted(key)} AS sluice_key_{i}" for i, key in enumerate(rollup.dimensions)]
    kept = ", ".join([*keys, *(quoted(leaf.column) for leaf in leaves)])
    shown = _shown(rollup, leaves, lambda leaf: leaf.merged(quoted(leaf.column)))
    return f"SELECT {shown}\nFROM (SELECT {kept} FROM {quoted(rollup.table)})\n{_by_each(rollup)}"


def _sample(rollup: DeclaredRollup, leaves: Sequence[Leaf], step: int) -> str:
    """The leaves of every `step`-th row of the rollup."""
    keys = [f"{quoted(key)} AS sluice_key_{i}" for i, key in enumerate(rollup.dimensions)]
    values = [f"{quoted(leaf.column)} AS sluice_value_{i}" for i, leaf in enumerate(leaves)]
    shown = ", ".join(["0 AS level", *keys, *values])
    return f"SELECT {shown} FROM {quoted(rollup.table)} WHERE rowid % {step} = 0"


def _again(rollup: DeclaredRollup, leaves: Sequence[Leaf]) -> str:
    """The leaves of the groups in the sample, from the mart's rows."""
    keys = [f"sluice_key_{i}" for i in range(len(rollup.dimensions))]
    values = [f"{leaf.sql()} AS sluice_value_{i}" for i, leaf in enumerate(leaves)]
    mart = quoted(rollup.mart)
    met = " AND ".join(["true", *(f"{mart}.{key} IS NOT DISTINCT FROM sluice_kept.{key}" for key in keys)])
    grouped = f"GROUP BY {', '.join(keys)}" if keys else ""
    shown = ", ".join(["0 AS level", *keys, *values])
    return f"SELECT {shown}\nFROM {_rows(rollup)} SEMI JOIN sluice_kept ON {met}\n{grouped}"


def _near(connection: duckdb.DuckDBPyConnection, rollup: DeclaredRollup, leaf: Leaf) -> str:
    low, high = _bound(leaf, -NEAR), _bound(leaf, NEAR)
    ((least, most),) = connection.execute(
        f"SELECT {low.sql()}, {high.sql()} FROM {quoted(rollup.mart)}"
    ).fetchall()
    merged = f"SELECT {leaf.merged(quoted(leaf.column))} FROM {quoted(rollup.table)}"
    ((value,),) = connection.execute(merged).fetchall()
    if (value is None) != (least is None) or (value is not None and not least <= value <= most):
        raise _difference(rollup, leaf, "over all rows", f"between {least} and {most}", value)
    return f"over all rows between {low.sql()} and {high.sql()} of the mart"


def _bound(leaf: Leaf, by: float) -> Leaf:
    """What an estimate of this quantile must not be below (or above)."""
    part = round((leaf.quantile or 0.0) + by, 6)
    if 0 < part < 1:
        return replace(leaf, quantile=part)
    return Leaf("min" if part <= 0 else "max", leaf.expr, leaf.filter)


def _rows(rollup: DeclaredRollup) -> str:
    """The mart's rows with the dimensions beside them, under the mart's name."""
    keys = "".join(f", {text} AS sluice_key_{i}" for i, text in enumerate(rollup.dimensions.values()))
    return f"(SELECT *{keys} FROM {quoted(rollup.mart)}) AS {quoted(rollup.mart)}"


def _shown(rollup: DeclaredRollup, leaves: Sequence[Leaf], value: Callable[[Leaf], str]) -> str:
    keys = [f"sluice_key_{i}" for i in range(len(rollup.dimensions))]
    level = f"GROUPING({', '.join(keys)}) AS level" if keys else "0 AS level"
    return ", ".join([level, *keys, *(f"{value(leaf)} AS sluice_value_{i}" for i, leaf in enumerate(leaves))])


def _by_each(rollup: DeclaredRollup) -> str:
    keys = [f"(sluice_key_{i})" for i in range(len(rollup.dimensions))]
    return f"GROUP BY GROUPING SETS ({', '.join(['()', *keys])})" if keys else ""


def _where(rollup: DeclaredRollup, first: Mapping[str, Any]) -> str:
    """The group in words; a set bit of `level` is a dimension that the group says nothing about."""
    count = len(rollup.dimensions)
    said = [
        f"{key} is null" if value is None else f"{key} = {value!r}"
        for i, (key, value) in enumerate(zip(rollup.dimensions, first["keys"], strict=True))
        if not first["level"] >> (count - 1 - i) & 1
    ]
    return f"where {' and '.join(said)}" if said else "over all rows"


def _difference(rollup: DeclaredRollup, leaf: Leaf, where: str, direct: object, kept: object) -> BuildFailed:
    said = [" NULL" if value is None else f" {value}" for value in (direct, kept)]
    names = f" ({', '.join(measures)})" if (measures := rollup.measures[leaf.column]) else ""
    return BuildFailed(
        f"{rollup.at}: the rollup '{rollup.name}' does not add up: {leaf.sql()}{names} {where} is{said[0]} "
        f"from the mart's rows and{said[1]} from the rollup",
        hint="a rollup keeps what is the same each time it is computed: no volatile functions, no sums of "
        f"floating-point numbers (cast to DECIMAL); or leave the measure out of the rollup; {UNPUBLISHED}",
    )
