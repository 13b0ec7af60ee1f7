"""What a process holds: processes, files, threads, memory."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from serving import Project
from tests.load.chaos import descendants


@dataclass(frozen=True)
class Holdings:
    """Counts at one moment; `rss` in megabytes."""

    processes: int
    files: int
    threads: int
    rss: float


def holdings() -> Holdings:
    """What this process holds now."""
    return Holdings(
        len(descendants(os.getpid())),
        len(list(Path("/proc/self/fd").iterdir())),
        threading.active_count(),
        rss(),
    )


def rss(pid: int | str = "self") -> float:
    """Resident megabytes of a process; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def stray_files(project: Project) -> list[str]:
    """Files in the marts' folder that no kept version names."""
    kept = {file.path.name for version in project.versions() for file in version.marts.values()}
    return sorted(
        path.name
        for path in project.marts_folder.rglob("*")
        if path.is_file() and path.name not in kept and path.name != ".build.lock"
    )
