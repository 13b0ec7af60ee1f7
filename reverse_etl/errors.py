"""Every failure of a sync that a person can act on.

SyncError                problem + hint, like every SluiceError
├── MappingInvalid       a file under models/syncs/ does not fit its source
├── UnknownSync          no sync, or no run, of that name
├── SyncBusy             another process runs this sync right now
├── SyncPaused           somebody paused it
├── LeaseLost            another process took this run over
├── UndoRefused          this run cannot be undone, and why
├── StateUnwritable      the disk is full, or the control store is locked
└── WorkerRunning        this var directory has its worker already
"""

from serving.errors import SluiceError


class SyncError(SluiceError):
    """A sync cannot go on; nothing of what was delivered so far is lost."""


class MappingInvalid(SyncError):
    """A key or field of the sync does not fit its source; the text begins with file:line."""


class UnknownSync(SyncError):
    """There is no sync, or no run, of that name."""


class SyncBusy(SyncError):
    """Another process runs this sync right now."""


class SyncPaused(SyncError):
    """Somebody paused the sync."""


class LeaseLost(SyncError):
    """Another process took the run over; this one must not send any more."""


class StateUnwritable(SyncError):
    """The disk or the control store takes no writes; what was written holds, and the next run goes on."""


class UndoRefused(SyncError):
    """The run cannot be undone; the text says why."""


class WorkerRunning(SyncError):
    """One worker process per var directory, and there is one."""
