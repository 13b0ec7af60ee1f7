"""One YAML file -> plain values, plus the line of every key.

PyYAML's composer keeps the marks that its constructor throws away; walking the node
tree ourselves also lets us refuse duplicate keys, which YAML forbids and PyYAML ignores.
"""

from pathlib import Path
from typing import Any

import yaml

from serving.content.spec import KeyPath, Where
from serving.errors import Problem


def read_yaml(path: Path, shown: str) -> tuple[dict[str, Any] | None, Where, list[Problem]]:
    """The mapping in `path`; `shown` is how messages call the file.

    None instead of the mapping where the file cannot be read at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        return None, Where(shown), [Problem(shown, 1, f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError:
        return None, Where(shown), [Problem(shown, 1, "is not UTF-8 text", "save the file as UTF-8")]
    except yaml.MarkedYAMLError as error:
        return None, Where(shown), [_syntax(shown, error)]
    except yaml.YAMLError as error:
        return None, Where(shown), [Problem(shown, 1, f"is not YAML: {error}")]
    lines: dict[KeyPath, int] = {}
    problems: list[Problem] = []
    if node is None:
        return {}, Where(shown, lines), problems
    if not isinstance(node, yaml.MappingNode):
        problem = Problem(shown, node.start_mark.line + 1, "a mapping of keys is expected here", "key: value")
        return None, Where(shown), [problem]
    value = _plain(node, (), lines, problems, shown)
    return value, Where(shown, lines), problems


def _syntax(shown: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    words = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(
        shown, mark.line + 1 if mark else 1, f"is not valid YAML: {words}", "check indentation and quotes"
    )


_scalars = yaml.SafeLoader("")


def _plain(
    node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], problems: list[Problem], shown: str
) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, index), lines, problems, shown) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        try:
            value = _scalars.construct_object(node, deep=True)
            _scalars.constructed_objects.clear()  # else every node that was ever read stays in memory
            return value
        except (yaml.YAMLError, ValueError) as error:
            problems.append(
                Problem(shown, node.start_mark.line + 1, f"{node.value!r} cannot be read: {error}")
            )
            return None
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        # `on:` and `yes:` are booleans in YAML 1.1; as keys their author means the word
        plain_word = isinstance(key_node, yaml.ScalarNode) and key_node.tag == "tag:yaml.org,2002:bool"
        key = key_node.value if plain_word else _plain(key_node, (), {}, problems, shown)
        if key in found:
            problems.append(
                Problem(shown, line, f"the key '{key}' stands here a second time", "keep one of them")
            )
        lines[(*path, key)] = line
        found[key] = _plain(value_node, (*path, key), lines, problems, shown)
    return found
