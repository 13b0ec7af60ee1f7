"""What syncs keep in the control store. Rows and files a person can read at 3 a.m."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

from serving.store import Store, UtcTime

metadata = MetaData()

syncs = Table(
    "sync_state",
    metadata,
    Column("sync", String, primary_key=True),
    Column("paused_by", String),  # NULL: not paused
    Column("last_fire", UtcTime),  # the newest scheduled moment that was honoured
)

ledgers = Table(
    "sync_ledgers",
    metadata,
    Column("sync", String, primary_key=True),
    Column(
        "target", String, primary_key=True
    ),  # destination/object(key fields): another target, another ledger
    Column("file", String, nullable=False),  # under var/syncs/, immutable
    Column("run", Integer, nullable=False),
)

runs = Table(
    "sync_runs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sync", String, nullable=False, index=True),
    Column("target", String, nullable=False),
    Column("state", String, nullable=False),
    Column("trigger", String, nullable=False),
    Column("requested_by", String, nullable=False),
    Column("approval", Text),  # why a person let the guard pass
    Column("full_resend", Boolean, nullable=False),
    Column("adopt", Boolean),
    Column("retry_of", Integer),
    Column("undo_of", Integer),
    Column("plan", Integer),  # the saved plan it delivers
    Column("replanned", Text),  # why that was not the plan a person saw
    Column("version", Integer),  # of the marts
    Column("counts", Text),  # JSON of counts.Counts
    Column("profile", Text),  # JSON of counts.Profile
    Column("trips", Text),  # JSON list: what the guard said
    Column("accepted", Integer),
    Column("rejected", Integer),
    Column("deferred", Integer),
    Column("unknown", Integer),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("error", Text),
    Column("ledger_before", String),
    Column("ledger_after", String),
    sqlite_autoincrement=True,
)

Index("sync_runs_state", runs.c.state, runs.c.ended_at)

plans = Table(
    "sync_plans",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sync", String, nullable=False, index=True),
    Column("target", String, nullable=False),
    Column("state", String, nullable=False),  # open | taken | stale
    Column("basis", Text, nullable=False),  # JSON of plans.Basis: what must still hold when it is delivered
    Column("folder", String, nullable=False),  # under var/syncs/
    Column("counts", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("trips", Text, nullable=False),
    Column("price", Text, nullable=False),  # JSON of price.Price
    Column("made_by", String, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)

approvals = Table(
    "sync_approvals",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sync", String, nullable=False, index=True),
    Column("run", Integer, nullable=False),  # the one run it was good for
    Column("approved_by", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("trips", Text, nullable=False),  # JSON list: what was let pass
    Column("at", UtcTime, nullable=False),
    sqlite_autoincrement=True,
)

alerts = Table(
    "sync_alerts",
    metadata,
    Column("sync", String, primary_key=True),
    Column("topic", String, primary_key=True),  # state | rejects
    Column("state", String, nullable=False),  # what was told last
    Column("run", Integer, nullable=False),
    Column("told_at", UtcTime),  # NULL: not delivered yet
    Column("problem", Text),  # why it could not be delivered
)

batches = Table(
    "sync_batches",
    metadata,
    Column("run", Integer, primary_key=True),
    Column("no", Integer, primary_key=True),
    Column("first_seq", Integer, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("state", String, nullable=False),  # intent | answered | lost (sent again) | withdrawn (never left)
    Column("verdict", String),  # of every row of the range …
    Column("reason", Text),
    Column("exceptions", Text),  # … but these: JSON list of [seq, verdict, reason]
    Column("calls", Integer),
    Column("sent_at", UtcTime, nullable=False),
    Column("answered_at", UtcTime),
)
Index("sync_batches_order", batches.c.run, batches.c.first_seq)

leases = Table(
    "sync_leases",
    metadata,
    Column("sync", String, primary_key=True),
    Column("holder", String, nullable=False),  # JSON of lease.Holder
    Column("heartbeat", UtcTime, nullable=False),
)

requests = Table(
    "sync_requests",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sync", String, nullable=False),
    Column("requested_by", String, nullable=False),
    Column("approval", Text),
    Column("retry_of", Integer),
    Column("undo_of", Integer),
    Column("full_resend", Boolean),
    Column("adopt", Boolean),
    Column("plan", Integer),  # the saved plan that the person looked at
    Column("requested_at", UtcTime, nullable=False),
    Column("state", String, nullable=False),  # waiting | taken | refused
    Column("run", Integer),
    Column("message", Text),
)

worker = Table(
    "sync_worker",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("holder", String, nullable=False),
    Column("heartbeat", UtcTime, nullable=False),
    Column("uptime", Float, nullable=False),
    Column("problem", Text),  # content that could not be read, or the last incident
)


def prepare(store: Store) -> None:
    """Create what does not exist yet."""
    store.create(metadata)
