"""What the page Metrics shows, as its link says it: the words of a metric request, and a chart. Pure."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from serving.content.spec import Scalar
from serving.content.validate import near
from serving.errors import QueryRefused
from serving.semantic.asking.phrases import written_axis, written_metric
from serving.semantic.asking.phrases_where import written_condition
from serving.semantic.asking.request import Axis, Filter, MetricRequest, Span
from serving.semantic.asking.words import axis, read_request, write_request

Words = Mapping[str, tuple[str, ...]]  # as a link has them: several texts a key
KEYS = ("metrics", "by", "where", "having", "compare", "top", "totals", "fill", "order", "limit", "chart")
_MANY = ("metrics", "by", "where", "having", "order")
CHARTS = ("line", "bar", "number", "table")


@dataclass(frozen=True)
class Look:
    """The choices of the page. Names are written as in requests: `customers.segment`, `ordered_at`."""

    metrics: tuple[str, ...] = ()
    time: str = ""  # the time that range and grain are of
    range: str = ""  # in words; empty: all of it
    grain: str = ""  # empty: not over time
    by: tuple[str, ...] = ()
    values: tuple[tuple[str, tuple[Scalar | None, ...]], ...] = ()  # dimension -> the values to keep
    conditions: tuple[str, ...] = ()  # other ones, in words
    having: tuple[str, ...] = ()
    compare: str = ""
    top: int = 0  # of the first of `by`; 0: all
    top_by: str = ""  # a metric; empty: the first one
    other: bool = False
    totals: bool = False
    fill: bool = False
    order: tuple[str, ...] = ()
    limit: int | None = None
    chart: str = ""  # empty: what fits

    def words(self) -> dict[str, Any]:
        """The request in words, as `read_request` takes them."""
        spans = [f"{self.time}: {self.range}"] if self.time and self.range else []
        filters = [written_condition(_filter(name, values)) for name, values in self.values if values]
        over = (f"{self.time}.{self.grain}",) if self.time and self.grain else ()
        largest = f" by {self.top_by}" if self.top_by else ""
        rest = ", other" if self.other else ""
        best = f"{self.top} {self.by[0]}{largest}{rest}" if self.top and self.by else None
        return {
            "metrics": list(self.metrics),
            "by": [*over, *self.by],
            "where": [*spans, *filters, *self.conditions],
            "having": list(self.having),
            "compare": self.compare or None,
            "top": best,
            "totals": self.totals,
            "fill": self.fill and bool(over and spans),
            "order": list(self.order),
            "limit": self.limit,
        }

    def request(self) -> MetricRequest:
        """What is asked; raises QueryRefused for words that cannot be read."""
        return read_request(self.words())

    def link(self) -> dict[str, tuple[str, ...]]:
        """The query of a link that leads back here."""
        found = {key: value for key, value in self.words().items() if value}
        if self.chart:
            found["chart"] = self.chart
        return {
            key: tuple(value) if isinstance(value, list) else (_text(value),) for key, value in found.items()
        }


def read_look(link: Words) -> Look:
    """The choices behind a link; raises QueryRefused for what cannot be read."""
    words: dict[str, Any] = {key: list(link[key]) for key in _MANY if link.get(key)}
    words |= {key: link[key][0] for key in ("compare", "top") if link.get(key)}
    words |= {key: _flag(key, link[key][0]) for key in ("totals", "fill") if link.get(key)}
    if link.get("limit"):
        words["limit"] = int(link["limit"][0]) if link["limit"][0].isdigit() else link["limit"][0]
    request = read_request(words)
    chart = next(iter(link.get("chart", ())), "")
    if chart and chart not in CHARTS:
        raise QueryRefused(f"there is no chart '{chart}'", hint=near(chart, CHARTS))
    return request_look(request, chart)


def request_look(request: MetricRequest, chart: str = "") -> Look:
    """The choices that ask this request."""
    words = write_request(request)
    over = next((axis for axis in request.by if axis.grain), None)
    span = _span(request, over)
    time = Axis(over.name, None, over.path) if over else span.axis if span else None
    kept = [found for found in request.filters if _by_values(found)]
    rest: list[Filter | Span] = [one for one in request.spans if one is not span]
    rest += [one for one in request.filters if one not in kept]
    best = request.top
    if request.totals not in ((), ((),)):
        raise QueryRefused("this page adds up everything only", hint="totals: true")
    return Look(
        metrics=tuple(words["metrics"]),
        time=written_axis(time) if time else "",
        range=span.words if span else "",
        grain=over.grain or "" if over else "",
        by=_first(best.axis if best else None, [axis for axis in request.by if axis is not over]),
        values=tuple((written_axis(found.axis), found.values) for found in kept),
        conditions=tuple(written_condition(found) for found in rest),
        having=tuple(words.get("having", ())),
        compare=words.get("compare", ""),
        top=best.count if best else 0,
        top_by=written_metric(best.metric) if best and best.metric else "",
        other=best is not None and best.other,
        totals=bool(request.totals),
        fill=request.fill,
        order=tuple(words.get("order", ())),
        limit=request.limit,
        chart=chart,
    )


def tile_yaml(request: MetricRequest, chart: str, title: str) -> str:
    """The request as a tile of a dashboard's file."""
    words = {key: value for key, value in write_request(request).items() if key != "fill"}
    if words.get("totals"):
        words["totals"] = True
    facts = {"title": title, **words, "chart": chart}
    lines = [f"{key}: {_flow(value)}" for key, value in facts.items()]
    return "\n".join(f"{'- ' if number == 0 else '  '}{line}" for number, line in enumerate(lines))


def command_line(request: MetricRequest, user: str) -> str:
    """The request for a terminal."""
    return " \\\n  ".join(_command(write_request(request), user))


def rest_body(request: MetricRequest) -> str:
    """The request for POST /api/v1/metrics."""
    return json.dumps(write_request(request), ensure_ascii=False, indent=2)


def _command(words: Mapping[str, Any], user: str) -> Iterator[str]:
    yield " ".join(["python -m serving metrics", *(shlex.quote(name) for name in words["metrics"])])
    for key in ("by", "order"):
        if words.get(key):
            yield f"--{key} {shlex.quote(','.join(words[key]))}"
    for key in ("where", "having"):
        yield from (f"--{key} {shlex.quote(text)}" for text in words.get(key, ()))
    for key in ("compare", "top", "limit"):
        if words.get(key):
            yield f"--{key} {shlex.quote(str(words[key]))}"
    yield from (f"--{key}" for key in ("totals", "fill") if words.get(key))
    yield f"--user {shlex.quote(user)}"


def _flow(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _span(request: MetricRequest, over: Axis | None) -> Span | None:
    """The range of the time that the answer is over, or the first one."""
    for span in request.spans:
        if over is not None and (span.axis.name, span.axis.path) == (over.name, over.path):
            return span
    return request.spans[0] if request.spans and over is None else None


def _first(best: Axis | None, axes: Sequence[Axis]) -> tuple[str, ...]:
    """The axes, the one that has a top before the others."""
    return tuple(written_axis(found) for found in sorted(axes, key=lambda found: found != best))


def _by_values(found: Filter) -> bool:
    return found.op in ("in", "=") and found.axis.grain is None


def _filter(name: str, values: tuple[Scalar | None, ...]) -> Filter:
    return Filter(axis(name), "in", values)


def _flag(key: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise QueryRefused(f"'{key}' is '{text}'", hint="it is true or false")
    return text == "true"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def typed(lines: str, read: Callable[[str], object]) -> tuple[str, ...]:
    """One text a line, each of which `read` can read; raises QueryRefused."""
    texts = tuple(line.strip() for line in lines.splitlines() if line.strip())
    for text in texts:
        read(text)
    return texts
