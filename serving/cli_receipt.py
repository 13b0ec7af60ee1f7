"""How an answer came to be, as the terminal says it: below an answer, and instead of one."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from serving.answer import Answer
from serving.export import FORMATS, marked, show_table, write_table
from serving.plan import Plan
from serving.receipts import answered_by, miss_lines, route_facts, route_words

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def print_answer(answer: Answer, form: str, out: Path | None, as_json: bool) -> None:
    """The answer to stdout or a file in the form asked for, and a note about it on stderr."""
    table, estimates = marked(answer.table, answer.receipt.approximate), answer.receipt.approximate
    chosen = "json" if as_json and form == "table" else form
    if out is not None:
        write_table(table, chosen, out)
    elif chosen == "table":
        print(show_table(table, approximate=estimates))
    elif chosen in FORMATS:
        write_table(table, chosen, sys.stdout.buffer)
    note(answer)


def note(answer: Answer) -> None:
    """What the person should know about an answer, on stderr."""
    receipt = answer.receipt
    errors.print(answered_by(receipt), markup=False)
    if receipt.truncated:
        errors.print(f"cut at {receipt.rows:,} rows; the limits of the policy allow no more")
    if receipt.masked:
        errors.print("masked: " + ", ".join(f"{name} ({mask})" for name, mask in receipt.masked.items()))


def plan_facts(plan: Plan, lane: str) -> dict[str, Any]:
    """What a question means for somebody, as plain values for JSON."""
    return {
        "lane": lane,
        "sql": plan.sql,
        "views": {view.mart: view.shown for view in plan.views},
        "policies": [text for view in plan.views for text in view.policies],
        "masked": {f"{view.mart}.{name}": mask for view in plan.views for name, mask in view.masked.items()},
        "unsaid": [text for view in plan.views for text in view.unsaid],
        "routes": route_facts(plan.routes),
        "approximate": list(plan.approximate),
    }


def plan_lines(plan: Plan, lane: str, user: str) -> Iterator[str]:
    """The same as a person reads it: what each name means, the SQL that runs, who answers each block."""
    for view in plan.views:
        yield f"-- for {user}, {view.mart} means\n{view.shown}\n"
        yield from (f"--   {policy}" for policy in (*view.policies, *view.unsaid))
    for route in plan.routes:
        yield f"-- answered by {route_words(route)}"
        yield from (f"--   passed over {line}" for line in miss_lines(route))
    if plan.approximate:
        yield f"-- estimates: ≈ {', '.join(plan.approximate)}"
    yield f"-- runs in the {lane} lane\n{plan.sql}"
