"""The short texts of a metric request <-> its parts: metrics, dimensions, comparisons, tops, orders."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from serving.content.semantics import Grain
from serving.content.validate import near
from serving.errors import QueryRefused
from serving.semantic.asking.request import Axis, Compare, Having, Metric, Order, Top
from serving.semantic.asking.scan import Scan, written_name
from serving.semantic.dimension import GRAINS

SIGNS = ("=", "!=", "<>", "<=", ">=", "<", ">")
_PERIODS: tuple[Grain, ...] = ("day", "week", "month", "quarter", "year")


def metric(text: str) -> Metric:
    """`orders.revenue`; `~orders.buyers` may be estimated."""
    scan = scanned(text, "metric", "orders.revenue, or ~orders.buyers for an estimate")
    found = scanned_metric(scan)
    scan.end()
    return found


def axis(text: str) -> Axis:
    """`region`, `ordered_at.month`, `customers.segment`, `time.week`.

    A last part that is the name of a grain is the grain; in double quotes it is a name.
    """
    scan = scanned(text, "dimension", "region, ordered_at.month or customers.segment")
    found = scanned_axis(scan)
    scan.end()
    return found


def having(text: str) -> Having:
    """`orders.revenue > 1000`"""
    scan = scanned(text, "condition on a metric", "orders.revenue > 1000")
    found = scanned_metric(scan)
    sign = scan.sign(*SIGNS) or scan.fail("one of = != < <= > >=")
    value = scan.number()
    scan.end()
    return Having(found, cast(Any, "!=" if sign == "<>" else sign), value)


def compare(text: str) -> Compare:
    """`previous period`, `previous year`, `3 months earlier`"""
    scan = scanned(text, "comparison", "previous period, previous year, or 3 months earlier")
    if scan.word("previous"):
        to = scan.word("period", "year") or scan.fail("period or year")
        scan.end()
        return Compare("previous year" if to == "year" else "previous period")
    count = scan.number()
    if not isinstance(count, int) or count < 1:
        raise QueryRefused(f"the comparison {text!r} goes {count} back", hint="write 1 or more")
    forms = {form: grain for grain in _PERIODS for form in (grain, f"{grain}s")}
    grain = forms[scan.word(*forms) or scan.fail("days, weeks, months, quarters or years")]
    if not scan.word("earlier"):
        scan.fail("earlier")
    scan.end()
    return Compare("offset", count, grain)


def top(given: str | Mapping[str, Any]) -> Top:
    """`5 country by orders.revenue, other`; or {"dimension", "count", "by", "other"}."""
    if isinstance(given, Mapping):
        known_only(given, ("dimension", "count", "by", "other"), "'top'")
        by = given.get("by")
        count = counted(given.get("count"), "count")
        return Top(
            axis(given.get("dimension", "")), count, None if by is None else metric(by), flag(given, "other")
        )
    scan = scanned(given, "top", "5 country by orders.revenue, other")
    count = counted(scan.number(), "count")
    found = scanned_axis(scan)
    best = scanned_metric(scan) if scan.word("by") else None
    other = scan.sign(",") is not None
    if other and not scan.word("other"):
        scan.fail("other")
    scan.end("by, a comma and other, or the end")
    return Top(found, count, best, other)


def order(text: str) -> Order:
    """`region`, or `-revenue` for the largest first; the name is a column's of the answer."""
    shown = text.lstrip() if isinstance(text, str) else text
    descending = isinstance(shown, str) and shown.startswith("-")
    scan = scanned(shown[1:] if descending else shown, "order", "-revenue, region")
    name = scan.name("a column of the answer")
    while scan.sign("."):
        name += "_" + scan.name()
    scan.end()
    return Order(name, descending)


def written_metric(found: Metric) -> str:
    """A metric as `metric` reads it."""
    return f"{'~' if found.approximate else ''}{written_name(found.mart)}.{written_name(found.measure)}"


def written_axis(found: Axis) -> str:
    """A dimension as `axis` reads it."""
    names = [written_name(name) for name in (*found.path, found.name)]
    if found.grain is not None:
        return ".".join([*names, found.grain])
    if found.path and found.name in GRAINS:
        names[-1] = f'"{found.name}"'
    return ".".join(names)


def written_having(found: Having) -> str:
    """A condition on a metric as `having` reads it."""
    return f"{written_metric(found.metric)} {found.op} {found.value!r}"


def written_order(found: Order) -> str:
    """A sort key as `order` reads it."""
    return ("-" if found.descending else "") + written_name(found.header)


def written_top(best: Top) -> str:
    """A top as `top` reads it."""
    by = "" if best.metric is None else f" by {written_metric(best.metric)}"
    return f"{best.count} {written_axis(best.axis)}{by}{', other' if best.other else ''}"


def scanned_metric(scan: Scan) -> Metric:
    """A metric, where it comes next."""
    approximate = scan.sign("~") is not None
    mart = scan.name("the name of a mart")
    if not scan.sign("."):
        scan.fail("a dot and the name of a measure")
    return Metric(mart, scan.name("the name of a measure"), approximate)


def scanned_axis(scan: Scan) -> Axis:
    """A dimension, where it comes next."""
    names, quoted = [scan.name("the name of a dimension")], False
    while scan.sign("."):
        quoted = scan.quoted_next()
        names.append(scan.name("a name, or a grain"))
    if len(names) > 1 and not quoted and names[-1] in GRAINS:
        return Axis(names[-2], names[-1], tuple(names[:-2]))
    return Axis(names[-1], None, tuple(names[:-1]))


def scanned(text: object, what: str, example: str) -> Scan:
    """The text, to be read; raises QueryRefused where it is none."""
    if not isinstance(text, str):
        raise QueryRefused(f"a {what} is a text, not {text!r}", hint=f"write it like: {example}")
    return Scan(text, what, example)


def flag(words: Mapping[str, Any], key: str) -> bool:
    """A key that is true or false, and false where it is missing; raises QueryRefused for anything else."""
    given = words.get(key)
    if given is None or isinstance(given, bool):
        return bool(given)
    raise QueryRefused(f"'{key}' is {given!r}", hint="it is true or false")


def counted(given: Any, key: str) -> int:
    """A whole number from 1 up; raises QueryRefused for anything else."""
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    raise QueryRefused(f"'{key}' is {given!r}", hint="it is a whole number from 1 up")


def known_only(words: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Raises QueryRefused where the mapping has another key."""
    for key in words:
        if key not in keys:
            raise QueryRefused(f"{where} has no '{key}'", hint=near(str(key), keys))
