"""The project as a sync sees it, and its source rows, asked through the one door."""

from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from reverse_etl.errors import SyncError, UnknownSync
from serving.answer import Answer, Limits
from serving.content.model import Content
from serving.content.sync import Destination, Sync
from serving.identity import User, service_user
from serving.marts.graph import Graph
from serving.store import Store

SECONDS = 600.0


class Door(Protocol):
    """What a sync needs of a project; `serving.Project` is one."""

    @property
    def content(self) -> Content: ...
    @property
    def graph(self) -> Graph: ...
    @property
    def var(self) -> Path: ...
    @property
    def store(self) -> Store: ...
    def current_version(self) -> Any: ...
    def ask(self, sql: str, *, user: User | str, surface: str, limits: Limits | None) -> Answer: ...


def find_sync(content: Content, name: str) -> Sync:
    """The sync of that name; refused with the names there are."""
    if name not in content.syncs:
        known = ", ".join(sorted(content.syncs)) or "none"
        raise UnknownSync(f"there is no sync {name!r}", hint=f"models/syncs/ has: {known}")
    return content.syncs[name]


def find_destination(content: Content, sync: Sync) -> Destination:
    """The account the sync goes to."""
    if sync.destination not in content.destinations:
        raise UnknownSync(f"{sync.at('destination')}: there is no destination {sync.destination!r}")
    return content.destinations[sync.destination]


def target_of(sync: Sync) -> str:
    """What a ledger speaks of: another destination, object or key is another ledger."""
    return f"{sync.destination}/{sync.object}({','.join(sorted(sync.key))})"


def version_of(project: Door) -> int | None:
    """The number of the published version, None before the first build."""
    current = project.current_version()
    return None if current is None else int(current.number)


def ask_source(project: Door, sync: Sync) -> tuple[pa.Table, int]:
    """All rows of the source as its roles see them, and the version of the marts that answered."""
    sql = sync.sql if sync.sql is not None else f'select * from "{_quoted(sync.source)}"'
    user = service_user(project.content.policy, f"sync:{sync.name}", sync.run_as)
    answer = project.ask(sql, user=user, surface="sync", limits=Limits(rows=None, seconds=SECONDS))
    if answer.receipt.truncated:
        raise SyncError(
            f"{sync.at()}: the source was cut at {answer.table.num_rows} rows",
            hint=f"raise the row limit of {', '.join(sync.run_as)}: a mirror would remove what is missing",
        )
    return answer.table, answer.receipt.version


def _quoted(name: str | None) -> str:
    return (name or "").replace('"', '""')
