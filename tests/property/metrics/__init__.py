"""Metric requests over random worlds, compared with a reference that knows nothing of the compiler."""
