"""`python -m tests.load [--minutes 120] [--clients 32] [--seed N] [--json]`: ends with 1 if it is wrong."""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.load.run import run


def main() -> int:
    """Run and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--slack", type=float, default=3, help="seconds that a loaded machine may add")
    parser.add_argument("--json", action="store_true", help="only the line of figures")
    options = parser.parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory() as folder:
        figures = run(
            Path(folder),
            seconds=options.minutes * 60,
            clients=options.clients,
            seed=seed,
            slack=options.slack,
        )
    if not options.json:
        for words in figures.wrong:
            print("WRONG:", words)
    print(json.dumps({"benchmark": "load", **figures.numbers}))
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
