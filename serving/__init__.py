"""Sluice's serving side: marts, governance and the one door to data."""

from serving.answer import Answer, Limits
from serving.project import Project, open_project

__all__ = ["Answer", "Limits", "Project", "open_project"]
