"""Answers as ECharts options: plain dicts, because they cost a tenth of chart objects. Pure."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from serving.content.semantics import Grain
from serving.semantic.asking.time import add_months, floor
from serving.ui.figures import NO_VALUE, bucket, label, shape, short

Chart = dict[str, Any]
INK = "#8a9490"  # reads on light and dark
LINES = "rgba(138, 148, 144, 0.22)"
MOST_SERIES = 12


def line_chart(
    table: pa.Table,
    x: str,
    y: Sequence[str],
    split: str | None,
    form: str,
    grain: str = "",
    names: Mapping[str, str] | None = None,
    faint: Collection[str] = (),
) -> Chart:
    """Lines over `x`; one a value of `split`, else one a column of `y`.

    `names` are labels of columns; the columns in `faint` are dashed, as what was before.
    """
    called = names or {}
    dashed = {called.get(name) or label(name) for name in faint}
    points = _axis(table.column(x).to_pylist(), grain)
    place = {point: number for number, point in enumerate(points)}
    lines: dict[str, list[float | None]] = {}
    keys = table.column(x).to_pylist()
    percent = shape(form).percent
    if split is None:
        for name in y:
            lines[called.get(name) or label(name)] = _placed(
                keys, table.column(name).to_pylist(), place, percent
            )
    else:
        rows = list(zip(keys, table.column(split).to_pylist(), table.column(y[0]).to_pylist(), strict=True))
        for group in dict.fromkeys(row[1] for row in rows):
            own = [row for row in rows if row[1] == group]
            lines[_name(group)] = _placed([r[0] for r in own], [r[2] for r in own], place, percent)
    few = len(points) <= 40
    series = [
        {
            "type": "line",
            "name": name,
            "data": values,
            "showSymbol": len(points) == 1 or (few and len(lines) == 1),
            "symbolSize": 5,
            "lineStyle": {"width": 1.5, "type": "dashed", "color": INK} if name in dashed else {"width": 2},
            "itemStyle": {"color": INK} if name in dashed else None,
            "emphasis": {"focus": "series"},
            "areaStyle": {"opacity": 0.08} if len(lines) == 1 else None,
        }
        for name, values in sorted(lines.items(), key=lambda line: (line[0] in dashed, line[0]))[:MOST_SERIES]
    ]
    return {
        **_frame(len(lines)),
        "tooltip": _tooltip("axis", form),
        "xAxis": {
            "type": "category",
            "data": [bucket(point, grain) for point in points],
            "boundaryGap": False,
            "axisTick": {"show": False},
            "axisLine": {"lineStyle": {"color": LINES}},
            "axisLabel": {"hideOverlap": True, "alignMinLabel": "left", "alignMaxLabel": "right"},
        },
        "yAxis": _value_axis(form),
        "series": [{key: part for key, part in one.items() if part is not None} for one in series],
    }


def bar_chart(
    table: pa.Table,
    x: str,
    y: Sequence[str],
    split: str | None,
    form: str,
    grain: str = "",
    names: Mapping[str, str] | None = None,
    faint: Collection[str] = (),
) -> Chart:
    """Bars by `x`: lying where the labels are long, stacked where there is a split."""
    called = names or {}
    pale = {called.get(name) or label(name) for name in faint}
    keys = list(dict.fromkeys(table.column(x).to_pylist()))
    marks = [bucket(key, grain) for key in keys]
    place = {key: number for number, key in enumerate(keys)}
    percent = shape(form).percent
    groups: dict[str, list[float | None]] = {}
    if split is None:
        for name in y:
            groups[called.get(name) or label(name)] = _placed(
                table.column(x).to_pylist(), table.column(name).to_pylist(), place, percent
            )
    else:
        rows = list(zip(*(table.column(c).to_pylist() for c in (x, split, y[0])), strict=True))
        for group in dict.fromkeys(row[1] for row in rows):
            own = [row for row in rows if row[1] == group]
            groups[_name(group)] = _placed([r[0] for r in own], [r[2] for r in own], place, percent)
    lying = lies(marks)
    category: Chart = {
        "type": "category",
        "data": marks,
        "inverse": lying,
        "axisTick": {"show": False},
        "axisLine": {"lineStyle": {"color": LINES}},
        "axisLabel": {"hideOverlap": not lying, "width": 130, "overflow": "truncate"}
        if lying
        else {"hideOverlap": True},
    }
    labelled = len(groups) == 1 and len(marks) <= 16
    series = [
        {
            "type": "bar",
            "name": name,
            "data": _labelled(values, form, lying) if labelled else values,
            "barMaxWidth": 26 if lying else 44,
            "itemStyle": {
                "borderRadius": ([0, 3, 3, 0] if lying else [3, 3, 0, 0]) if len(groups) == 1 else 0,
                **({"color": INK, "opacity": 0.45} if name in pale else {}),
            },
            **({"stack": "all"} if split is not None else {}),
        }
        for name, values in list(groups.items())[:MOST_SERIES]
    ]
    value = {"type": "value", "show": False} if labelled else _value_axis(form, lying=lying)
    return {
        **_frame(len(groups), right=58 if lying and labelled else 14),
        "tooltip": _tooltip("axis", form, pointer="shadow"),
        "xAxis": value if lying else category,
        "yAxis": category if lying else value,
        "series": series,
    }


def lies(names: Sequence[str]) -> bool:
    """Whether the bars lie: many labels, or long ones."""
    return len(names) > 3 and (max(map(len, names)) > 7 or len(names) > 8) and not _dates(names)


def bar_height(names: int, lying: bool) -> int:
    """Pixels that keep the bars readable."""
    return max(200, min(26 * names + 40, 620)) if lying else 260


def guessed(table: pa.Table) -> tuple[str, str, list[str]] | None:
    """`(kind, x, y)` of a quick chart over any answer, or None where there is nothing to draw."""
    if table.num_rows < 2:
        return None
    numbers = [f.name for f in table.schema if is_number(f.type)]
    times = [f.name for f in table.schema if pa.types.is_temporal(f.type)]
    texts = [f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_boolean(f.type)]
    if not numbers:
        return None
    if times:
        return "line", times[0], numbers[:4]
    if texts:
        return "bar", texts[0], numbers[:1]
    return ("line", numbers[0], numbers[1:4]) if len(numbers) > 1 else None


def is_number(kind: pa.DataType) -> bool:
    """Whether a column can be drawn as values."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _labelled(values: Sequence[float | None], form: str, lying: bool) -> list[Chart]:
    """Each bar with its value in short at its end; the tooltip has it in full."""
    factor = 0.01 if shape(form).percent else 1.0
    return [
        {
            "value": value,
            "label": {
                "show": value is not None,
                "position": "right" if lying else "top",
                "formatter": "" if value is None else short(value * factor, form),
                "fontSize": 11,
                "color": INK,
            },
        }
        for value in values
    ]


def _frame(series: int, right: int = 14) -> Chart:
    legend = {"type": "scroll", "top": 0, "left": 0, "itemWidth": 14, "itemHeight": 8, "icon": "roundRect"}
    return {
        "grid": {
            "left": 4,
            "right": right,
            "top": 34 if series > 1 else 12,
            "bottom": 4,
            "containLabel": True,
        },
        "legend": legend if series > 1 else {"show": False},
        "animationDuration": 250,
    }


def _tooltip(trigger: str, form: str, pointer: str = "line") -> Chart:
    return {
        "trigger": trigger,
        "valueFormatter": shape(form).printf if form else "%,.2f",
        "axisPointer": {"type": pointer},
        "confine": True,
        "order": "valueDesc",
    }


def _value_axis(form: str, lying: bool = False) -> Chart:
    how = shape(form)
    text = "{value}%" if how.percent else f"{how.symbol}{{value}}"
    return {
        "type": "value",
        "splitNumber": 3 if lying else 4,
        "splitLine": {"lineStyle": {"color": LINES}},
        "axisLine": {"show": False},
        "axisLabel": {"formatter": text, "hideOverlap": True},
    }


def _axis(keys: Sequence[Any], grain: str) -> list[Any]:
    """The points of an axis; a gap in time is a point without value, never a straight line."""
    known = list(dict.fromkeys(keys))
    days = [key.date() if isinstance(key, datetime) else key for key in known if isinstance(key, date)]
    if grain not in ("day", "week", "month", "quarter", "year") or len(days) != len(known) or not days:
        return sorted(known) if days and len(days) == len(known) else known
    if isinstance(known[0], datetime):
        return sorted(known)
    points: list[date] = []
    point = min(days)
    while point <= max(days) and len(points) < 5_000:
        points.append(point)
        point = _next(point, grain)
    return points if set(known) <= set(points) else sorted(known)


def _next(point: date, grain: str) -> date:
    months = {"month": 1, "quarter": 3, "year": 12}.get(grain)
    if months is not None:
        return add_months(point, months)
    return date.fromordinal(point.toordinal() + (7 if grain == "week" else 1))


def _placed(
    keys: Sequence[Any], values: Sequence[Any], place: Mapping[Any, int], percent: bool
) -> list[float | None]:
    out: list[float | None] = [None] * len(place)
    for key, value in zip(keys, values, strict=True):
        if value is not None and key in place:
            out[place[key]] = float(value) * 100 if percent else float(value)
    return out


def _name(group: object) -> str:
    return NO_VALUE if group is None else bucket(group, "")


def _dates(names: Sequence[str]) -> bool:
    return all(name[-2:].isdigit() and " " in name for name in names)


def last_is_partial(newest: date, grain: Grain) -> bool:
    """Whether the period that holds the newest day is not over with it."""
    tomorrow = date.fromordinal(newest.toordinal() + 1)
    return floor(newest, grain) == floor(tomorrow, grain)
