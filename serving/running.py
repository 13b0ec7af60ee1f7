"""A question that runs in the background, so that a page can show a cancel button."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

from serving.answer import Answer
from serving.engine.process import Cancel
from serving.errors import SluiceError
from serving.identity import User
from serving.project import Project


class Running:
    """One question under way; `done` tells when `result` returns at once."""

    def __init__(self, project: Project, sql: str, user: User, surface: str) -> None:
        self.sql, self.user = sql, user
        self._started = time.monotonic()
        self._cancel = Cancel()
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="question")
        self._future: Future[Answer] = executor.submit(
            project.ask, sql, user=user, surface=surface, cancel=self._cancel
        )
        executor.shutdown(wait=False)  # the thread ends with its one question

    @property
    def done(self) -> bool:
        """Whether the question has ended, one way or the other."""
        return self._future.done()

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self._started

    def wait(self, seconds: float) -> bool:
        """Give it a moment; whether it has ended."""
        wait_for([self._future], timeout=seconds)
        return self.done

    def cancel(self) -> None:
        """Ask it to end; it raises QueryStopped within two seconds or so."""
        self._cancel.set()

    def result(self) -> Answer | SluiceError:
        """The answer, or the failure the person should read; raises whatever is a bug."""
        try:
            return self._future.result()
        except SluiceError as failure:
            return failure
