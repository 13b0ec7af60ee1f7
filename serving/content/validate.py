"""Plain values -> typed spec, or problems with the line of each wrong key."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from serving.content.model import ProjectSpec
from serving.content.spec import KeyPath, Resource, Where
from serving.errors import Problem

S = TypeVar("S", bound=BaseModel)


def near(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the known words where there are few, or nothing."""
    names = sorted(str(name) for name in known)
    found = get_close_matches(str(word), names, n=1)
    if found:
        return f"did you mean '{found[0]}'?"
    return f"known here: {', '.join(names)}" if 0 < len(names) <= 16 else ""


def typed(kind: type[S], data: Mapping[str, Any], where: Where) -> tuple[S | None, list[Problem]]:
    """`data` as `kind`; every error of the file at once."""
    try:
        return kind.model_validate(data), []
    except ValidationError as error:
        found = {_problem(kind, detail, where) for detail in error.errors(include_url=False)}
        return None, sorted(found)


def _problem(kind: type[BaseModel], detail: ErrorDetails, where: Where) -> Problem:
    path = _in_file(detail["loc"], where)
    line = where.line(*path)
    key = ".".join(str(part) for part in path)
    words = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    match detail["type"]:
        case "extra_forbidden":
            return Problem(
                where.file, line, f"unknown key '{path[-1]}'", near(str(path[-1]), _keys(kind, path[:-1]))
            )
        case "missing":
            missing = detail["loc"][-1]
            inside = f" in '{key}'" if key and key != str(missing) else ""
            return Problem(where.file, line, f"'{missing}' is required{inside}", f"add '{missing}: …'")
        case "literal_error":
            allowed = detail["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
            return Problem(
                where.file, line, f"'{key}' is {detail['input']!r}", near(str(detail["input"]), allowed)
            )
        case "value_error":
            return Problem(where.file, line, f"'{key}' {words}" if key else words)
        case _:
            return Problem(where.file, line, f"'{key}': {words[:1].lower()}{words[1:]}")


def _in_file(loc: tuple[int | str, ...], where: Where) -> KeyPath:
    """The part of pydantic's location that stands in the file (it adds union tags)."""
    path: KeyPath = ()
    for part in loc:
        if (*path, part) in where.lines:
            path = (*path, part)
    return path


def _keys(kind: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that the mapping at `path` may have."""
    models: list[type[BaseModel]] = [kind]
    for part in path:
        if isinstance(part, str):
            inner = [_models(m.model_fields[part].annotation) for m in models if part in m.model_fields]
            models = [model for found in inner for model in found] or models
    return [
        info.alias or name
        for model in models
        for name, info in model.model_fields.items()
        if not (name == "name" and issubclass(model, Resource) and model is not ProjectSpec)
    ]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]
