"""Entitlements, read from the marts as they are: rules are never asked through views."""

from dataclasses import dataclass

from serving.engine.failure import EngineFailure
from serving.engine.pool import Pool
from serving.engine.process import Run, Snapshot
from serving.errors import QueryStopped
from serving.governance.entitlements import LOOKUP_LIMIT

PARSE_SECONDS = 5.0
QUEUE_SECONDS = 30.0


@dataclass(frozen=True)
class EntitlementLookup:
    """Reads an entitlement mart before the question."""

    pool: Pool
    snapshot: Snapshot

    def __call__(self, mart: str, column: str, predicate: str) -> tuple[object, ...]:
        """The distinct values of the column where the predicate holds, one more than rules may list."""
        table = f'"{self.snapshot.aliases[mart]}"."{mart}"'
        kept = f'({predicate}) AND "{column}" IS NOT NULL'
        sql = f'SELECT DISTINCT "{column}" FROM {table} WHERE {kept} ORDER BY 1'
        run = Run(sql, (), LOOKUP_LIMIT + 1, None)
        try:
            found = self.pool.look_up(self.snapshot, run, PARSE_SECONDS, QUEUE_SECONDS)
        except EngineFailure as failure:
            hint = "try again in a moment"
            raise QueryStopped(f"the entitlements in '{mart}' could not be read", hint=hint) from failure
        return tuple(found.column(0).to_pylist())
