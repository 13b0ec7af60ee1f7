"""MetricFlow's metrics as measures: simple, ratio, derived and cumulative ones."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from serving.content.semantics import Measure
from serving.importing.dbt.manifest import Manifest
from serving.importing.dbt.measures import aggregate, differences
from serving.importing.dbt.metricflow import DbtMeasure, Input, Metric
from serving.importing.dbt.semantic import Modelled
from serving.importing.expressions import substituted
from serving.importing.findings import Finding, NotCarried
from serving.importing.names import free_name, renamed, sluice_name

_WINDOW = re.compile(r"([1-9]\d{0,3}) (day|week|month|quarter|year)s?")
_TO_DATE = ("week", "month", "quarter", "year")
Filters = tuple[str, ...]
Key = tuple[str, Filters, int | float | None]  # a metric, more filters, what stands for NULL


@dataclass(frozen=True)
class Ref:
    """A measure of the draft."""

    mart: str
    name: str

    def seen_from(self, mart: str) -> str:
        """How another measure names it."""
        return self.name if mart == self.mart else f"{self.mart}.{self.name}"


@dataclass
class Metrics:
    """The measures of all marts while metrics are put to them: a metric once for each set of filters."""

    manifest: Manifest
    models: Mapping[str, Modelled]  # by name
    findings: list[Finding] = field(default_factory=list)
    _done: dict[Key, Ref] = field(default_factory=dict)
    _inside: list[str] = field(default_factory=list)

    def add_all(self) -> None:
        """Every metric, then every measure that no metric shows as it is."""
        for metric in sorted(self._by_name().values(), key=lambda metric: metric.type != "simple"):
            before = self._state()
            try:
                self._metric(metric, (), metric.name, None)
            except NotCarried as reason:
                self._back_to(*before)
                self.findings.append(Finding("left", f"metric {metric.name}", str(reason)))
        for model in self.models.values():
            for spec in model.spec.measures:
                self._bare(model, spec)

    def _state(self) -> tuple[dict[str, dict[str, Measure]], dict[Key, Ref], list[Finding]]:
        measures = {name: dict(model.sketch.measures) for name, model in self.models.items()}
        return measures, dict(self._done), list(self.findings)

    def _back_to(
        self, measures: Mapping[str, dict[str, Measure]], done: dict[Key, Ref], findings: list[Finding]
    ) -> None:
        """Take back the parts of a metric that cannot be made whole."""
        for name, model in self.models.items():
            model.sketch.measures = measures[name]
        self._done, self.findings = done, findings

    def _by_name(self) -> dict[str, Metric]:
        return {metric.name: metric for metric in self.manifest.metrics.values()}

    def _bare(self, model: Modelled, spec: DbtMeasure) -> None:
        try:
            made = aggregate(spec, (), model)
        except NotCarried as reason:
            self.findings.append(Finding("left", f"measure {model.spec.name}.{spec.name}", str(reason)))
            return
        if not any(_computation(each) == made for each in model.sketch.measures.values()):
            about = {"label": spec.label, "description": " ".join(spec.description.split())}
            self._differs(f"measure {model.spec.name}.{spec.name}", *differences(spec, model))
            self._put(
                model, f"measure {model.spec.name}.{spec.name}", spec.name, made.model_copy(update=about)
            )

    def _metric(self, metric: Metric, filters: Filters, wanted: str, fill: int | float | None) -> Ref:
        """The measure of a metric under more filters; raises NotCarried."""
        key = (metric.name, filters, fill)
        if key not in self._done:
            if metric.name in self._inside:
                raise NotCarried(f"is made of itself: {' -> '.join([*self._inside, metric.name])}")
            self._inside.append(metric.name)
            try:
                self._done[key] = self._made(metric, (*metric.filter, *filters), wanted, fill)
            finally:
                self._inside.pop()
        return self._done[key]

    def _made(self, metric: Metric, filters: Filters, wanted: str, fill: int | float | None) -> Ref:
        match metric.type:
            case "simple":
                return self._simple(metric, filters, wanted, fill)
            case "ratio":
                return self._ratio(metric, filters, wanted)
            case "derived":
                return self._derived(metric, filters, wanted)
            case "cumulative":
                return self._cumulative(metric, filters, wanted)
            case "conversion":
                raise NotCarried(
                    "is a conversion: Sluice has no measure that follows a person from event to event"
                )
        raise NotCarried(f"is of type {metric.type}, which is not known here")

    def _simple(self, metric: Metric, filters: Filters, wanted: str, fill: int | float | None) -> Ref:
        params = metric.type_params
        spec, model = self._aggregation(metric)
        given = params.measure or Input(name=spec.name)
        what = f"metric {metric.name}"
        made = aggregate(spec, (*given.filter, *filters), model)
        fills = [fill, params.fill_nulls_with, given.fill_nulls_with]
        filled = next((value for value in fills if value is not None), None)
        self._differs(what, *differences(spec, model))
        if params.join_to_timespine or given.join_to_timespine:
            self._differs(what, "shows no row for a time without rows: ask with fill for these")
        about = self._about(metric, wanted, fill_nulls_with=filled)
        return self._put(model, what, wanted, made.model_copy(update=about))

    def _aggregation(self, metric: Metric) -> tuple[DbtMeasure, Modelled]:
        params = metric.type_params
        if params.measure is not None:
            for model in self.models.values():
                for spec in model.spec.measures:
                    if spec.name == params.measure.name:
                        return spec, model
            raise NotCarried(f"its measure '{params.measure.name}' is of no semantic model that is imported")
        spec_said = params.metric_aggregation_params
        if spec_said is None:
            raise NotCarried("does not say what it aggregates")
        if spec_said.semantic_model not in self.models:
            raise NotCarried(f"its semantic model '{spec_said.semantic_model}' is not imported")
        expr = spec_said.expr or params.expr or metric.name
        named = spec_said.model_copy(update={"name": metric.name, "expr": expr})
        return named, self.models[spec_said.semantic_model]

    def _ratio(self, metric: Metric, filters: Filters, wanted: str) -> Ref:
        parts = (metric.type_params.numerator, metric.type_params.denominator)
        if parts[0] is None or parts[1] is None:
            raise NotCarried("lacks its numerator or denominator")
        over = self._input(parts[0], filters, f"{wanted}_numerator")
        under = self._input(parts[1], filters, f"{wanted}_denominator")
        text = f"{over.seen_from(over.mart)} / {under.seen_from(over.mart)}"
        return self._compose(metric, wanted, over.mart, text)

    def _derived(self, metric: Metric, filters: Filters, wanted: str) -> Ref:
        params = metric.type_params
        if not params.metrics or not params.expr:
            raise NotCarried("lacks its metrics, or the expression over them")
        refs = {}
        for given in params.metrics:
            shown = given.alias or given.name
            refs[shown] = self._input(given, filters, f"{wanted}_{shown}")
        home = next(iter(refs.values())).mart
        names = {name: ref.seen_from(home) for name, ref in refs.items()}
        return self._compose(metric, wanted, home, substituted(params.expr, names))

    def _input(self, given: Input, filters: Filters, wanted: str) -> Ref:
        """A metric that another one is made of, under the filters of both."""
        if given.offset_window or given.offset_to_grain:
            shift = given.offset_window or f"the start of the {given.offset_to_grain}"
            raise NotCarried(f"shifts '{given.name}' by {shift}: ask for it with --compare")
        if (metric := self._by_name().get(given.name)) is None:
            raise NotCarried(f"its metric '{given.name}' is not in the manifest")
        more = (*given.filter, *filters)
        return self._metric(metric, more, wanted if more else metric.name, None)

    def _cumulative(self, metric: Metric, filters: Filters, wanted: str) -> Ref:
        params = metric.type_params
        more = params.cumulative_type_params
        if (given := params.measure) is not None:
            base = self._of_measure(metric, given, filters, f"{wanted}_each")
        elif more.metric is not None:
            base = self._input(more.metric, filters, f"{wanted}_each")
        else:
            raise NotCarried("does not say what it cumulates")
        model = next(each for each in self.models.values() if each.sketch.name == base.mart)
        if (why := self._never_cumulated(model, base)) is not None:
            raise NotCarried(why)
        window, to_date = more.window or params.window, more.grain_to_date or params.grain_to_date
        if window and not _WINDOW.fullmatch(window):
            raise NotCarried(f"its window '{window}' is not one of days, weeks, months, quarters or years")
        if to_date and to_date not in _TO_DATE:
            raise NotCarried(f"runs to date by {to_date}: known are {', '.join(_TO_DATE)}")
        if more.period_agg != "last":
            words = f"is the value at the end of a period; MetricFlow, by longer ones, the {more.period_agg}"
            self._differs(f"metric {metric.name}", words)
        about = self._about(
            metric, wanted, cumulative=base.name, window=window or None, to_date=to_date or None
        )
        return self._put(model, f"metric {metric.name}", wanted, Measure.model_validate(about))

    def _of_measure(self, metric: Metric, given: Input, filters: Filters, wanted: str) -> Ref:
        """The measure that a cumulative metric of the older spec names, as a measure of its own."""
        spec, model = self._aggregation(metric)
        made = aggregate(spec, (*given.filter, *filters), model)
        for name, each in model.sketch.measures.items():
            if _computation(each) == made and each.fill_nulls_with is None:
                return Ref(model.sketch.name, name)
        plain = not (given.filter or filters)
        return self._put(model, f"measure {spec.name}", spec.name if plain else wanted, made)

    def _never_cumulated(self, model: Modelled, base: Ref) -> str | None:
        measure = model.sketch.measures[base.name]
        if model.sketch.time is None:
            return f"runs along a time, and '{base.mart}' has none"
        if measure.semi_additive:
            return f"cumulates '{base.name}', which is never added up over time"
        if measure.cumulative:
            return f"cumulates '{base.name}', which is cumulative itself"
        if measure.agg is None:
            return f"cumulates '{base.name}', which is made of other measures"
        return None

    def _compose(self, metric: Metric, wanted: str, mart: str, text: str) -> Ref:
        model = next(each for each in self.models.values() if each.sketch.name == mart)
        about = self._about(metric, wanted, expr=text, fill_nulls_with=metric.type_params.fill_nulls_with)
        return self._put(model, f"metric {metric.name}", wanted, Measure.model_validate(about))

    def _about(self, metric: Metric, wanted: str, **more: object) -> dict[str, object]:
        words = {"label": metric.label, "description": " ".join(metric.description.split())}
        if wanted != metric.name:
            words = {"description": f"{metric.label or metric.name}, as far as it counts for another measure"}
        return {key: value for key, value in {**words, **more}.items() if value not in (None, "")}

    def _put(self, model: Modelled, what: str, wanted: str, measure: Measure) -> Ref:
        sketch = model.sketch
        new = free_name(sluice_name(wanted), sketch.measures)
        self.findings += renamed(what, wanted, new)
        sketch.measures[new] = measure
        return Ref(sketch.name, new)

    def _differs(self, what: str, *words: str) -> None:
        self.findings += [
            finding for each in words if (finding := Finding("changed", what, each)) not in self.findings
        ]


def _computation(measure: Measure) -> Measure:
    """The measure without what people read about it."""
    words = {"label": "", "description": "", "synonyms": (), "format": "", "fill_nulls_with": None}
    return measure.model_copy(update=words)


def metric_findings(manifest: Manifest, models: Mapping[str, Modelled]) -> Iterator[Finding]:
    """Add all metrics to the sketches; what is to be said about it."""
    metrics = Metrics(manifest, models)
    metrics.add_all()
    yield from metrics.findings
