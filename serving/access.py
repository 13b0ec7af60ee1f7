"""Who sees what in a project, and what changes for whom; for the command line and the pages."""

from serving.identity import User, find_user
from serving.planning import built_columns
from serving.project import Project
from serving.rights.changes import Changes, changes_since
from serving.rights.grants import everybody
from serving.rights.published import last_published
from serving.rights.report import Sight, UserAccess, column_sights, own_part, user_access
from serving.rights.rules import Built, column_names
from serving.rights.table import access_table


def subject(project: Project, email: str) -> User:
    """A person, `group:NAME`, `*@DOMAIN` or `sync:NAME`; raises UnknownUser."""
    found = next((user for user in everybody(project.content) if user.email == email.strip()), None)
    return found or find_user(project.content.policy, email)


def is_steward(project: Project, user: User) -> bool:
    """Whether the user reads every mart, and so may know who else reads what."""
    return any("*" in project.content.policy.roles[role].marts for role in user.roles)


def explain_user(project: Project, user: User, mart: str | None = None) -> UserAccess:
    """What the user sees and why, of one mart or of all; raises SluiceError for a mart that is not there."""
    return user_access(project.content, _built(project), project.view, user, mart)


def explain_own(project: Project, user: User) -> UserAccess:
    """The same as the user may read it: without the names of what they may not see."""
    return own_part(explain_user(project, user))


def explain_column(project: Project, column: str) -> tuple[Sight, ...]:
    """What everybody sees of `mart.column`; raises SluiceError where there is none."""
    people = everybody(project.content)
    return column_sights(project.content, _built(project), project.view, people, column)


def columns_there(project: Project) -> list[str]:
    """Every `mart.column` that somebody could be shown, in the order of the files."""
    content, built = project.content, _built(project)
    shown = [name for name, mart in content.marts.items() if mart.visible]
    return [f"{mart}.{column}" for mart in shown for column in column_names(content, mart, built)]


def changes(project: Project) -> Changes:
    """What the files change for whom since the last publish; raises NotPublished before the first."""
    published = last_published(project.store)
    now = access_table(project.content, _built(project), everybody(project.content))
    return changes_since(published, now)


def _built(project: Project) -> Built:
    """The columns of the marts in the version that serves; nothing before the first build."""
    version = project.current_version()
    return {} if version is None else built_columns(version)
