"""What DuckDB 2.0 gets wrong, and what every connection of ours does about it."""

UNSOUND = "common_subplan"
AVOID = f"SET GLOBAL disabled_optimizers = '{UNSOUND}'"
"""Where equal parts of a plan are computed once, a filter above one of them can be lost: wrong statistics
of an empty join side make it look as if it always held (docs/decisions/0015)."""
