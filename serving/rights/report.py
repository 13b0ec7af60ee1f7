"""What one person sees and why; who sees one column and why."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from serving.answer import Limits
from serving.content.model import Content
from serving.content.validate import near
from serving.errors import QueryRefused, SluiceError
from serving.governance.access import View, limits_for
from serving.identity import User
from serving.rights.door import columns_of_view, rows_of_view
from serving.rights.grants import (
    AttributeValue,
    Grant,
    Holding,
    attributes,
    grants,
    holdings,
    roles_granting,
)
from serving.rights.rules import (
    AggregateAccess,
    Built,
    ColumnAccess,
    RowAccess,
    aggregate_access,
    column_access,
    column_names,
    row_access,
)

Views = Callable[[str, User], View]  # mart, user -> the view the door would bind; raises QueryRefused


@dataclass(frozen=True)
class LimitAccess:
    """One limit, and the roles that allow as much; none where it is the default."""

    kind: str
    value: float | None  # None: no limit
    roles: tuple[str, ...]
    at: tuple[str, ...]

    @property
    def words(self) -> str:
        """`rows 1,000 by analyst`."""
        value = "without end" if self.value is None else f"{self.value:,g}"
        return f"{self.kind} {value} by {' and '.join(self.roles) or 'default'}"


@dataclass(frozen=True)
class MartAccess:
    """One mart as one person sees it."""

    mart: str
    granted: bool
    grants: tuple[Grant, ...]
    offered_by: tuple[str, ...]  # where it is not granted: the roles that would
    built: bool
    problem: str  # why nothing of a granted mart can be read; empty where it can
    columns: tuple[ColumnAccess, ...]
    rows: tuple[RowAccess, ...]
    aggregate: AggregateAccess | None

    @property
    def in_aggregates_only(self) -> bool:
        """Whether single rows stay unseen."""
        return self.aggregate is not None and not self.aggregate.exempt

    @property
    def rows_shown(self) -> str:
        """The rows that exist for the person: `all rows`, `no rows`, or the rules that apply."""
        return all_of(rule.bound for rule in self.rows if not rule.exempt)

    def facts(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        columns = [{**asdict(one), "shown": one.shown, "why": one.why} for one in self.columns]
        return {**asdict(self), "columns": columns, "rows_shown": self.rows_shown}


@dataclass(frozen=True)
class UserAccess:
    """All that one person sees, and why."""

    email: str
    name: str
    roles: tuple[Holding, ...]
    attributes: tuple[AttributeValue, ...]
    limits: tuple[LimitAccess, ...]
    marts: tuple[MartAccess, ...]

    def facts(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "marts": [mart.facts() for mart in self.marts]}


@dataclass(frozen=True)
class Sight:
    """What one person sees of a column."""

    email: str
    name: str
    shown: str  # `seen`, `hidden`, `no mart`, `nothing`, or the mask
    rows: str
    aggregate: str
    why: str
    at: str


def all_of(rules: Iterable[str]) -> str:
    """Several row rules as one text."""
    texts = list(dict.fromkeys(rules))
    return (
        " and ".join(f"({text})" for text in texts) if len(texts) > 1 else texts[0] if texts else "all rows"
    )


def user_access(
    content: Content, built: Built, views: Views, user: User, mart: str | None = None
) -> UserAccess:
    """Everything about one person, or one mart of it; raises SluiceError for a mart that is not there."""
    if mart is not None:
        find_mart(content, mart)
    held = holdings(content, user)
    chosen = [mart] if mart else [name for name, one in content.marts.items() if one.visible]
    marts = tuple(mart_access(content, built, views, user, name, held) for name in chosen)
    return UserAccess(
        user.email,
        user.name,
        held,
        attributes(content.policy, user),
        _limits(content, user),
        tuple(sorted(marts, key=lambda one: not one.granted)),
    )


def mart_access(
    content: Content, built: Built, views: Views, user: User, mart: str, held: tuple[Holding, ...]
) -> MartAccess:
    """One mart for one person who holds these roles."""
    given = grants(content, mart, held)
    access = MartAccess(
        mart,
        bool(given),
        given,
        () if given else roles_granting(content, mart),
        mart in built,
        "",
        tuple(column_access(content, mart, name, user) for name in column_names(content, mart, built)),
        row_access(content, mart, user),
        aggregate_access(content, mart, user),
    )
    if not given or mart not in built:
        return access
    try:
        view = views(mart, user)
    except QueryRefused as refusal:
        return replace(access, problem=refusal.problem)
    columns = columns_of_view(access.columns, view, built[mart])
    return replace(access, columns=columns, rows=rows_of_view(access.rows, view))


def own_part(access: UserAccess) -> UserAccess:
    """The same as its subject may read it: what does not exist for them has no name here."""
    marts = tuple(
        replace(
            mart,
            offered_by=(),
            problem="the policy does not fit the mart" if mart.problem else "",
            columns=tuple(column for column in mart.columns if column.state != "hidden"),
            rows=tuple(_own_rule(rule) for rule in mart.rows if not rule.exempt),
        )
        for mart in access.marts
        if mart.granted
    )
    return replace(access, marts=marts)


def _own_rule(rule: RowAccess) -> RowAccess:
    return replace(rule, where=rule.own_where, bound=rule.own_bound, note="")


def column_sights(
    content: Content, built: Built, views: Views, people: Iterable[User], column: str
) -> tuple[Sight, ...]:
    """Everybody's sight of `mart.column`; raises SluiceError for one that is not there."""
    mart, dot, name = column.partition(".")
    if not dot or not name:
        raise SluiceError(f"{column!r} names no column", hint="write it as mart.column")
    find_mart(content, mart)
    names = column_names(content, mart, built)
    if name not in names:
        raise SluiceError(f"'{mart}' has no column '{name}'", hint=near(name, names))
    return tuple(_sight(content, built, views, user, mart, name) for user in people)


def find_mart(content: Content, mart: str) -> None:
    """Raises SluiceError, with a hint, where there is no such mart."""
    if mart not in content.marts:
        shown = [name for name, one in content.marts.items() if one.visible]
        raise SluiceError(f"there is no mart {mart!r}", hint=near(mart, shown))


def _sight(content: Content, built: Built, views: Views, user: User, mart: str, name: str) -> Sight:
    access = mart_access(content, built, views, user, mart, holdings(content, user))
    if not access.granted:
        return Sight(user.email, user.name, "no mart", "", "", _no_mart(content, access), "")
    if access.problem:
        return Sight(user.email, user.name, "nothing", "", "", access.problem, "")
    column = next(one for one in access.columns if one.name == name)
    only = access.aggregate.words if access.aggregate and access.in_aggregates_only else ""
    why = column.why or ", ".join(step.words for step in access.grants[0].steps)
    at = column.at or access.grants[0].steps[0].at
    return Sight(user.email, user.name, column.shown, access.rows_shown, only, why, at)


def _no_mart(content: Content, access: MartAccess) -> str:
    if not content.marts[access.mart].visible:
        return "a building block, shown to nobody"
    return f"{' or '.join(access.offered_by)} would grant it" if access.offered_by else "no role grants it"


def _limits(content: Content, user: User) -> tuple[LimitAccess, ...]:
    found = []
    for kind, value in limit_values(limits_for(content, user)).items():
        rules = [rule for rule in content.policy.limits if rule.role in user.roles]
        allow = [rule for rule in rules if getattr(rule, kind) is not None and getattr(rule, kind) == value]
        found.append(
            LimitAccess(kind, value, tuple(rule.role for rule in allow), tuple(rule._at for rule in allow))
        )
    return tuple(found)


def limit_values(limits: Limits) -> Mapping[str, float | None]:
    """Limits by the names that the policy gives them."""
    return {
        "rows": limits.rows,
        "megabytes": None if limits.bytes is None else limits.bytes / 1_000_000,
        "seconds": limits.seconds,
        "concurrent": limits.concurrent,
        "queued": limits.queued,
    }
