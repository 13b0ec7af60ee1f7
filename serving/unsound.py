"""What DuckDB 2.0 gets wrong, and how every connection of ours avoids it."""

UNSOUND = "common_subplan"
AVOID = f"SET GLOBAL disabled_optimizers = '{UNSOUND}'"
"""The pass that computes equal parts of a plan once can lose a filter above one of them: rows come back
that the WHERE excludes, depending on the tables' statistics. A lost filter could be a row rule."""
