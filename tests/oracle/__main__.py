"""python -m tests.oracle --project P --users ann@x,bob@x|all --corpus FILE [--generate N]"""

import argparse
import json
import sys
from pathlib import Path

from serving import Project, open_project
from tests.oracle.corpus import read_corpus
from tests.oracle.judge import Tally
from tests.oracle.run import Job, run_all


def main() -> int:
    """Run the oracle; 0 where nobody could tell the two worlds apart, 1 otherwise."""
    options = _options()
    project = open_project(options.project, var=options.var)
    if project.current_version() is None:
        project.build()
    corpus = tuple(read_corpus(options.corpus)) if options.corpus else ()
    users = _users(project, options.users)
    project.close()
    jobs = [
        Job(options.project, options.var, email, corpus, options.generate, options.seed + number)
        for number, email in enumerate(users)
    ]
    total = Tally()
    for job, tally in run_all(jobs, options.processes):
        total.merge(tally)
        if not options.json:
            print(f"{job.email}: {tally}", flush=True)
    if options.json:
        print(json.dumps(total.facts(), indent=2))
    return 0 if total.clean else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--project", type=Path, required=True, help="the content folder")
    parser.add_argument(
        "--var", type=Path, default=Path("var"), help="its state; built there if it is not yet"
    )
    parser.add_argument("--users", default="all", help="e-mails with commas between, or all")
    parser.add_argument("--corpus", type=Path, help=".sql (a `;` ends a line) or .jsonl with {'sql': …}")
    parser.add_argument(
        "--generate", type=int, default=0, metavar="N", help="and N generated questions a user"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the generated questions")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _users(project: Project, wanted: str) -> list[str]:
    return [user.email for user in project.people()] if wanted == "all" else wanted.split(",")


if __name__ == "__main__":
    sys.exit(main())
