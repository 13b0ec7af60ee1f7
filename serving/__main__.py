"""`python -m serving`: the command line of content, marts and questions."""

from serving.cli import app

if __name__ == "__main__":
    app()
