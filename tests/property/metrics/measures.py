"""Measures of every kind, each as its YAML and as plain SQL that was written by hand."""

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class MeasureDef:
    """A measure: an aggregate (`sql`), a formula over others (`sql` with {name}s), or a window over one."""

    spec: Mapping[str, object]
    sql: str  # by hand: the aggregate, or the formula with NULL for a division by 0
    parts: tuple[str, ...] = ()  # measures that the formula is over; `mart.measure` for another mart's
    reads: frozenset[str] = frozenset()  # columns
    counts: bool = False  # 0 where there are no rows
    rollup: bool = True  # a rollup may keep it
    needs: tuple[str, ...] = ()  # dimensions that such a rollup must have
    estimate: str = ""  # the aggregate of `~`
    kind: str = "number"

    @property
    def estimable(self) -> bool:
        """Whether `~` may ask for it, with one right answer."""
        return bool(self.estimate)

    @property
    def cumulative(self) -> bool:
        """Whether it is a window over another one."""
        return "cumulative" in self.spec

    @property
    def semi_additive(self) -> str | None:
        """The time column it is not added up over."""
        found = self.spec.get("semi_additive")
        return str(found) if found else None


def _agg(agg: str, expr: str | None, sql: str, *reads: str, **more: object) -> MeasureDef:
    spec: dict[str, object] = {"agg": agg}
    if expr is not None:
        spec["expr"] = expr
    spec |= {key: more.pop(key) for key in ("filter", "quantile", "fill_nulls_with") if key in more}
    counts = agg in ("count", "count_distinct")
    return MeasureDef(spec, sql, reads=frozenset(reads), counts=counts, **more)  # type: ignore[arg-type]


POOL: dict[str, MeasureDef] = {
    "rows": _agg("count", None, "count(*)"),
    "priced": _agg("count", "amount", "count(amount)", "amount"),
    "kinds": _agg(
        "count_distinct", "kind", "count(DISTINCT kind)", "kind", estimate="approx_count_distinct(kind)"
    ),
    "values": _agg(
        "count_distinct",
        "amount",
        "count(DISTINCT amount)",
        "amount",
        estimate="approx_count_distinct(amount)",
    ),
    "revenue": _agg("sum", "amount", "sum(amount)", "amount"),
    "units": _agg("sum", "n", "sum(n)", "n"),
    "big": _agg("sum", "big", "sum(big)", "big"),
    "gapless": _agg("sum", "n", "sum(n)", "n", fill_nulls_with=0),
    "mean_n": _agg("avg", "n", "avg(n)", "n"),
    # a quotient: the last digit of the engine's avg of decimals depends on what else is asked
    "mean_amount": _agg("avg", "amount", "sum(amount) / nullif(count(amount), 0)", "amount"),
    "low": _agg("min", "amount", "min(amount)", "amount"),
    "latest": _agg("max", "seen", "max(seen)", "seen", kind="time"),
    "first_kind": _agg("min", "kind", "min(kind)", "kind", kind="text"),
    "middle": _agg("median", "amount", "median(amount)", "amount"),
    "middle_n": _agg("median", "n", "median(n)", "n"),
    "q90": _agg("quantile", "n", "quantile_cont(n, 0.9)", "n", quantile=0.9),
    "q25": _agg("quantile", "amount", "quantile_cont(amount, 0.25)", "amount", quantile=0.25),
    "some": _agg("sum", "amount", "sum(amount) FILTER (WHERE n > 2)", "amount", "n", filter="n > 2"),
    "flagged": _agg("count", None, "count(*) FILTER (WHERE flag)", "flag", filter="flag"),
    "twice": _agg("sum", "amount * 2", "sum(amount * 2)", "amount"),
    "weight": _agg("sum", "weight", "sum(weight)", "weight", rollup=False),
    "heavy": _agg("avg", "weight", "avg(weight)", "weight", rollup=False),
}
DERIVED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "rate": ("revenue / rows", "{revenue} / nullif({rows}, 0)", ("revenue", "rows")),
    "share": ("flagged / rows", "{flagged} / nullif({rows}, 0)", ("flagged", "rows")),
    "rest": ("revenue - some", "{revenue} - {some}", ("revenue", "some")),
    "deep": ("rate * 2 + share", "{rate} * 2 + {share}", ("rate", "share")),
    "per_kind": ("revenue / kinds", "{revenue} / nullif({kinds}, 0)", ("revenue", "kinds")),
    "spread": (
        "(middle - low) / units",
        "({middle} - {low}) / nullif({units}, 0)",
        ("middle", "low", "units"),
    ),
}
ALWAYS = ("rows", "revenue")


def measure_defs(
    dice: random.Random, mart: str, marts: tuple[str, ...], time: str, keys: set[str]
) -> dict[str, MeasureDef]:
    """Some of each kind."""
    found = {name: m for name, m in POOL.items() if name in ALWAYS or dice.random() < 0.6}
    if "buyer_id" in keys:
        found["buyers"] = _agg(
            "count_distinct",
            "buyer_id",
            "count(DISTINCT buyer_id)",
            "buyer_id",
            estimate="approx_count_distinct(buyer_id)",
        )
    for name, (text, sql, parts) in DERIVED.items():
        if all(part in found for part in parts):
            reads = frozenset().union(*(found[part].reads for part in parts))
            found[name] = MeasureDef({"expr": text}, sql, parts, reads)
    others = [other for other in marts if other != mart]
    if others and dice.random() < 0.7:
        other = dice.choice(others)
        part = f"{other}.rows"
        found["across"] = MeasureDef(
            {"expr": f"revenue / {part}"},
            f"{{revenue}} / nullif({{{part}}}, 0)",
            ("revenue", part),
            frozenset({"amount"}),
            rollup=False,
        )
    found |= _stock(dice, keys)
    return found | _windows(dice, found, time)


def _stock(dice: random.Random, keys: set[str]) -> dict[str, MeasureDef]:
    if dice.random() < 0.4:
        return {}
    time = dice.choice(("day", "day", "seen"))
    per = dice.choice([(), ("state",), *((key,) for key in sorted(keys))])
    spec: dict[str, object] = {
        "agg": "sum",
        "expr": "amount",
        "semi_additive": time,
        "take": dice.choice(("last", "first")),
    }
    if per:
        spec["per"] = list(per)
    sql, reads = "sum(amount)", frozenset({"amount", time, *per})
    if dice.random() < 0.3:
        spec["filter"], sql, reads = "flag", "sum(amount) FILTER (WHERE flag)", reads | {"flag"}
    found = {"stock": MeasureDef(spec, sql, reads=reads, needs=(time, *per))}
    if dice.random() < 0.5:
        text = "{stock} / nullif({rows}, 0)"
        found["cover"] = MeasureDef({"expr": "stock / rows"}, text, ("stock", "rows"), reads, rollup=False)
    return found


def _windows(dice: random.Random, found: Mapping[str, MeasureDef], time: str) -> dict[str, MeasureDef]:
    shapes: dict[str, dict[str, object]] = {
        "ever": {},
        "lately": {"window": dice.choice(("7 days", "1 month", "2 weeks", "1 quarter", "1 year"))},
        "so_far": {"to_date": dice.choice(("week", "month", "quarter", "year"))},
    }
    bases = [n for n in ("rows", "revenue", "kinds", "rate", "middle", "mean_n", "latest") if n in found]
    made = {}
    for name, shape in shapes.items():
        if dice.random() < 0.5:
            base = dice.choice(bases)
            spec = {"cumulative": base, **shape}
            base_def = found[base]
            made[name] = MeasureDef(
                spec, f"{{{base}}}", (base,), base_def.reads | {time}, rollup=False, kind=base_def.kind
            )
    return made
