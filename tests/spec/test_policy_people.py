"""Who is who: assignment by e-mail, group and domain, and whose attribute wins."""

from datetime import date, datetime

import pytest

from serving.content.policy import Assignment, Attribute, LimitRule, Policy, Role
from serving.errors import UnknownUser
from serving.governance.access import limits_for
from serving.identity import find_user, people, principals


def assign(**keys: object) -> Assignment:
    return Assignment.model_validate(keys)


def policy(*entries: Assignment, **attributes: Attribute) -> Policy:
    declared = {"region": Attribute(type="text"), "regions": Attribute(type="text", many=True), **attributes}
    roles = {name: Role() for name in ("guest", "sales", "lead")}
    return Policy(attributes=declared, roles=roles, assign=entries)


EVERY = policy(
    assign(email="Ana@Example.com", roles="lead", groups=["emea"], attributes={"region": "own"}),
    assign(group="emea", roles="sales", attributes={"region": "group", "regions": ["DE", "FR"]}),
    assign(domain="example.com", roles="guest", attributes={"region": "domain", "regions": "all"}),
)


def test_an_address_holds_the_roles_of_its_own_entries_its_groups_and_its_domain() -> None:
    assert find_user(EVERY, "ana@example.com").roles == ("guest", "lead", "sales")
    assert find_user(EVERY, "bob@example.com").roles == ("guest",)


def test_own_attributes_win_over_the_groups_and_these_over_the_domains() -> None:
    ana, bob = find_user(EVERY, "ANA@example.com "), find_user(EVERY, "bob@example.com")
    assert (ana.attributes["region"], ana.attributes["regions"]) == ("own", ("DE", "FR"))
    assert (bob.attributes["region"], bob.attributes["regions"]) == ("domain", ("all",))


@pytest.mark.parametrize(
    "email",
    [
        "eve@mail.example.com",
        "eve@example.com.evil.com",
        "eve@notexample.com",
        "example.com",
        "@example.com",
        "eve@example.com@evil.com",
        "eve mallory@example.com",
        "eve\n@example.com",
        "group:emea",
        "",
    ],
)
def test_nobody_else_is_taken_for_a_member_of_the_domain(email: str) -> None:
    with pytest.raises(UnknownUser):
        find_user(EVERY, email)


def test_the_domain_is_what_stands_after_the_last_at_sign_in_any_case() -> None:
    assert find_user(EVERY, '"a@b"@EXAMPLE.com').roles == ("guest",)


def test_two_groups_unite_their_lists_but_never_choose_between_two_values() -> None:
    two = policy(
        assign(email="a@x.com", groups=["one", "two"]),
        assign(group="one", roles="sales", attributes={"region": "A", "regions": ["a", "b"]}),
        assign(group="two", attributes={"region": "B", "regions": ["b", "c"]}),
        assign(domain="x.com", attributes={"region": "C"}),
    )
    attributes = find_user(two, "a@x.com").attributes
    assert attributes == {"regions": ("a", "b", "c")}


def test_an_attribute_has_the_type_it_is_declared_with() -> None:
    entry = assign(email="a@x.com", attributes={"since": "2026-01-31", "at": date(2026, 1, 31), "most": 3})
    declared = {
        "since": Attribute(type="date"),
        "at": Attribute(type="timestamp"),
        "most": Attribute(type="number"),
    }
    attributes = find_user(policy(entry, **declared), "a@x.com").attributes
    assert attributes == {"since": date(2026, 1, 31), "at": datetime(2026, 1, 31), "most": 3}


def test_an_attribute_that_is_not_declared_or_does_not_fit_is_not_there() -> None:
    entry = assign(email="a@x.com", attributes={"size": 3, "region": 7, "regions": ["DE", 1]})
    assert find_user(policy(entry), "a@x.com").attributes == {}


def test_people_are_those_with_an_e_mail_and_principals_are_everybody_the_policy_names() -> None:
    assert [user.email for user in people(EVERY)] == ["ana@example.com"]
    found = {user.email: user for user in principals(EVERY)}
    assert list(found) == ["ana@example.com", "group:emea", "*@example.com"]
    assert found["group:emea"].roles == ("sales",)
    assert found["group:emea"].attributes == {"region": "group", "regions": ("DE", "FR")}
    assert found["*@example.com"].roles == ("guest",)


def test_of_several_roles_the_widest_limit_counts_each_kind_by_itself() -> None:
    rules = (
        LimitRule(role="guest", rows=10, seconds=5, megabytes=1.5, concurrent=1, queued=0),
        LimitRule(role="sales", rows=1_000, seconds=2, queued=3),
        LimitRule(role="lead", rows=9_999_999),
    )
    content = type("Some", (), {"policy": Policy(roles=EVERY.roles, limits=rules)})()
    limits = limits_for(content, find_user(policy(assign(email="a@x", roles=["guest", "sales"])), "a@x"))
    assert (limits.rows, limits.seconds, limits.bytes) == (1_000, 5, 1_500_000)
    assert (limits.concurrent, limits.queued) == (1, 3)
