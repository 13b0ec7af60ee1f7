"""What all checks of a mart's meaning have in common: where a problem stands, which columns are known."""

from collections.abc import Collection

from serving.content.model import Mart
from serving.content.spec import KeyPath
from serving.content.validate import near
from serving.errors import Problem
from serving.semantic.dimension import GRAINS


def at(mart: Mart, path: KeyPath, message: str, hint: str = "") -> Problem:
    """A problem at a key of the mart's YAML."""
    return Problem(mart._where.file, mart._where.line(*path), message, hint)


def unknown_column(mart: Mart, path: KeyPath, name: str, *, of: Mart | None = None) -> Problem | None:
    """A problem where a mart (default: this one) describes columns, and not this one.

    A mart that describes none may have any; the build looks at what it made (type_check.py).
    """
    there = of or mart
    if name in there.dimensions and name not in there.columns:
        hint = "write out its expression, or make it a column in the mart's SQL"
        return at(mart, path, f"'{name}' is a computed dimension of '{there.name}', no column", hint)
    if not there.columns or name in there.columns:
        return None
    return at(mart, path, f"'{there.name}' describes no column '{name}'", near(name, there.columns))


def unknown_dimension(mart: Mart, path: KeyPath, key: str) -> Problem | None:
    """A problem where `key` is no dimension of the mart itself: `region`, `basket`, `ordered_at.month`."""
    name, _, grain = key.partition(".")
    if name in mart.joins and grain:
        hint = f"add the column to {mart.sql_file or 'its SQL'}"
        return at(mart, path, f"'{key}' is a dimension of another mart; this takes the mart's own", hint)
    if name == "time":
        return at(mart, path, "'time' stands for a column", f"write '{mart.time or 'ordered_at'}' itself")
    known: Collection[str] = mart.columns.keys() | mart.dimensions.keys()
    if mart.columns and name not in known:
        return at(mart, path, f"'{mart.name}' describes no '{name}'", near(name, known))
    if grain and grain not in GRAINS:
        return at(mart, path, f"'{grain}' is no time grain", near(grain, GRAINS))
    return None
