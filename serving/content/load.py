"""The folder models/ -> Content, or all problems of all files at once.

Folder implies kind, file name implies name. A bad file never hides the problems of the
others: every file is read, and rules across files run over what could be read.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from serving.content.check import cross_check
from serving.content.model import Content, Dashboard, Mart, ProjectSpec, Source
from serving.content.policy import Attribute, Policy, PolicyFile, Role
from serving.content.spec import KeyPath, Resource, Where
from serving.content.sync import Destination, Sync
from serving.content.validate import near, typed
from serving.content.yaml_file import read_yaml
from serving.errors import ContentInvalid, Problem

R = TypeVar("R", bound=Resource)

FOLDERS: Mapping[str, type[Resource]] = {
    "sources": Source,
    "marts": Mart,
    "policies": PolicyFile,
    "dashboards": Dashboard,
    "destinations": Destination,
    "syncs": Sync,
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def read_content(
    root: Path, environ: Mapping[str, str] = os.environ, built_in: Mapping[str, Mart] = MappingProxyType({})
) -> tuple[Content, list[Problem]]:
    """What could be read of `root`, and every problem found; raises ContentInvalid without a folder.

    `built_in` marts come with the program: policies may grant them, no file may take their names.
    """
    if not root.is_dir():
        raise ContentInvalid([Problem(str(root), 1, "there is no such folder", "name it with --project DIR")])
    reader = _Reader(root, environ, built_in)
    return reader.content(), reader.problems


class _Reader:
    """Collects problems while it reads, instead of stopping at the first."""

    def __init__(self, root: Path, environ: Mapping[str, str], built_in: Mapping[str, Mart]) -> None:
        self.root, self.environ, self.built_in = root, environ, built_in
        self.problems: list[Problem] = []

    def content(self) -> Content:
        project = self._file(self.root / "project.yml", ProjectSpec, name_from_file=False)
        self._strangers()
        marts = self._marts()
        policies = self._folder("policies", PolicyFile)
        content = Content(
            root=self.root,
            project=project or ProjectSpec(name=self.root.name),
            sources=self._folder("sources", Source),
            marts={**marts, **self.built_in},
            policy=self._policy(policies),
            dashboards=self._folder("dashboards", Dashboard),
            destinations=self._folder("destinations", Destination),
            syncs=self._folder("syncs", Sync),
        )
        self.problems += cross_check(content, policies)
        return content

    def _shown(self, path: Path) -> str:
        return path.as_posix() if not path.is_absolute() else os.path.relpath(path)

    def _strangers(self) -> None:
        for path in sorted(self.root.iterdir()):
            if path.is_dir() and path.name not in FOLDERS and not path.name.startswith((".", "_")):
                problem = Problem(
                    self._shown(path), 1, f"unknown folder '{path.name}'", near(path.name, FOLDERS)
                )
                self.problems.append(problem)
            if path.is_file() and path.suffix in (".yml", ".yaml") and path.name != "project.yml":
                hint = f"files belong into one of: {', '.join(FOLDERS)}"
                self.problems.append(Problem(self._shown(path), 1, "only project.yml stands here", hint))

    def _folder(self, folder: str, kind: type[R]) -> dict[str, R]:
        found: dict[str, R] = {}
        for path in sorted((self.root / folder).glob("*")):
            if path.name.startswith(".") or (path.suffix == ".sql" and folder == "marts"):
                continue
            if path.suffix != ".yml":
                hint = "marts are NAME.sql + NAME.yml" if folder == "marts" else "resources are NAME.yml"
                self.problems.append(Problem(self._shown(path), 1, "unexpected file", hint))
                continue
            if (resource := self._file(path, kind)) is not None:
                found[resource.name] = resource
        return found

    def _file(self, path: Path, kind: type[R], *, name_from_file: bool = True) -> R | None:
        shown = self._shown(path)
        data, where, problems = read_yaml(path, shown)
        self.problems += problems
        if data is None:
            return None
        if name_from_file:
            if not _NAME.fullmatch(path.stem):
                hint = "lower case letters, digits and _, starting with a letter"
                self.problems.append(Problem(shown, 1, f"'{path.stem}' cannot be a name", hint))
                return None
            if "name" in data:
                self.problems.append(
                    Problem(shown, where.line("name"), "unknown key 'name'", "the file's name is it")
                )
                data.pop("name")
            data = {"name": path.stem, **data}
        if kind in (Source, Destination):
            data = self._substituted(data, where)
        if kind is Destination:
            data = _with_options(data)
        spec, problems = typed(kind, data, where)
        self.problems += problems
        if spec is not None:
            spec._where = where
        if name_from_file and path.stem in self.built_in:
            self.problems.append(Problem(shown, 1, f"the name '{path.stem}' is reserved", "rename the file"))
        return spec

    def _substituted(self, data: dict[str, Any], where: Where) -> dict[str, Any]:
        """`${NAME}` and `${NAME:-default}` from the environment, in every text value."""

        def replaced(value: Any, path: KeyPath) -> Any:
            if isinstance(value, dict):
                return {key: replaced(inner, (*path, key)) for key, inner in value.items()}
            if isinstance(value, list):
                return [replaced(inner, (*path, index)) for index, inner in enumerate(value)]
            if not isinstance(value, str):
                return value

            def variable(match: re.Match[str]) -> str:
                given = self.environ.get(match["name"], match["default"])
                if given is None:
                    message = f"the environment variable {match['name']} is not set"
                    hint = f"set it, or write ${{{match['name']}:-default}}"
                    self.problems.append(Problem(where.file, where.line(*path), message, hint))
                    return ""
                return given

            return _VARIABLE.sub(variable, value)

        return {key: replaced(value, (key,)) for key, value in data.items()}

    def _marts(self) -> dict[str, Mart]:
        marts = self._folder("marts", Mart)
        for path in sorted((self.root / "marts").glob("*.sql")):
            if not path.with_suffix(".yml").exists():
                hint = "a description and an owner are the least it should say"
                self.problems.append(
                    Problem(self._shown(path), 1, f"{path.stem}.yml is missing beside it", hint)
                )
        for mart in marts.values():
            sql = self.root / "marts" / f"{mart.name}.sql"
            mart._sql_file = self._shown(sql)
            try:
                mart._sql = sql.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                message = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
                hint = f"{mart.name}.yml describes a mart whose SELECT stands in this file"
                self.problems.append(Problem(mart._sql_file, 1, message, hint))
        return marts

    def _policy(self, files: Mapping[str, PolicyFile]) -> Policy:
        roles: dict[str, Role] = {}
        attributes: dict[str, Attribute] = {}
        for file in files.values():
            self._twice(file, "attributes", file.attributes, attributes)
            self._twice(file, "roles", file.roles, roles)
            attributes |= file.attributes
            roles |= file.roles
            for index, row in enumerate(file.rows):
                row._at = file.at("rows", index)
            for index, column in enumerate(file.columns):
                column._at = file.at("columns", index)
            for index, entry in enumerate(file.assign):
                entry._at = file.at("assign", index)
            for index, aggregate in enumerate(file.aggregates):
                aggregate._at = file.at("aggregates", index)
            for index, egress in enumerate(file.egress):
                egress._at = file.at("egress", index)
            for index, limit in enumerate(file.limits):
                limit._at = file.at("limits", index)
            for name, role in file.roles.items():
                role._at = file.at("roles", name)
        return Policy(
            attributes=attributes,
            roles=roles,
            assign=tuple(entry for file in files.values() for entry in file.assign),
            rows=tuple(entry for file in files.values() for entry in file.rows),
            columns=tuple(entry for file in files.values() for entry in file.columns),
            aggregates=tuple(entry for file in files.values() for entry in file.aggregates),
            egress=tuple(entry for file in files.values() for entry in file.egress),
            limits=tuple(entry for file in files.values() for entry in file.limits),
        )

    def _twice(self, file: PolicyFile, kind: str, names: Iterable[str], known: Collection[str]) -> None:
        for name in names:
            if name in known:
                message = f"the {kind.removesuffix('s')} '{name}' is defined twice"
                line = file._where.line(kind, name)
                self.problems.append(Problem(file._where.file, line, message, "keep one of them"))


def _with_options(data: dict[str, Any]) -> dict[str, Any]:
    """A destination's keys that are not Sluice's own are its connector's options."""
    own = {key: value for key, value in data.items() if key in Destination.model_fields and key != "options"}
    return {**own, "options": {key: value for key, value in data.items() if key not in own}}
