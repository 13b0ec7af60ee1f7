"""From the log to measured suggestions. Reads the audit and the built marts; changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from time import perf_counter

from serving.errors import BuildFailed, NotPublished
from serving.marts.artifact import MartFile
from serving.marts.trial import Trial, trial
from serving.project import Project
from serving.semantic.routing.routes import Kept, Reason
from serving.store import utc_now
from serving.suggest.candidates import (
    SMALLER,
    Dimensions,
    Want,
    candidates,
    choose_greedily,
    dimensions_for,
)
from serving.suggest.fitting import Fitting, block_sql
from serving.suggest.log import askings
from serving.suggest.measures import estimates, measures_for
from serving.suggest.replay import Block, Replayed, replay
from serving.suggest.suggestion import Beyond, Report, Suggestion, rollup_name

TIMED = 20  # different blocks that are run for each suggestion; rarer ones count as no gain
LEAST = 10_000  # rows of a mart; fewer are read in no time
FASTER = 2  # times, at least
SPARE = 3  # rollups measured beside those asked for: what they save is known only then
ADVICE = {
    Reason.EXPRESSION: "single rows, or computed from them: make it a dimension or a measure of the mart",
    Reason.JOIN: "joined so that rows cannot be taken together: aggregate in a CTE first, then join",
    Reason.MEASURE: "an aggregate that is no measure: name it in the mart's YAML",
    Reason.TIME_ZONE: "instants compared or cut: compare whole days, CAST(… AS DATE)",
    Reason.RANGE: "ranges that hold no day, or cannot be put together",
    Reason.NAME: "a name in the question hides the mart's",
}


def suggest(
    project: Project, days: int = 30, top: int = 5, budget: int | None = None, user: str | None = None
) -> Report:
    """The rollups that would have saved the most time over the last `days`; `budget` is bytes of all.

    Raises NotPublished, AuditBroken.
    """
    version = project.current_version()
    if version is None:
        raise NotPublished("nothing is published yet", hint="run `python -m serving build`")
    asked = askings(project.audit, utc_now() - timedelta(days=days), user)
    found = replay(project, asked)
    suggestions: list[Suggestion] = []
    beyond: list[Beyond] = []
    for name in sorted({block.need.mart for block in found.blocks} & version.marts.keys()):
        blocks = [block for block in found.blocks if block.need.mart == name]
        if version.marts[name].rows < LEAST:
            continue
        with ExitStack() as stack:
            over = _Over(project, version.marts[name], blocks, days, stack)
            made, hopeless = over.proposed(top + SPARE)
        suggestions += made
        beyond += hopeless
    total = sum(asking.times for asking in asked)
    refused = sum(asking.times for asking in found.refused)
    best = sorted(suggestions, key=lambda one: (-one.seconds_a_day, one.mart, one.name))
    kept = within([replace(one, share=one.questions / max(1, total - refused)) for one in best], budget)[:top]
    people = len({asking.user for asking in asked})
    return Report(
        days,
        total,
        people,
        refused,
        tuple(kept),
        _merged([*beyond, *_missed(found)]),
        _unused(project, found),
    )


class _Over:
    """What is proposed for one mart."""

    def __init__(
        self, project: Project, file: MartFile, blocks: Sequence[Block], days: int, stack: ExitStack
    ) -> None:
        content = project.content
        self.project, self.file, self.days = project, file, days
        self.mart = content.marts[file.mart]
        self.trial = stack.enter_context(trial(content, file))
        views = {
            email: project.view(file.mart, project.user(email)) for email in {b.asking.user for b in blocks}
        }
        starts, zone = content.project.week_starts, content.project.timezone
        self.fitting = Fitting(self.mart, file, starts, zone, views, self.trial.types)
        self.blocks = blocks
        self.wants = _wants(blocks)

    def proposed(self, most: int) -> tuple[list[Suggestion], list[Beyond]]:
        """The suggestions as measured, and what none can help."""
        wants, fitting = self.wants, self.fitting
        closures = {want: dimensions_for(want.need, fitting.views[want.user].compares) for want in wants}
        leaves = {leaf for want in wants for leaf in want.need.leaves if leaf in fitting.known}
        weights: Counter[Dimensions] = Counter()
        fitting.learn(set(closures.values()), leaves)
        hopeless: list[Beyond] = []
        for want, dims in closures.items():
            if (why := fitting.unfit(dims, want)) is None:
                weights[dims] += want.times * want.rows
            else:
                hopeless.append(self._beyond(want, why.reason, str(why)))
        alone, pairs = candidates(weights)
        fitting.learn(pairs, ())
        sizes = self._sizes([*alone, *pairs])
        small = {dims: rows for dims, rows in sizes.items() if rows <= SMALLER * self.file.rows}
        big = [want for want, dims in closures.items() if dims in sizes and dims not in small]
        words = "its groups are too many for a rollup: more than a fifth of the mart's rows"
        hopeless += [self._beyond(want, Reason.DIMENSION, words) for want in big]
        helped = [want for want, dims in closures.items() if dims in weights and want not in big]
        chosen = choose_greedily(helped, small, lambda d, want: fitting.unfit(d, want) is None, most)
        return self._measured(chosen, small, helped), hopeless

    def _sizes(self, sets: Sequence[Dimensions]) -> dict[Dimensions, int]:
        counts = self.trial.groups([self.fitting.texts(dims) for dims in sets])
        return dict(zip(sets, counts, strict=True))

    def _measured(
        self, chosen: Sequence[Dimensions], sizes: Mapping[Dimensions, int], wants: Sequence[Want]
    ) -> list[Suggestion]:
        """Each want goes to the smallest of the chosen that answers it."""
        goes: dict[Dimensions, list[Want]] = defaultdict(list)
        for want in wants:
            for dims in sorted(chosen, key=lambda d: sizes[d]):
                if sizes[dims] < want.rows and self.fitting.unfit(dims, want) is None:
                    goes[dims].append(want)
                    break
        taken = set(self.mart.rollups)
        found = []
        for dims in chosen:
            if goes[dims]:
                name = rollup_name(dims, taken)
                taken.add(name)
                one = self._one(name, dims, goes[dims])
                found += [one] if one is not None else []
        return found

    def _one(self, name: str, dims: Dimensions, wants: Sequence[Want]) -> Suggestion | None:
        """Build it, time it; None where it would fail a build, or saves little."""
        declared = self.fitting.declared(name, dims, wants)
        with trial(self.project.content, self.file) as made_in:
            started = perf_counter()
            try:
                kept = made_in.make(declared)
            except BuildFailed:
                return None
            seconds = perf_counter() - started
            if kept.rows > SMALLER * self.file.rows:
                return None
            before, after = self._times(made_in, kept, wants)
        if before < FASTER * after:
            return None
        needs = {(want.need, want.user) for want in wants}
        served = {block.asking for block in self.blocks if (block.need, block.asking.user) in needs}
        leaves = [leaf for want in wants for leaf in want.need.leaves if leaf in self.fitting.known]
        return Suggestion(
            mart=self.mart.name,
            file=self.mart.at("rollups").rpartition(":")[0],
            name=name,
            dimensions=dims,
            measures=measures_for(leaves, self.fitting.known) or _any_measure(self.fitting),
            rows=kept.rows,
            bytes=kept.bytes,
            mart_rows=self.file.rows,
            build_seconds=round(seconds, 3),
            questions=sum(asking.times for asking in served),
            share=0.0,
            people=len({asking.user for asking in served}),
            seconds_a_day=(before - after) / self.days,
            times_faster=before / after,
        )

    def _times(self, made_in: Trial, kept: Kept, wants: Sequence[Want]) -> tuple[float, float]:
        """Seconds of all that was asked: as it reads today, and over the rollup."""
        before = after = 0.0
        for want in sorted(wants, key=lambda want: -want.times * want.rows)[:TIMED]:
            now, then = (
                made_in.seconds(block_sql(want.need, self.fitting.source(want.need, want.user, offered)))
                for offered in (self.file.rollups, (kept,))
            )
            before, after = before + want.times * now, after + want.times * then
        return before, after

    def _beyond(self, want: Want, reason: Reason, words: str) -> Beyond:
        if reason is Reason.DISTINCT and (names := estimates(want.need.leaves, self.fitting.known)):
            exact = ", ".join(leaf.sql() for leaf in want.need.leaves if not leaf.mergeable)
            words = (
                f"{exact} of groups says nothing about larger ones; ask for an estimate: {', '.join(names)}"
            )
        return Beyond(self.mart.name, reason, words, want.times)


def _wants(blocks: Iterable[Block]) -> list[Want]:
    times: Counter[tuple[object, ...]] = Counter()
    first: dict[tuple[object, ...], Block] = {}
    for block in blocks:
        key = (block.need, block.asking.user, block.route.rows)
        times[key] += block.asking.times
        first.setdefault(key, block)
    return [Want(block.need, block.asking.user, times[key], block.route.rows) for key, block in first.items()]


def _any_measure(fitting: Fitting) -> tuple[str, ...]:
    """A rollup names one at least; the number of rows that was asked for is kept anyway."""
    return tuple(fitting.known.values())[:1]


def within(best: Sequence[Suggestion], budget: int | None) -> list[Suggestion]:
    """From the best on, those whose files fit together into the budget."""
    kept: list[Suggestion] = []
    for one in best:
        if budget is None or sum(other.bytes for other in kept) + one.bytes <= budget:
            kept.append(one)
    return kept


def _missed(found: Replayed) -> list[Beyond]:
    return [
        Beyond(one.mart, one.reason, ADVICE.get(one.reason, "see docs/metrics.md"), one.asking.times)
        for one in found.missed
    ]


def _merged(found: Iterable[Beyond]) -> tuple[Beyond, ...]:
    """The same words once, the most frequent first."""
    times: Counter[Beyond] = Counter()
    for one in found:
        times[replace(one, questions=0)] += one.questions
    return tuple(replace(one, questions=count) for one, count in times.most_common())


def _unused(project: Project, found: Replayed) -> tuple[str, ...]:
    declared = [(name, rollup) for name, mart in project.content.marts.items() for rollup in mart.rollups]
    return tuple(f"{name}.{rollup}" for name, rollup in declared if (name, rollup) not in found.used)
