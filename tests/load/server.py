"""`python -m tests.load.server MODELS VAR`: the REST routes over a project, in a process of its own.

Says its port on the first line and ends when its standard input does.
"""

import sys

from starlette.applications import Starlette

from serving import api, open_project
from tests.contract.served import serve


def main() -> None:
    """Serve until nobody holds the other end of standard input."""
    project = open_project(sys.argv[1], var=sys.argv[2])
    with serve(Starlette(routes=api.routes(project))) as address:
        print(address, flush=True)
        sys.stdin.read()
    project.close()


if __name__ == "__main__":
    main()
