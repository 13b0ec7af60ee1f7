"""Names of other tools as Sluice's: lower case letters, digits and _, 63 of them at most, each once."""

import re
from collections.abc import Container

from serving.importing.findings import Finding

LONGEST = 63  # characters
_PLAIN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_STRANGE = re.compile(r"[^a-z0-9_]+")


def sluice_name(name: str) -> str:
    """The nearest name that a file, a measure, a dimension or a join may have."""
    if _PLAIN.fullmatch(name) and name != "time":
        return name
    found = _STRANGE.sub("_", name.lower()).strip("_")
    if not found or not found[0].isalpha() or found == "time":
        found = f"the_{found}".rstrip("_")
    return found[:LONGEST].rstrip("_")


def source_name(mart: str, taken: Container[str]) -> str:
    """The name of a mart's source: the two cannot have one name."""
    return free_name(f"{mart[: LONGEST - 6]}_table", taken)


def free_name(wanted: str, taken: Container[str]) -> str:
    """The name, or the first of name_2, name_3 … that is not taken."""
    found, number = wanted, 2
    while found in taken:
        tail = f"_{number}"
        found, number = wanted[: LONGEST - len(tail)] + tail, number + 1
    return found


def renamed(what: str, old: str, new: str) -> list[Finding]:
    """A finding where the two names of a thing differ."""
    return [Finding("renamed", what, f"is called {new} here")] if old != new else []
