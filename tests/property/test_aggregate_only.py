"""An aggregate-only answer equals what a few lines of Python compute from the raw rows, and no
group of fewer than `min_group` has any part in it.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.content.policy import AggregateRule
from serving.governance.aggregate_only import aggregate_only

Row = tuple[Any, ...]  # person, region, age, amount
COLUMNS = ("person", "region", "age", "amount")
ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(1, 7),
        st.sampled_from([None, "a", "A", "b", "c"]),
        st.none() | st.integers(0, 4),
        st.none() | st.integers(-50, 50),
    ),
    max_size=40,
)

KEYS: dict[str, Callable[[Row], Any]] = {
    "region": lambda row: row[1],
    "upper(region)": lambda row: row[1] and row[1].upper(),
    "age % 2": lambda row: None if row[2] is None else row[2] % 2,
    "age is null": lambda row: row[2] is None,
    "amount": lambda row: row[3],
    "100 // (age - 2)": lambda row: None if row[2] in (None, 2) else int(100 / (row[2] - 2)),
    "region::int": lambda row: None,  # fails for every text
    "case when amount > 0 then 'gain' else region end": lambda row: "gain" if (row[3] or 0) > 0 else row[1],
}
WHERE: dict[str, Callable[[Row], bool]] = {
    "true": lambda row: True,
    "amount > 0": lambda row: row[3] is not None and row[3] > 0,
    "region <> 'a'": lambda row: row[1] not in (None, "a"),
    "person in (1, 2, 3)": lambda row: row[0] in (1, 2, 3),
    "age = 1 and amount is not null": lambda row: row[2] == 1 and row[3] is not None,
    "region::int > 0": lambda row: False,
}


def known(rows: Sequence[Row], index: int) -> list[Any]:
    return [row[index] for row in rows if row[index] is not None]


# aggregate -> the column that must be known, and the value
SUMS: dict[str, tuple[int | None, Callable[[Sequence[Row]], Any]]] = {
    "count(*)": (None, len),
    "count(amount)": (3, lambda rows: len(known(rows, 3))),
    "sum(amount)": (3, lambda rows: sum(known(rows, 3))),
    "sum(coalesce(amount, 7))": (3, lambda rows: sum(7 if row[3] is None else row[3] for row in rows)),
    "avg(age)": (2, lambda rows: sum(known(rows, 2)) / len(known(rows, 2))),
    "count(distinct region)": (1, lambda rows: len(set(known(rows, 1)))),
}


def size(rows: Sequence[Row], rule: AggregateRule) -> int:
    return len(rows) if rule.of is None else len(set(known(rows, 0)))


def shown(rows: Sequence[Row], sums: Sequence[str], rule: AggregateRule) -> Row:
    values = []
    for name in sums:
        index, compute = SUMS[name]
        behind = [row for row in rows if index is None or row[index] is not None]
        values.append(compute(rows) if size(behind, rule) >= rule.min_group else None)
    return tuple(values)


def reference(
    rows: Sequence[Row], keys: Sequence[str], sums: Sequence[str], rule: AggregateRule
) -> tuple[list[Row], list[Row]]:
    """The answer, and the rows that have a part in it."""
    if not keys:
        return [shown(rows, sums, rule)], list(rows) if size(rows, rule) >= rule.min_group else []
    groups: dict[Row, list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(KEYS[key](row) for key in keys)].append(row)
    answer, used, rest = [], [], []
    for key, members in groups.items():
        if size(members, rule) >= rule.min_group:
            answer.append((*key, *shown(members, sums, rule)))
            used += members
        else:
            rest += members
    if rest and size(rest, rule) >= rule.min_group:
        answer.append((*(None for _ in keys), *shown(rest, sums, rule)))
        used += rest
    return answer, used


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(":memory:")
    connection.execute("create table people (person int, region varchar, age int, amount int)")
    yield connection
    connection.close()


def fill(connection: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> None:
    connection.execute("delete from people")
    if rows:
        connection.execute(
            f"insert into people values {', '.join(['(?, ?, ?, ?)'] * len(rows))}", sum(rows, ())
        )


def rewritten(connection: duckdb.DuckDBPyConnection, sql: str, rule: AggregateRule) -> str:
    def one(call: str, value: str) -> str:
        ((text,),) = connection.execute(call, [value]).fetchall()
        return str(text)

    def tree(text: str) -> Any:
        return json.loads(one("select json_serialize_sql(?::varchar)", text))

    def text(tree: Any) -> str:
        return one("select json_deserialize_sql(?::json)", json.dumps(tree))

    return aggregate_only(tree(sql), {"people": rule}, {"people": COLUMNS}, tree, text)


def ordered(rows: Sequence[Row]) -> list[str]:
    return sorted(repr(tuple(round(v, 9) if isinstance(v, float) else v for v in row)) for row in rows)


rules = st.builds(
    AggregateRule, mart=st.just("people"), min_group=st.integers(2, 5), of=st.sampled_from([None, "person"])
)
some_keys = st.lists(st.sampled_from(sorted(KEYS)), max_size=2, unique=True)
some_sums = st.lists(st.sampled_from(sorted(SUMS)), min_size=1, max_size=3, unique=True)


@settings(max_examples=250, deadline=None)
@given(ROWS, rules, some_keys, some_sums, st.sampled_from(sorted(WHERE)))
def test_the_answer_equals_the_reference(
    connection: duckdb.DuckDBPyConnection,
    rows: list[Row],
    rule: AggregateRule,
    keys: list[str],
    sums: list[str],
    where: str,
) -> None:
    fill(connection, rows)
    sql = f"select {', '.join([*keys, *sums])} from people where {where}{' group by all' if keys else ''}"
    text = rewritten(connection, sql, rule)
    answer, used = reference([row for row in rows if WHERE[where](row)], keys, sums, rule)
    assert ordered(connection.execute(text).fetchall()) == ordered(answer)

    fill(connection, used)  # whoever is in too small a group may as well not exist
    assert ordered(connection.execute(text).fetchall()) == ordered(answer)


@settings(max_examples=100, deadline=None)
@given(
    ROWS,
    rules,
    st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=2, unique=True),
    some_sums,
    st.integers(-1, 6),
)
def test_what_stands_around_or_behind_the_groups_sees_the_suppressed_ones_only(
    connection: duckdb.DuckDBPyConnection,
    rows: list[Row],
    rule: AggregateRule,
    keys: list[str],
    sums: list[str],
    least: int,
) -> None:
    fill(connection, rows)
    answer, _ = reference(rows, keys, [*sums, "count(*)"], rule)
    block = f"select {', '.join([*keys, *sums])}, count(*) as n from people group by all"
    having = rewritten(connection, f"{block} having count(*) > {least} order by n desc limit 2", rule)
    kept = sorted((row for row in answer if row[-1] > least), key=lambda row: -row[-1])
    assert [row[-1] for row in connection.execute(having).fetchall()] == [row[-1] for row in kept[:2]]

    around = rewritten(connection, f"with g as ({block}) select (select sum(n) from g) - n from g", rule)
    total = sum(row[-1] for row in answer)
    assert ordered(connection.execute(around).fetchall()) == ordered([(total - row[-1],) for row in answer])
