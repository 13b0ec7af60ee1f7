"""What changes for whom between two access tables."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from serving.rights import compare
from serving.rights.compare import Effect
from serving.rights.published import Published
from serving.rights.report import all_of
from serving.rights.table import AccessTable, Group, MartRights, Rights

SIGNS: Mapping[Effect, str] = {"wider": "+", "narrower": "-", "different": "~", "none": "="}
Standing = Literal["new", "gone", "stays"]


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was."""

    effect: Effect
    mart: str  # empty where it is about the person
    text: str

    @property
    def line(self) -> str:
        """`+ may now read orders`."""
        return f"{SIGNS[self.effect]} {self.text}"


@dataclass(frozen=True)
class PersonChanges:
    """What changes for one principal."""

    email: str
    name: str
    standing: Standing
    changes: tuple[Change, ...]

    @property
    def gains(self) -> bool:
        """Whether the person may see something that was not theirs to see before."""
        return any(change.effect in ("wider", "different") for change in self.changes)

    @property
    def loses(self) -> bool:
        """Whether something is taken away."""
        return any(change.effect in ("narrower", "different") for change in self.changes)


@dataclass(frozen=True)
class Changes:
    """The working copy against the published policy."""

    version: int  # whose publish recorded the policy
    at: datetime
    people: tuple[PersonChanges, ...]  # those for whom something changes
    unchanged: int

    @property
    def gaining(self) -> tuple[PersonChanges, ...]:
        """Those who gain anything."""
        return tuple(person for person in self.people if person.gains)

    @property
    def losing(self) -> tuple[PersonChanges, ...]:
        """Those who lose anything."""
        return tuple(person for person in self.people if person.loses)

    def facts(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "published": {"version": self.version, "at": self.at},
            "widens": bool(self.gaining),
            "unchanged": self.unchanged,
            "people": [
                {**asdict(person), "gains": person.gains, "loses": person.loses} for person in self.people
            ],
        }


def changes_since(published: Published, now: AccessTable) -> Changes:
    """Every principal of either side whose rights differ, in the order of their names."""
    before = published.table.people
    found = []
    for email in sorted(before.keys() | now.people.keys()):
        one = person_changes(email, before.get(email), now.people.get(email))
        if one.changes or one.standing != "stays":
            found.append(one)
    everybody = len(before.keys() | now.people.keys())
    return Changes(published.version, published.at, tuple(found), everybody - len(found))


def person_changes(email: str, before: Rights | None, after: Rights | None) -> PersonChanges:
    """One principal; None where the policy does not know them."""
    if after is None:
        assert before is not None
        gone = tuple(_marts(before.marts, {}))
        return PersonChanges(email, before.name, "gone", gone)
    if before is None:
        every = [_every(after)] if after.every_mart else []
        return PersonChanges(email, after.name, "new", (*every, *_marts({}, after.marts)))
    changes = (*_person(before, after), *_marts(before.marts, after.marts))
    return PersonChanges(email, after.name, "stays", changes)


def _person(before: Rights, after: Rights) -> Iterator[Change]:
    if before.every_mart != after.every_mart:
        yield _every(after)
    if before.roles != after.roles:
        yield Change("none", "", f"roles: {_listed(before.roles)} → {_listed(after.roles)}")
    for name in sorted(before.attributes.keys() | after.attributes.keys()):
        was, now = before.attributes.get(name, "none"), after.attributes.get(name, "none")
        if was != now:
            yield Change("none", "", f"attribute {name}: {was} → {now}")
    for kind in after.limits:
        effect = compare.amounts(before.limits.get(kind), after.limits[kind])
        if effect != "none":
            was, now = _amount(before.limits.get(kind)), _amount(after.limits[kind])
            yield Change(effect, "", f"limit of {kind}: {was} → {now}")


def _every(after: Rights) -> Change:
    if after.every_mart:
        return Change("wider", "", "may now read every mart, those to come too, and act on syncs")
    return Change("narrower", "", "may no longer read every mart to come, nor act on syncs")


def _marts(before: Mapping[str, MartRights], after: Mapping[str, MartRights]) -> Iterator[Change]:
    for mart in dict.fromkeys((*before, *after)):
        if mart not in before:
            yield Change("wider", mart, f"may now read {mart}: {_summary(after[mart])}")
        elif mart not in after:
            yield Change("narrower", mart, f"may no longer read {mart}")
        else:
            yield from _mart(mart, before[mart], after[mart])


def _mart(mart: str, before: MartRights, after: MartRights) -> Iterator[Change]:
    if set(before.rows) != set(after.rows):
        effect = compare.rows(before.rows, after.rows)
        yield Change(effect, mart, f"rows of {mart}: {all_of(before.rows)} → {all_of(after.rows)}")
    if before.aggregate != after.aggregate:
        was, now = _group(before.aggregate), _group(after.aggregate)
        yield Change(_groups(before.aggregate, after.aggregate), mart, f"{mart}: {was} → {now}")
    for name in dict.fromkeys((*before.columns, *after.columns)):
        was, now = before.columns.get(name, ""), after.columns.get(name, "")
        effect = compare.masks(was or "hidden", now or "hidden")
        if (was or "hidden") != (now or "hidden"):  # one that came or went unseen is nobody's change
            yield Change(effect, mart, f"{mart}.{name}: {was or 'not there'} → {now or 'gone'}")


def _groups(before: Group | None, after: Group | None) -> Effect:
    if before is None or after is None:
        return "narrower" if before is None else "wider"
    if before.of != after.of:
        return "different"
    return compare.amounts(after.min_group, before.min_group)


def _group(rule: Group | None) -> str:
    if rule is None:
        return "single rows"
    return f"aggregates over at least {rule.min_group} {f'different {rule.of}' if rule.of else 'rows'}"


def _summary(mart: MartRights) -> str:
    words = [all_of(mart.rows)]
    if mart.aggregate is not None:
        words.append(_group(mart.aggregate))
    words += [f"{name} {shown}" for name, shown in mart.columns.items() if shown != "seen"]
    return ", ".join(words)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


def _amount(value: float | None) -> str:
    return "none" if value is None else f"{value:,g}"
