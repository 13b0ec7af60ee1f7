"""Sluice's serving side: marts, governance and the one door to data."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.answer import Answer, Limits
    from serving.project import Project, open_project

__all__ = ["Answer", "Limits", "Project", "open_project"]
_HOME = {"Answer": "serving.answer", "Limits": "serving.answer"}


def __getattr__(name: str) -> object:
    """The package's own names, imported when somebody wants them: a worker process never does."""
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module(_HOME.get(name, "serving.project")), name)
