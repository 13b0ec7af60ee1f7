"""python -m reverse_etl: plan, run, undo and look at syncs. Exit 0 done, 1 refused or failed, 2 usage."""

import sys

from sqlalchemy.exc import SQLAlchemyError

from connectors.protocol import DestinationStopped
from reverse_etl import cli_look, cli_run  # noqa: F401 (they register their commands)
from reverse_etl.cli import Refused, app, complain
from serving.errors import SluiceError


def main() -> int:
    """The command line; the exit code is for the shell."""
    try:
        app(standalone_mode=True)
    except Refused:
        return 1
    except (SluiceError, DestinationStopped) as error:
        complain(str(error))
        return 1
    except SQLAlchemyError as error:
        complain(f"the control store cannot be used: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
