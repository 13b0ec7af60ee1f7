"""A draft as files: all of them, or none."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from serving.errors import SluiceError
from serving.importing.findings import report_text
from serving.importing.sketch import Draft
from serving.importing.yaml_text import mapping_yaml, spec_yaml

REPORT = "import-report.md"
_POLICY = """\
# Nobody sees anything yet: what the other tool granted was not carried over, and no role is assigned.
# Assign this one to whoever looks after the marts, then add roles for everybody else:
#   assign:
#     - {email: you@example.com, roles: [steward]}
roles:
  steward: {marts: "*", description: Sees every mart}
"""


def draft_files(draft: Draft) -> dict[str, str]:
    """Path in the content folder -> text."""
    files = {
        "project.yml": mapping_yaml(draft.project.model_dump(mode="json", exclude_defaults=True)),
        "policies/access.yml": _POLICY,
        REPORT: report_text(draft.origin, counted(draft), draft.findings),
    }
    for source in draft.sources:
        files[f"sources/{source.name}.yml"] = spec_yaml(source)
    for each in draft.marts:
        files[f"marts/{each.mart.name}.yml"] = spec_yaml(each.mart)
        files[f"marts/{each.mart.name}.sql"] = each.sql
    return files


def counted(draft: Draft) -> str:
    """`3 marts, 20 columns, …`."""
    return ", ".join(f"{count} {kind}" for kind, count in draft.counts.items())


def write_draft(draft: Draft, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the draft's files; returns their paths.

    Raises SluiceError, and writes nothing, where one of them is there already and `force` is not given.
    With `force` these are written over; no other file is touched.
    """
    files = draft_files(draft)
    there = sorted(name for name in files if (folder / name).exists())
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        words = f"{folder / there[0]}{more} would be written over"
        raise SluiceError(words, hint="give another folder with --out, or --force to write over them")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=folder.parent))
    try:
        _write(scratch, files)
        if folder.exists():
            for name in files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (scratch / name).replace(folder / name)
        else:
            scratch.chmod(0o755)
            scratch.rename(folder)
    except OSError as error:
        raise SluiceError(f"{folder} cannot be written: {error}", hint="check the folder's rights") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return [folder / name for name in files]


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
