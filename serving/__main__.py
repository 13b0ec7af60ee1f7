"""`python -m serving`: the command line of content, marts and questions."""

import serving.cli_access
import serving.cli_audit  # noqa: F401 - its commands belong to the app
from serving.cli import app

if __name__ == "__main__":
    app()
