"""Who sees what and why, who sees a column, and what a change of the policy does to whom."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import serving.ui.explorer
from serving import Project, open_project
from serving.access import changes, explain_column, explain_own, explain_user, subject
from serving.cli_access import changes_text
from serving.errors import NotPublished, SluiceError, UnknownUser
from serving.identity import inherited, principals
from serving.rights import compare
from serving.rights.compare import Effect
from serving.rights.grants import entries_of
from serving.rights.report import MartAccess, UserAccess
from serving.rights.table import access_table
from serving.ui.explorer import Explorer, open_explorer
from serving.ui.pages import serving_pages
from tests.conftest import SHOP
from tests.spec.test_cli import sluice

Write = Callable[..., Path]
POLICY = "policies/access.yml"
TEAMS = """\
attributes: {region: text, regions: {type: text, many: true}}
roles:
  reader: {marts: customers}
  analyst: {marts: orders, extends: reader}
  partner: {marts: orders}
  steward: {marts: "*"}
  idle: {marts: []}
assign:
  - {email: ana@example.com, name: Ana, roles: [steward]}
  - {email: gus@example.com, groups: [sales], roles: []}
  - {email: pat@partner.example, roles: [partner]}
  - {group: sales, roles: [analyst], attributes: {regions: [EMEA, AMER]}}
  - {domain: partner.example, roles: [idle], attributes: {region: EMEA}}
rows:
  - {mart: orders, where: "region = user.regions", except: [steward, partner]}
  - {mart: orders, where: "amount < 50", except: steward}
columns:
  - {tag: pii.email, mask: hash, except: [steward]}
aggregates:
  - {mart: orders, min_group: 2, of: customer_id, except: [steward, analyst]}
"""


def policy(*replaced: tuple[str, str]) -> dict[str, str]:
    """The shop's policy with some texts replaced, each of which must be there."""
    text = SHOP[POLICY]
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new)
    return {POLICY: text}


@pytest.fixture
def teams(shop_files: Write) -> Iterator[Project]:
    """The shop with groups, a domain, lists and an aggregate-only role."""
    folder = shop_files({POLICY: TEAMS})
    project = open_project(folder, var=folder.parent / "var")
    project.build()
    yield project
    project.close()


@pytest.fixture
def after(shop_files: Write) -> Iterator[Callable[..., list[str]]]:
    """Publish the shop, change its policy as told, and read what changes for whom."""
    folder = shop_files()
    project = open_project(folder, var=folder.parent / "var")
    project.build()

    def lines(*replaced: tuple[str, str]) -> list[str]:
        (folder / POLICY).write_text(policy(*replaced)[POLICY], encoding="utf-8")
        project.refresh()
        assert project.problems == ()
        return [line.strip() for line in changes_text(changes(project))]

    yield lines
    project.close()


def person(project: Project, email: str) -> UserAccess:
    return explain_user(project, subject(project, email))


def mart(project: Project, email: str, name: str) -> MartAccess:
    return next(one for one in person(project, email).marts if one.mart == name)


def test_a_mart_is_explained_by_role_inheritance_and_assignment_each_with_its_line(shop: Project) -> None:
    (grant,) = mart(shop, "emil@example.com", "orders").grants

    lines = SHOP[POLICY].splitlines()
    said = [(step.words, lines[int(step.at.rpartition(":")[2]) - 1].strip()) for step in grant.steps]
    assert [words for words, _ in said] == [
        "analyst names it",
        "emea extends analyst",
        "given to emil@example.com",
    ]
    starts = ("analyst:", "emea:", "- {email: emil@")
    assert all(line.startswith(start) for (_, line), start in zip(said, starts, strict=True))


def test_columns_are_seen_masked_or_hidden_by_a_rule_found_by_tag_or_name(shop: Project) -> None:
    found = {column.name: column for column in mart(shop, "emil@example.com", "customers").columns}

    assert {name: column.shown for name, column in found.items()} == {
        "customer_id": "seen",
        "region": "seen",
        "email": "hash",
        "phone": "null",
        "salary": "hidden",
    }
    assert found["email"].why == "hash by tag pii.email"
    assert found["email"].tagged_at.partition(":")[0].endswith("marts/customers.yml")
    assert found["phone"].why == "null by name"
    assert found["region"].why == ""


def test_row_rules_show_the_values_of_the_person(shop: Project) -> None:
    (rule,) = mart(shop, "emil@example.com", "orders").rows

    assert (rule.where, rule.bound, rule.exempt) == ("region = user.region", "region = 'EMEA'", ())


def test_somebody_without_the_attribute_of_a_rule_sees_no_row_and_is_told_why(shop: Project) -> None:
    (rule,) = mart(shop, "nobody@example.com", "orders").rows

    assert (rule.bound, rule.note) == ("no rows", "has no attribute 'region'")


def test_an_exempt_person_is_told_which_role_takes_them_out(shop: Project) -> None:
    customers = mart(shop, "ana@example.com", "customers")

    assert [rule.exempt for rule in customers.rows] == [("steward",)]
    assert customers.rows_shown == "all rows"
    assert {column.shown for column in customers.columns} == {"seen"}
    assert "hash by tag pii.email does not apply to steward" in {column.why for column in customers.columns}


def test_limits_name_the_role_that_gives_them(shop: Project) -> None:
    limits = {limit.kind: limit.words for limit in person(shop, "emil@example.com").limits}

    assert limits["rows"] == "rows 1,000 by analyst"
    assert limits["concurrent"] == "concurrent 4 by default"


def test_a_mart_that_is_not_granted_names_the_roles_that_would(teams: Project) -> None:
    customers = mart(teams, "pat@partner.example", "customers")

    assert (customers.granted, customers.offered_by) == (False, ("reader", "analyst", "steward"))


def test_groups_and_domains_are_principals_of_their_own(teams: Project) -> None:
    group, domain = person(teams, "group:sales"), person(teams, "*@partner.example")

    assert {one.role for one in group.roles} == {"analyst", "reader"}
    assert group.attributes[0].value == "EMEA or AMER"
    assert [one.role for one in domain.roles] == ["idle"]
    steps = mart(teams, "gus@example.com", "orders").grants[0].steps
    assert steps[-1].words == "given to group sales"
    assert {a.subject for a in person(teams, "pat@partner.example").attributes} == {"domain partner.example"}


def test_a_sync_is_a_principal_with_the_roles_it_runs_as(shop_files: Write) -> None:
    sync = """\
source: customers
run_as: [sync]
destination: crm
object: contacts
key: {email: email}
fields: {region: region}
"""
    crm = "connector: sandbox\nurl: http://127.0.0.1:1\ntoken: ${file:token}\n"
    egress = ("limits:\n", "egress:\n  - {destination: crm, allow: [pii.email]}\nlimits:\n")
    folder = shop_files({"syncs/people.yml": sync, "destinations/crm.yml": crm, **policy(egress)})
    project = open_project(folder, var=folder.parent / "var")
    project.build()

    (holding,) = person(project, "sync:people").roles
    assert [step.words for step in holding.steps] == ["given to the sync people"]
    assert holding.steps[0].at.endswith("syncs/people.yml:2")
    (folder / POLICY).write_text(policy(egress, ("sync: {marts: [customers]}", 'sync: {marts: "*"}'))[POLICY])
    project.refresh()
    assert [one.email for one in changes(project).gaining] == ["sync:people"]
    project.close()


def test_somebody_known_by_their_domain_only_can_be_asked_about(teams: Project) -> None:
    assert [one.role for one in person(teams, "new@partner.example").roles] == ["idle"]
    with pytest.raises(UnknownUser):
        person(teams, "new@sub.partner.example")


def test_a_list_attribute_and_a_second_rule_must_both_hold(teams: Project) -> None:
    rows = mart(teams, "gus@example.com", "orders").rows_shown

    assert rows == "(region IN ('EMEA', 'AMER')) and (amount < 50)"


def test_an_aggregate_only_mart_says_so(teams: Project) -> None:
    partner, analyst = (mart(teams, who, "orders") for who in ("pat@partner.example", "gus@example.com"))

    assert partner.in_aggregates_only
    assert partner.aggregate is not None
    assert partner.aggregate.words == "aggregates over at least 2 different customer_id"
    assert not analyst.in_aggregates_only


@pytest.mark.parametrize("content", ["shop", "teams"])
def test_what_is_recorded_is_what_the_door_shows(content: str, request: pytest.FixtureRequest) -> None:
    """Columns and masks of the table, for everybody, against the views that questions run on."""
    project: Project = request.getfixturevalue(content)
    version = project.current_version()
    assert version is not None
    built = {name: dict(file.columns) for name, file in version.marts.items()}
    everybody = principals(project.content.policy)
    table = access_table(project.content, built, everybody)
    for user in everybody:
        rights = table.people[user.email]
        assert tuple(rights.marts) == project.visible_marts(user)
        for name, one in rights.marts.items():
            view = project.view(name, user)
            shown = {column: view.masked.get(column, "seen") for column in view.columns}
            assert {c: s for c, s in one.columns.items() if s != "hidden"} == shown
            assert (one.aggregate is None) == (view.aggregate is None)
            assert (one.rows == ()) == ("WHERE" not in view.body)


@pytest.mark.parametrize("content", ["shop", "teams"])
def test_the_assignments_of_a_principal_give_exactly_its_roles(
    content: str, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue(content)
    for user in principals(project.content.policy):
        assert {holding.role for holding in person(project, user.email).roles} == set(user.roles)
        entries = entries_of(project.content.policy, user.email).all
        given = {role for entry in entries for role in entry.roles}
        assert set(inherited(project.content.policy, given)) == set(user.roles)


def test_a_person_nobody_knows_is_refused(shop: Project) -> None:
    with pytest.raises(UnknownUser, match=r"nobody called 'mallory@example\.com'"):
        subject(shop, "mallory@example.com")


def test_a_mart_that_is_not_there_is_told_with_the_nearest_name(shop: Project) -> None:
    with pytest.raises(SluiceError, match=r"there is no mart 'ordres'\n.*did you mean 'orders'"):
        explain_user(shop, subject(shop, "ana@example.com"), "ordres")


def test_everybody_has_a_sight_of_a_column(shop: Project) -> None:
    sights = {one.email.split("@")[0]: one for one in explain_column(shop, "customers.email")}

    assert {name: one.shown for name, one in sights.items()} == {
        "ana": "seen",
        "emil": "hash",
        "amy": "hash",
        "nobody": "hash",
    }
    assert sights["amy"].rows == "region = 'AMER'"
    assert sights["ana"].why == "hash by tag pii.email does not apply to steward"


def test_who_has_no_mart_has_no_column(teams: Project) -> None:
    sights = {one.email: one for one in explain_column(teams, "customers.email")}

    assert sights["pat@partner.example"].shown == "no mart"
    assert sights["pat@partner.example"].why == "reader or analyst or steward would grant it"
    assert sights["group:sales"].shown == "hash"


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("customers.salry", "'customers' has no column 'salry'\n  hint: did you mean 'salary'?"),
        ("custmers.salary", "there is no mart 'custmers'\n  hint: did you mean 'customers'?"),
        ("salary", "'salary' names no column\n  hint: write it as mart.column"),
    ],
)
def test_an_unknown_column_is_told_with_a_near_name(shop: Project, column: str, said: str) -> None:
    with pytest.raises(SluiceError) as refusal:
        explain_column(shop, column)
    assert str(refusal.value) == said


def test_before_the_first_build_columns_come_from_the_files_and_there_is_nothing_to_compare(
    shop_files: Write,
) -> None:
    folder = shop_files()
    project = open_project(folder, var=folder.parent / "var")

    customers = mart(project, "emil@example.com", "customers")
    assert not customers.built
    assert [column.shown for column in customers.columns] == ["seen", "seen", "hash", "null", "hidden"]
    assert customers.rows_shown == "region = 'EMEA'"
    with pytest.raises(NotPublished, match="no published policy"):
        changes(project)
    project.close()


def test_what_a_person_reads_of_themselves_names_nothing_that_is_hidden_from_them(teams: Project) -> None:
    text = (teams.root / POLICY).read_text(encoding="utf-8")
    text = text.replace("columns:\n", "columns:\n  - {column: orders.note, mask: hide, except: steward}\n")
    (teams.root / POLICY).write_text(text, encoding="utf-8")
    teams.refresh()

    told = repr(explain_own(teams, subject(teams, "pat@partner.example")))

    assert "amount" in told
    assert "note'" not in told
    assert "customers" not in told.replace("customers.yml", "")


def test_a_rule_over_a_column_that_is_hidden_from_them_is_not_told_to_a_person(teams: Project) -> None:
    text = (teams.root / POLICY).read_text(encoding="utf-8")
    text = text.replace("columns:\n", "columns:\n  - {column: orders.amount, mask: hide, except: steward}\n")
    (teams.root / POLICY).write_text(text, encoding="utf-8")
    teams.refresh()
    pat = subject(teams, "pat@partner.example")

    (orders,) = explain_own(teams, pat).marts
    assert [rule.where for rule in orders.rows] == ["a rule over columns that are hidden from you"]
    assert "amount" not in repr(orders)
    assert "amount < 50" in repr(explain_user(teams, pat))


def test_an_entitlement_is_shown_with_the_person_in_it_and_is_not_looked_up_for_the_record(
    shop_files: Write,
) -> None:
    """Rows that the listing mart adds are data: they change nothing here."""
    rule = "region in (select region from owners where who = user.email)"
    files = {
        "marts/owners.sql": "select 'EMEA' as region, 'emil@example.com' as who",
        "marts/owners.yml": "visible: false\ngrain: region\ncolumns: {region: {}, who: {}}\n",
        **policy(('{mart: orders, where: "region = user.region"', f'{{mart: orders, where: "{rule}"')),
    }
    folder = shop_files(files)
    project = open_project(folder, var=folder.parent / "var")
    project.build()

    bound = "region IN (SELECT region FROM owners WHERE who = 'emil@example.com')"
    assert mart(project, "emil@example.com", "orders").rows_shown == bound
    own = next(
        m for m in explain_own(project, subject(project, "emil@example.com")).marts if m.mart == "orders"
    )
    assert "owners" not in repr(own.rows)

    (folder / "marts/owners.sql").write_text("select 'AMER' as region, 'emil@example.com' as who")
    project.refresh()
    assert changes(project).people == ()
    project.close()


def test_nothing_changes_while_only_comments_and_order_do(after: Callable[..., list[str]]) -> None:
    assert after(("roles:\n", "# who may do what\nroles:\n")) == [
        "nothing changes for anybody, against the policy published with version 1"
    ]


def test_a_mask_that_falls_is_a_gain(after: Callable[..., list[str]]) -> None:
    lines = after(("mask: hash, except: [steward, sync]", "mask: hash, except: [steward, sync, emea]"))

    assert lines == [
        "emil@example.com, Emil",
        "+ customers.email: hash → seen",
        "",
        "1 gain, 0 lose, 3 see the same (against version 1)",
    ]


def test_a_mask_that_comes_is_a_loss(after: Callable[..., list[str]]) -> None:
    lines = after(("columns:\n", "columns:\n  - {column: orders.note, mask: hide, except: [steward]}\n"))

    assert lines.count("- orders.note: seen → hidden") == 3
    assert lines[-1] == "0 gain, 3 lose, 1 see the same (against version 1)"


def test_a_row_rule_that_falls_is_a_gain_and_one_that_comes_a_loss(after: Callable[..., list[str]]) -> None:
    rule = '  - {mart: orders, where: "region = user.region", except: [steward]}\n'
    gone = after((rule, ""))
    more = after((rule, rule + "  - {mart: orders, where: amount < 50}\n"))

    assert "+ rows of orders: region = 'EMEA' → all rows" in gone
    assert "- rows of orders: all rows → amount < 50" in more
    assert "- rows of orders: region = 'EMEA' → (region = 'EMEA') and (amount < 50)" in more


def test_another_region_is_neither_wider_nor_narrower(after: Callable[..., list[str]]) -> None:
    lines = after(("attributes: {region: AMER}", "attributes: {region: EMEA}"))

    assert lines[:4] == [
        "amy@example.com, Amy",
        "= attribute region: AMER → EMEA",
        "~ rows of customers: region = 'AMER' → region = 'EMEA'",
        "~ rows of orders: region = 'AMER' → region = 'EMEA'",
    ]


def test_marts_come_and_go_with_their_roles(after: Callable[..., list[str]]) -> None:
    gained = after(("analyst: {marts: [orders, customers]}", "analyst: {marts: [orders]}"))
    assert gained.count("- may no longer read customers") == 3

    promoted = after(("name: Amy, roles: [analyst]", "name: Amy, roles: [analyst, steward]"))
    assert "+ may now read every mart, those to come too, and act on syncs" in promoted
    assert "= roles: analyst → analyst, steward" in promoted


def test_people_come_and_go(after: Callable[..., list[str]]) -> None:
    lines = after(("email: nobody@example.com", "email: newton@example.com"))

    assert lines == [
        "newton@example.com: new",
        "+ may now read customers: no rows, email hash, phone null, salary hidden",
        "+ may now read orders: no rows",
        "",
        "nobody@example.com: gone from the policy",
        "- may no longer read customers",
        "- may no longer read orders",
        "",
        "1 gain, 1 lose, 3 see the same (against version 1)",
    ]


def test_limits_change_in_both_directions(after: Callable[..., list[str]]) -> None:
    lines = after(("rows: 1000, seconds: 20", "rows: 2000, seconds: 10"))

    assert "+ limit of rows: 1,000 → 2,000" in lines
    assert "- limit of seconds: 20 → 10" in lines


def test_a_build_makes_the_changes_the_published_policy_although_no_mart_changed(shop_files: Write) -> None:
    folder = shop_files()
    project = open_project(folder, var=folder.parent / "var")
    project.build()
    (folder / POLICY).write_text(policy(("region: AMER", "region: EMEA"))[POLICY], encoding="utf-8")
    project.refresh()
    assert len(changes(project).people) == 1

    assert not project.build().published
    assert changes(project).people == ()
    project.close()


def test_a_column_that_a_file_describes_before_it_is_built_counts_as_coming(shop_files: Write) -> None:
    folder = shop_files()
    project = open_project(folder, var=folder.parent / "var")
    project.build()
    file = folder / "marts/orders.yml"
    file.write_text(SHOP["marts/orders.yml"].replace("  note: {}\n", "  note: {}\n  tip: {}\n"))
    project.refresh()

    (emil,) = (one for one in changes(project).people if one.email == "emil@example.com")
    assert [change.line for change in emil.changes] == ["+ orders.tip: not there → seen"]
    project.close()


@pytest.mark.parametrize(
    ("before", "now", "effect"),
    [
        ("seen", "hash", "narrower"),
        ("hidden", "null", "wider"),
        ("null", "bucket 10", "wider"),
        ("null", "constant 'x'", "none"),
        ("bucket 10", "bucket 5", "wider"),
        ("bucket 10", "bucket 100", "narrower"),
        ("bucket 10", "bucket 15", "different"),
        ("truncate month", "truncate day", "wider"),
        ("truncate year", "truncate week", "wider"),
        ("truncate week", "truncate month", "different"),
        ("hash", "partial (first 1)", "different"),
        ("partial (first 1)", "partial (first 2)", "different"),
        ("partial (first 2)", "hidden", "narrower"),
    ],
)
def test_masks_are_compared_by_what_they_tell(before: str, now: str, effect: Effect) -> None:
    assert compare.masks(before, now) == effect


@pytest.mark.parametrize(
    ("before", "now", "effect"),
    [
        (["region = 'EMEA'"], ["region IN ('AMER', 'EMEA')"], "wider"),
        (["region IN ('AMER', 'EMEA')"], ["region = 'EMEA'"], "narrower"),
        (["region = 'EMEA'"], ["country = 'EMEA'"], "different"),
        (["no rows"], ["region = 'EMEA'"], "wider"),
        (["a = 1", "b = 2"], ["b = 2"], "wider"),
        (["a = 1"], ["a = 1 OR b = 2"], "different"),
        (["NOT a IN (1, 2)"], ["NOT a IN (1)"], "different"),
        (["a IN (SELECT x FROM y)"], ["a IN (SELECT x FROM z)"], "different"),
    ],
)
def test_row_rules_are_compared_by_the_rows_they_let_through(
    before: list[str], now: list[str], effect: Effect
) -> None:
    assert compare.rows(before, now) == effect


def test_the_command_answers_for_people_columns_and_changes(shop_files: Write) -> None:
    folder = shop_files()
    assert sluice(folder, "build").returncode == 0

    told = sluice(folder, "access", "--user", "emil@example.com", "--mart", "customers").stdout.decode()
    assert "masked     email: hash by tag pii.email (" in told
    assert "orders" not in told
    machine = json.loads(sluice(folder, "access", "--column", "customers.salary", "--json").stdout)
    assert {one["email"].split("@")[0]: one["shown"] for one in machine}["emil"] == "hidden"
    assert b"nothing changes for anybody" in sluice(folder, "access", "--changes").stdout
    assert sluice(folder, "access", "--user", "mallory@example.com").returncode == 1
    assert sluice(folder, "access").returncode == 2


def test_a_pipeline_can_refuse_what_widens(shop_files: Write) -> None:
    folder = shop_files()
    assert sluice(folder, "build").returncode == 0
    words = ("access", "--changes", "--fail-on-widening", "--json")

    (folder / POLICY).write_text(policy(("rows: 1000", "rows: 500"))[POLICY], encoding="utf-8")
    narrower = sluice(folder, *words)
    assert (narrower.returncode, json.loads(narrower.stdout)["widens"]) == (0, False)

    (folder / POLICY).write_text(policy(("region: AMER", "region: EMEA"))[POLICY], encoding="utf-8")
    other = sluice(folder, *words)
    assert (other.returncode, json.loads(other.stdout)["widens"]) == (1, True)


def look(project: Project, email: str, **query: str) -> AppTest:
    """The page as the person sees it."""
    every = serving_pages(lambda view: [])
    open_explorer(Explorer(project, sorted(every, key=lambda one: one.path != "access")))
    script = Path(serving.ui.explorer.__file__).with_name("script.py")
    test = AppTest.from_file(str(script), default_timeout=30)
    for name, value in {"as": email, **query}.items():
        test.query_params[name] = value
    return test.run()


def texts(test: AppTest) -> str:
    assert not test.exception
    found = [element.value for kind in ("markdown", "warning", "info", "error") for element in test.get(kind)]
    return "\n".join([*map(str, found), *(str(element.proto.body) for element in test.get("html"))])


def test_the_page_shows_a_steward_anybody_by_link(shop: Project) -> None:
    said = texts(look(shop, "ana@example.com", who="emil@example.com", mart="customers"))

    assert "hash by tag pii.email" in said
    assert "salary" in said


def test_the_page_shows_a_steward_who_sees_a_column_and_what_changes(shop: Project) -> None:
    columns = texts(look(shop, "ana@example.com", show="columns", column="customers.salary"))
    assert "hide by name does not apply to steward" in columns
    assert "1 of 4 see its values" in columns

    assert "Nothing changes for anybody" in texts(look(shop, "ana@example.com", show="changes"))


def test_the_page_shows_others_their_own_access_whatever_the_link_says(shop: Project) -> None:
    said = texts(look(shop, "emil@example.com", show="columns", who="ana@example.com"))

    assert "What you may see, and why" in said
    assert "steward" not in said
    assert "salary" not in said
