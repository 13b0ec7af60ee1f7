"""What one person, and everybody with the same rights, reads of one version: views, definitions, rollups."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from serving.content.model import Content
from serving.errors import QueryRefused
from serving.governance.access import View, governed_view, visible_marts
from serving.governance.entitlements import Built, Lookup
from serving.governance.rollup_view import rollup_view
from serving.identity import User
from serving.plan import Pinned
from serving.semantic.model import Claim, Model
from serving.semantic.routing.choose import choose
from serving.semantic.routing.routes import Kept, Miss, Need, Offer, Route, Source
from serving.semantic.routing.source import base_source

Heard = Callable[[Need, Route], None]
"""Is told what a block of aggregation needs, and where it finds it."""


@dataclass(eq=False)
class Reader:
    """Safe to share between threads: what is found twice is the same."""

    content: Content
    pinned: Pinned
    built: Built
    user: User
    mask_key: str
    lookup: Lookup
    proven: frozenset[Claim]
    all_proven: bool  # what the files claim beyond that waits for a build
    heard: Heard | None = None
    _views: dict[str, View] = field(default_factory=dict)
    _offers: dict[str, tuple[Offer, ...]] = field(default_factory=dict)

    def view(self, name: str) -> View:
        """The person's view of a mart; raises QueryRefused where the policy does not fit the mart."""
        if name not in self._views:
            self._views[name] = governed_view(
                self.content, name, self.built, self.user, self.mask_key, self.lookup
            )
        return self._views[name]

    @cached_property
    def model(self) -> Model:
        """The definitions, over what the person sees; a mart whose policy does not fit is left out."""
        readable, masked = {}, {}
        for name in visible_marts(self.content, self.user):
            if name in self.built:
                with suppress(QueryRefused):
                    view = self.view(name)
                    readable[name] = {column: self.built[name][column] for column in view.columns}
                    masked[name] = view.masked.keys()
        return Model(self.content, readable, masked, self.proven)

    def offers(self, mart: str) -> tuple[Offer, ...]:
        """The rollups of a mart in this version, each as the person may read it, or why not."""
        if mart not in self._offers:
            self._offers[mart] = tuple(self._offer(mart, kept) for kept in self.pinned.rollups(mart))
        return self._offers[mart]

    def rollup(self, table: str) -> View:
        """The person's view of a rollup that was offered."""
        return self._views[table]

    def sourcer(self, rollups: bool) -> Callable[[Need], Source]:
        """Where blocks read from: the best rollup, or always the mart."""

        def source(need: Need) -> Source:
            mart, kinds = self.content.marts[need.mart], self.built[need.mart]
            rows, starts = self.pinned.rows(need.mart), self.model.week_starts
            zone = self.content.project.timezone
            if rollups:
                found = choose(need, mart, kinds, self.offers(need.mart), starts, zone, rows)
            else:
                found = base_source(mart, need, dict(kinds), starts, (), rows)
            if self.heard is not None:
                self.heard(need, found.route)
            return found

        return source

    def _offer(self, mart: str, kept: Kept) -> Offer:
        found = rollup_view(kept, self.view(mart), self.built[mart])
        if isinstance(found, Miss):
            return Offer(kept, found)
        view, seen = found
        self._views[kept.table] = view
        return Offer(seen)
