"""Questions kept in files."""

import json
import re
from pathlib import Path

from tests.oracle.outcome import Asked


def read_corpus(path: Path) -> list[Asked]:
    """The questions of a file.

    .jsonl: an object with `sql`, and perhaps `parameters`, a line. .sql: `;` ends a line; whole lines of
    comment say something to the reader and are left out.
    """
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        return [Asked(line["sql"], line.get("parameters")) for line in lines]
    bare = re.sub(r"(?m)^--.*\n", "", text)
    return [Asked(part.strip()) for part in re.split(r";[ \t]*(?:\n|\Z)", bare) if part.strip()]
