"""Marts that answer in aggregates only, over groups of a minimum size.

A question that reads such a mart is rewritten on DuckDB's own syntax tree, which prints back
without loss: each row gets the size of its group, the keys of small groups become NULL, and
what is left of them is one remainder group, absent where it is too small itself. Everything
around the block, and its own HAVING, ORDER BY and LIMIT, sees that relation only.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving.content.policy import AggregateRule
from serving.errors import QueryRefused
from serving.governance.aggregate_block import GROUPS, Block, Guard, Sum, read_block
from serving.syntax import Deserialize, Node, Serialize, Syntax, plain_form, walk

_SLOT = "sluice_slot"  # stands in a template for an expression of the question


def aggregate_only(
    tree: Node,
    rules: Mapping[str, AggregateRule],
    columns: Mapping[str, Sequence[str]],
    serialize: Serialize,
    deserialize: Deserialize,
    measures: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The question as it may run: over groups of at least `min_group` in each mart of `rules`.

    `tree` is json_serialize_sql of the person's text, after all other checks; `rules` has the
    marts that are aggregate-only for this person, `columns` what they see of each, `measures`
    the expressions that each mart's measures add up. Raises QueryRefused with the nearest
    allowed shape.
    """
    engine = Syntax(serialize, deserialize)
    if tree.get("error"):
        raise QueryRefused(f"the query cannot be parsed: {tree.get('error_message', 'syntax error')}")
    try:
        statement = json.loads(json.dumps(tree))
        guards = {
            mart.casefold(): _guard(mart, rule, columns[mart], (measures or {}).get(mart, ()), engine)
            for mart, rule in rules.items()
        }
        blocks = list(_blocks(statement, guards))
        shapes = [read_block(node, guard) for node, guard in blocks]
        _keep_headers(statement, guards, engine)
        for (node, guard), block in zip(blocks, shapes, strict=True):
            _rewrite(node, block, guard, engine)
        return engine.text(statement)
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply", hint="split it with CTEs") from error


def _guard(
    mart: str, rule: AggregateRule, columns: Sequence[str], measures: Sequence[str], engine: Syntax
) -> Guard:
    if rule.of is not None and rule.of not in columns:
        raise QueryRefused(
            f"'{mart}' answers in aggregates only, but what its groups are counted by is hidden from you",
            hint="ask the mart's owner",
        )
    added = [text for text in measures if not text.isidentifier()]  # a plain column is allowed anyway
    forms = frozenset(map(plain_form, engine.expressions([f"({text})" for text in added])))
    return Guard(mart, rule, tuple(columns), forms)


def _blocks(statement: Node, guards: Mapping[str, Guard]) -> Iterator[tuple[dict[str, Any], Guard]]:
    """Every SELECT that reads a guarded mart; refuses what reads one in any other way, or twice."""
    seen: set[str] = set()
    sources: set[int] = set()  # the tables that are the FROM of such a SELECT
    for node in walk(statement):
        _check_names(node, guards)
        source = node.get("from_table")
        if isinstance(source, dict) and (guard := _guard_of(source, guards)) is not None:
            if guard.mart in seen:
                guard.refuse(
                    "a query may read it once, as two groupings tell a small group by difference",
                    "aggregate it in one CTE, and read that as often as you like",
                )
            seen.add(guard.mart)
            sources.add(id(source))
            yield node, guard
        elif id(node) not in sources and (guard := _guard_of(node, guards)) is not None:
            guard.refuse(
                "it can be joined with nothing, and stand in FROM alone",
                "aggregate it first, in a subquery or CTE, and join with that",
            )


def _guard_of(node: Node, guards: Mapping[str, Guard]) -> Guard | None:
    return guards.get(str(node.get("table_name", "")).casefold())


def _check_names(node: Node, guards: Mapping[str, Guard]) -> None:
    for entry in node["cte_map"]["map"] if "cte_map" in node else ():
        if (guard := guards.get(str(entry["key"]).casefold())) is not None:
            guard.refuse("no CTE may have its name", "rename the CTE")
    if node.get("type") == "SHOW_REF" and node["query"] is None:
        raise QueryRefused("SHOW cannot be part of a query over aggregates", hint="ask for it alone")


def _keep_headers(statement: Node, guards: Mapping[str, Guard], engine: Syntax) -> None:
    """Name the columns whose name is their own text, where that text is about to change."""
    for node in walk(statement):
        for item in node.get("select_list", ()):
            if not item["alias"] and any(_guard_of(inner, guards) for inner in walk(item)):
                item["alias"] = engine.header(item)


def _rewrite(node: dict[str, Any], block: Block, guard: Guard, engine: Syntax) -> None:
    """Put the suppressed groups in the place of the block."""
    names = [guard.name(item) or engine.header(item) for item in node["select_list"]]
    slots: dict[str, Node] = {"": block.source}
    slots |= {f"k{i}": key for i, key in enumerate(block.keys)}
    slots |= {f"i{i}": item for i, item in enumerate(block.items)}
    slots |= {f"x{i}": added.argument for i, added in enumerate(block.sums) if added.argument is not None}
    slots |= {f"c{i}": added.known for i, added in enumerate(block.sums) if added.known is not None}
    if block.where is not None:
        slots["where"] = block.where
    if block.having is not None:
        slots["having"] = block.having
    template = engine.tree(_template(block, guard, names))
    outer = _filled(template["statements"][0]["node"], slots)
    outer["cte_map"], outer["modifiers"] = node["cte_map"], list(block.modifiers)
    node.clear()
    node.update(outer)


def _template(block: Block, guard: Guard, names: Sequence[str]) -> str:
    """The SQL of a rewritten block, with a slot for each expression of the question."""
    shown = ", ".join(f"{_SLOT}.i{i} AS {_quoted(name)}" for i, name in enumerate(names))
    kept = f" WHERE {_SLOT}.having" if block.having is not None else ""
    return f"SELECT {shown} FROM ({_groups(block, guard)}) AS {GROUPS}{kept}"


def _groups(block: Block, guard: Guard) -> str:
    """The groups that may be told: keys k0, k1, …, and aggregates a0, a1, …

    Who is behind a group is found by grouping twice: several times as fast as count(DISTINCT …),
    let alone over windows. The joins keep NULL a value of its own.
    """
    keys, sums = [f"k{i}" for i in range(len(block.keys))], range(len(block.sums))
    enough = f">= {guard.rule.min_group}"
    by_person = guard.rule.of is not None
    once = " GROUP BY ALL" if by_person else ""  # rows count each for itself
    marks = [f"bool_or(c{i}) AS c{i}" if by_person else f"c{i}" for i in sums]
    counts = [f"count(person) FILTER (WHERE c{i}) AS c{i}" for i in sums]
    added = [f"{_sum(block.sums[i], i)} AS a{i}" for i in sums]
    merged: list[str] = []
    big, where, people = "", "", "people"
    steps = {
        "rows": _rows(block, guard),
        "people": f"SELECT {_list(keys, 'person', marks)} FROM sluice_rows{once}",
    }
    if block.grouped:
        steps["sizes"] = (
            f"SELECT {_list(keys, f'count(person) {enough} AS big')} FROM sluice_people GROUP BY ALL"
        )
        big = f" AS r JOIN sluice_sizes AS s ON {_same('r', 's', keys)}"
        merged = ["big", *(f"CASE WHEN big THEN r.{key} END AS {key}" for key in keys)]
        steps["merged"] = f"SELECT {_list(merged, 'person', marks)} FROM sluice_people{big}{once}"
        people, keys = "merged", ["big", *keys]
        where = f" WHERE n.size {enough}{' AND n.big' if block.values_only else ''}"
    steps["sums"] = f"SELECT {_list(merged, added)} FROM sluice_rows{big} GROUP BY ALL"
    steps["counts"] = (
        f"SELECT {_list(keys, 'count(person) AS size', counts)} FROM sluice_{people} GROUP BY ALL"
    )
    told = [f"CASE WHEN n.c{i} {enough} THEN a{i} END AS a{i}" for i in sums]
    found = f"sluice_sums AS g JOIN sluice_counts AS n ON {_same('g', 'n', keys)}{where}"
    ctes = ", ".join(f"sluice_{name} AS ({step})" for name, step in steps.items())
    return f"WITH {ctes} SELECT {_list([f'g.{key}' for key in keys], told)} FROM {found}"


def _rows(block: Block, guard: Guard) -> str:
    """The rows of the block: keys, what is added up and whether it is known, and whose row it is."""
    # TRY, as an error would tell of a single row
    taken = [f"TRY({_SLOT}.k{i}) AS k{i}" for i in range(len(block.keys))]
    for index, added in enumerate(block.sums):
        if added.argument is None:
            taken.append(f"true AS c{index}")
        else:
            taken.append(f"TRY({_SLOT}.x{index}) AS x{index}, TRY({_SLOT}.c{index}) IS NOT NULL AS c{index}")
    of, table = guard.rule.of, block.source["alias"] or block.source["table_name"]
    taken.append("1 AS person" if of is None else f"{_quoted(table)}.{_quoted(of)} AS person")
    where = f" WHERE TRY({_SLOT}.where)" if block.where is not None else ""
    return f"SELECT {_list(taken)} FROM {_SLOT}{where}"


def _sum(added: Sum, index: int) -> str:
    if added.argument is None:
        return "count(*)"
    return f"{added.function}({'DISTINCT ' if added.distinct else ''}x{index})"


def _same(left: str, right: str, keys: Sequence[str]) -> str:
    return " AND ".join(f"{left}.{key} IS NOT DISTINCT FROM {right}.{key}" for key in keys) or "true"


def _list(*parts: str | Sequence[str]) -> str:
    return ", ".join(text for part in parts for text in ([part] if isinstance(part, str) else part))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _filled(node: Any, slots: Mapping[str, Node]) -> Any:
    """A template with its slots filled; what fills them is not searched for slots."""
    if isinstance(node, list):
        return [_filled(part, slots) for part in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "OPERATOR_TRY" and node["children"][0]["column_names"][0] == _SLOT:
        expression = slots[node["children"][0]["column_names"][1]]
        if expression["class"] in ("COLUMN_REF", "CONSTANT", "PARAMETER"):
            return {**expression, "alias": node["alias"]}  # nothing that could fail
    if node.get("class") == "COLUMN_REF" and node["column_names"][0] == _SLOT:
        return {**slots[node["column_names"][1]], "alias": node["alias"]}
    if node.get("type") == "BASE_TABLE" and node["table_name"] == _SLOT:
        return slots[""]
    return {key: _filled(part, slots) for key, part in node.items()}
