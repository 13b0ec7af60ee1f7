"""`python -m serving`: the command line of content, marts and questions."""

import serving.cli_access
import serving.cli_audit
import serving.cli_import
import serving.cli_metrics
import serving.cli_suggest  # noqa: F401 - their commands belong to the app
from serving.cli import app

if __name__ == "__main__":
    app()
