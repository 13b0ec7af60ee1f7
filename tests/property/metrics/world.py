"""A random project: marts that join, measures of every kind, rollups, and people who see parts of it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from serving.content.semantics import Grain
from tests.property.metrics.measures import MeasureDef, measure_defs
from tests.property.metrics.tables import ZONES, Table, fact_table, partner_table

GRAINS: tuple[Grain, ...] = ("day", "week", "month", "quarter", "year")
EVERYBODY = ("steward", "kinds", "numbers", "masked", "segments")
COMPUTED = {  # name -> (text, type)
    "size": ("case when amount < 10 then 'small' when amount < 100 then 'large' end", "VARCHAR"),
    "third": ("n % 3", "INTEGER"),
    "both": ("coalesce(kind, '?') || '-' || coalesce(state, '?')", "VARCHAR"),
    "due": ("day + 30", "DATE"),
}
READS = {"size": {"amount"}, "third": {"n"}, "both": {"kind", "state"}, "due": {"day"}}


@dataclass(frozen=True)
class JoinDef:
    """A way from a mart to the unique rows of another."""

    name: str
    mart: str
    key: str  # column here; `id` there


@dataclass(frozen=True)
class MartDef:
    """A mart as its files say it."""

    name: str
    table: Table
    joins: tuple[JoinDef, ...] = ()
    computed: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, MeasureDef] = field(default_factory=dict)
    time: str | None = None
    rollups: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, str]:
        """Columns and computed dimensions -> type."""
        return {c.name: c.kind for c in self.table.columns} | {n: COMPUTED[n][1] for n in self.computed}


@dataclass(frozen=True)
class Person:
    """What a person may see, in the plainest words: filters and columns, by mart."""

    email: str
    rows: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[tuple[str, str]] = frozenset()
    masked: Mapping[tuple[str, str], str] = field(default_factory=dict)  # -> the SQL of what is seen


@dataclass(frozen=True)
class World:
    """Everything there is, before it is written down."""

    seed: int
    zone: str
    week_starts: str
    marts: Mapping[str, MartDef]
    people: tuple[Person, ...]
    policy: Mapping[str, object]

    @property
    def facts(self) -> tuple[str, ...]:
        """Marts with measures."""
        return tuple(name for name, mart in self.marts.items() if mart.measures)


def make_world(seed: int) -> World:
    """The world of that number."""
    dice = random.Random(seed)
    zone, week = dice.choice(ZONES), dice.choice(("monday", "sunday"))
    marts: dict[str, MartDef] = {}
    areas = dice.choice((0, 2, 4))
    chained = dice.random() < 0.7
    buyers = dice.choice((0, 3, 8))
    if chained:
        marts["areas"] = MartDef("areas", partner_table(dice, areas))
    joins = (JoinDef("area", "areas", "area_id"),) if chained else ()
    table = partner_table(dice, buyers, "area_id" if chained else None, areas)
    marts["buyers"] = MartDef("buyers", table, joins)
    names = ("orders", "tickets", "visits")[: dice.choice((1, 2, 2, 3))]
    for name in names:
        marts[name] = _fact(dice, name, names, {"areas": areas, "buyers": buyers}, chained, zone)
    people, policy = _people(dice, marts, names)
    return World(seed, zone, week, marts, people, policy)


def _fact(
    dice: random.Random,
    name: str,
    names: tuple[str, ...],
    partners: Mapping[str, int],
    chained: bool,
    zone: str,
) -> MartDef:
    joins = []
    if dice.random() < 0.85:
        joins.append(JoinDef("buyer", "buyers", "buyer_id"))
    if chained and dice.random() < 0.4:
        joins.append(JoinDef("place", "areas", "place_id"))
    table = fact_table(dice, {join.key: partners[join.mart] for join in joins}, zone)
    computed = {n: COMPUTED[n][0] for n in COMPUTED if dice.random() < 0.5}
    time = dice.choice(("day", "seen", "seen"))
    measures = measure_defs(dice, name, names, time, {join.key for join in joins})
    rollups = _rollups(dice, [c.name for c in table.columns], computed, measures)
    return MartDef(name, table, tuple(joins), computed, measures, time, rollups)


def _rollups(
    dice: random.Random, columns: list[str], computed: Mapping[str, str], measures: Mapping[str, MeasureDef]
) -> dict[str, dict[str, list[str]]]:
    plain = [c for c in columns if c in ("state", "flag", "n", "buyer_id", "place_id")]
    times = [f"{c}.{g}" for c in ("day", "seen") for g in GRAINS] + ["seen.hour", "day"]
    kept = [n for n, m in measures.items() if m.rollup]
    found = {}
    for number in range(dice.choice((0, 1, 2, 3, 3))):
        ruled = ["kind"] if dice.random() < 0.5 else []  # what most row rules read
        dimensions = ruled + dice.sample(plain, min(len(plain), dice.randint(0, 3)))
        dimensions += dice.sample(times, dice.choice((0, 1, 1, 1, 2)))
        dimensions += dice.sample(sorted(computed), min(len(computed), dice.choice((0, 0, 1))))
        chosen = kept if dice.random() < 0.5 else dice.sample(kept, dice.randint(1, len(kept)))
        for measure in chosen:  # a semi-additive one needs its time, and what it is taken apart by
            dimensions += [n for n in measures[measure].needs if n not in dimensions]
        marked = [f"~{m}" if measures[m].estimable and dice.random() < 0.4 else m for m in chosen]
        found[f"r{number}"] = {"dimensions": dimensions, "measures": marked}
    return found


def _people(
    dice: random.Random, marts: Mapping[str, MartDef], facts: tuple[str, ...]
) -> tuple[tuple[Person, ...], dict[str, object]]:
    ruled = facts[0]
    hidden = frozenset({(ruled, dice.choice(("amount", "n", "state")))})
    masked = {(ruled, "kind"): "CAST(NULL AS VARCHAR)", ("buyers", "segment"): "'x'"}
    people = (
        Person("ada@example.com"),
        Person("ben@example.com", dict.fromkeys(facts, "kind IN ('EMEA', 'emea', '')")),
        Person("cyn@example.com", {ruled: "(n >= 2 OR n IS NULL)"}),
        Person("dan@example.com", hidden=hidden, masked=masked),
        Person("eve@example.com", {"buyers": "segment = 'EMEA'"}),
    )

    def but(role: str) -> list[str]:
        return [other for other in EVERYBODY if other != role]

    rules = [{"mart": name, "where": "kind = user.kinds", "except": but("kinds")} for name in facts]
    rules += [
        {"mart": ruled, "where": "n >= 2 or n is null", "except": but("numbers")},
        {"mart": "buyers", "where": "segment = 'EMEA'", "except": but("segments")},
    ]
    masks: list[dict[str, object]] = [
        {"column": f"{mart}.{name}", "mask": "hide", "except": but("masked")} for mart, name in hidden
    ]
    masks += [
        {"column": f"{ruled}.kind", "mask": "null", "except": but("masked")},
        {"column": "buyers.segment", "mask": {"constant": "x"}, "except": but("masked")},
    ]
    given = [{"email": person.email, "roles": [role]} for person, role in zip(people, EVERYBODY, strict=True)]
    given[1]["attributes"] = {"kinds": ["EMEA", "emea", ""]}  # type: ignore[assignment]
    return people, {
        "attributes": {"kinds": {"type": "text", "many": True}},
        "roles": {role: {"marts": "*"} for role in EVERYBODY},
        "assign": given,
        "rows": rules,
        "columns": masks,
    }


def write_world(world: World, folder: Path) -> Path:
    """The content folder of a world, its sources beside it."""
    for part in ("sources", "marts", "policies"):
        (folder / part).mkdir(parents=True)
    project = {
        "name": "world",
        "timezone": world.zone,
        "week_starts": world.week_starts,
        "cache_megabytes": 0,
    }
    (folder / "project.yml").write_text(yaml.safe_dump(project), "utf-8")
    (folder / "policies" / "access.yml").write_text(yaml.safe_dump(dict(world.policy)), "utf-8")
    for name, mart in world.marts.items():
        path = folder.parent / f"{name}.parquet"
        pq.write_table(arrow_table(mart.table), path)
        (folder / "sources" / f"raw_{name}.yml").write_text(yaml.safe_dump({"path": str(path)}), "utf-8")
        (folder / "marts" / f"{name}.sql").write_text(f"select * from raw_{name}\n", "utf-8")
        (folder / "marts" / f"{name}.yml").write_text(
            yaml.safe_dump(mart_file(mart), sort_keys=False), "utf-8"
        )
    return folder


def mart_file(mart: MartDef) -> dict[str, object]:
    """What the mart's YAML says."""
    spec: dict[str, object] = {"grain": "id", "columns": {c.name: {} for c in mart.table.columns}}
    if mart.time:
        spec["time"] = mart.time
    if mart.computed:
        spec["dimensions"] = {name: {"expr": text} for name, text in mart.computed.items()}
    if mart.measures:
        spec["measures"] = {name: measure.spec for name, measure in mart.measures.items()}
    if mart.joins:
        spec["joins"] = {j.name: {"mart": j.mart, "on": {j.key: "id"}} for j in mart.joins}
    if mart.rollups:
        spec["rollups"] = {name: dict(rollup) for name, rollup in mart.rollups.items()}
    return spec


_ARROW = {
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "DECIMAL(12,2)": pa.decimal128(12, 2),
}


def arrow_table(table: Table) -> pa.Table:
    """The rows with the types of their columns."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    arrays = [pa.array(v, _ARROW[c.kind]) for v, c in zip(columns, table.columns, strict=True)]
    return pa.table(arrays, names=[c.name for c in table.columns])


def visible_copy(world: World, person: Person) -> duckdb.DuckDBPyConnection:
    """Plain tables that hold what the person may see and nothing else; `rid` numbers the rows of each."""
    copy = duckdb.connect(config={"threads": 1})
    copy.execute(f"SET TimeZone = '{world.zone}'")
    for name, mart in world.marts.items():
        copy.register("given", arrow_table(mart.table))
        seen = [
            f'{person.masked.get((name, c.name), c.name)} AS "{c.name}"'
            for c in mart.table.columns
            if (name, c.name) not in person.hidden
        ]
        rule = person.rows.get(name, "true")
        copy.execute(
            f'CREATE TABLE "{name}" AS SELECT row_number() OVER () - 1 AS rid, * FROM '
            f"(SELECT {', '.join(seen)} FROM (SELECT * FROM given WHERE {rule}))"
        )
        copy.unregister("given")
    return copy
