"""A full disk and a locked control store, told as what they are: the run fails, its state stays."""

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import duckdb
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from reverse_etl.errors import StateUnwritable
from serving.store import Store

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
_FULL_WORDS = ("no space left", "disk is full", "quota exceeded", "file too large")
_LOCKED_WORDS = ("database is locked", "database table is locked")


@contextmanager
def kept(doing: str) -> Iterator[None]:
    """Turns what the disk or the store refuses into `StateUnwritable`; other errors pass."""
    try:
        yield
    except OperationalError as error:
        raise _unwritable(doing, str(error.orig)) from error
    except OSError as error:
        if error.errno not in _FULL | _DENIED:
            raise
        raise _unwritable(doing, error.strerror or str(error)) from error
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        found = next((words for words in _FULL_WORDS if words in str(error).lower()), None)
        if found is None:
            raise
        raise _unwritable(doing, found) from error  # its own text is long, and in JSON


@contextmanager
def writing(store: Store) -> Iterator[Connection]:
    """A transaction of the control store; StateUnwritable when it cannot be written."""
    with kept("write to the control store"), store.write() as connection:
        yield connection


@contextmanager
def reading(store: Store) -> Iterator[Connection]:
    """One view of the control store; StateUnwritable when even that fails."""
    with kept("read the control store"), store.read() as connection:
        yield connection


def files(of: str) -> AbstractContextManager[None]:
    """For steps that write a run's files: `with files("the plan of run 7")`."""
    return kept(f"write {of}")


def _unwritable(doing: str, words: str) -> StateUnwritable:
    if _says(words, _LOCKED_WORDS):
        hint = "another process holds its lock: end that one; the next run goes on from here"
    elif _says(words, _FULL_WORDS):
        hint = "make room on the disk of the var directory; the next run goes on from here"
    else:
        hint = "see that the var directory can be written; the next run goes on from here"
    return StateUnwritable(f"cannot {doing}: {words}", hint=hint)


def _says(words: str, known: tuple[str, ...]) -> bool:
    return any(part in words.lower() for part in known)
