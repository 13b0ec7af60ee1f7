"""What a sync asks of a destination that cannot do it is a problem before anything runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from serving.project import check_project

HOOK = "connector: webhook\nurl: https://x.test/{object}\n"
SYNC = "source: customers\nrun_as: steward\ndestination: crm\nobject: people\nkey: {id: region}\n"


@pytest.mark.parametrize(
    ("hook", "keys", "problem"),
    [
        ("", "mode: insert\n", "6: mode insert: crm/people cannot insert | it can clear, upsert"),
        ("", "mode: update\n", "6: mode update: crm/people cannot update | it can clear, upsert"),
        ("insert: {url: https://x.test/new}\n", "mode: insert\n", None),
        (
            "",
            "mode: mirror\non_removed: delete\n",
            "7: on_removed: crm/people cannot delete | it can clear, upsert, or keep",
        ),
        ("remove: {url: https://x.test/gone}\n", "mode: mirror\non_removed: delete\n", None),
        (
            "",
            "send: changed\n",
            "6: send: changed: crm/people replaces the whole record | leave 'send' out,"
            " or say 'partial: true' at the destination if it keeps fields that are left out",
        ),
        (
            "",
            "fields:\n  name: {column: region, nulls: skip}\n",
            "7: nulls: skip: crm/people replaces the whole record | use 'send' or 'clear',"
            " or say 'partial: true' at the destination if it keeps fields that are left out",
        ),
        ("partial: true\n", "send: changed\nfields:\n  name: {column: region, nulls: skip}\n", None),
    ],
)
def test_what_the_destination_cannot_do_is_a_problem_at_its_line(
    shop_files: Callable[..., Path], hook: str, keys: str, problem: str | None
) -> None:
    folder = shop_files({"destinations/crm.yml": HOOK + hook, "syncs/customers.yml": SYNC + keys})

    found = [
        f"{Path(p.file).name}:{p.line}: {p.message}" + f" | {p.hint}" * bool(p.hint)
        for p in check_project(folder)[2]
    ]

    assert found == ([] if problem is None else [f"customers.yml:{problem}"])
