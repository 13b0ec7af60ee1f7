"""Whatever text is asked, the end is an answer or a plain refusal, soon, and the next question works."""

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import Limits, Project
from serving.answer import Answer
from serving.errors import SluiceError
from serving.governance.screen import screen

EMIL = "emil@example.com"
SECONDS = 6.0  # two of running, two until the kill, two for a new worker on a busy machine
LIMITS = Limits(rows=100, seconds=2, bytes=10_000_000)


def ask(project: Project, text: str) -> str:
    """What came: "answer", or the refusal's words, which are plain and came soon."""
    started = time.monotonic()
    try:
        answer = project.ask(text, user=EMIL, limits=LIMITS)
    except SluiceError as refusal:
        said = str(refusal)
        assert refusal.problem
        assert "Traceback" not in said and ".py" not in said, said
        assert len(said) < 5_000, len(said)
        outcome = said
    else:
        assert isinstance(answer, Answer)
        outcome = "answer"
    assert time.monotonic() - started < SECONDS, (time.monotonic() - started, text[:200])
    return outcome


def still_works(project: Project) -> None:
    """An ordinary question is answered."""
    table = project.ask("select count(*) as n from orders", user=EMIL).table
    assert table.to_pylist() == [{"n": 3}]


FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
WORDS = (
    "select from where group by order limit with recursive as union all join on using lateral values pivot "
    "unpivot describe summarize show tables orders customers id note region * ( ) [ ] { } , ; . : :: := -> "
    "=> ' \" $$ $1 ? -- /* */ \\ e' x' 1e9 -1 null true not in is between like case when then else end over "
    "partition filter qualify exclude replace columns lambda x : struct map interval date cast try any "
    "exists sum( count(*) list( unnest( range( read_csv( query( \n \t \u00a0 \u200b \ufeff é 漢 🙂"
).split(" ")


@FUZZ
@given(st.binary(max_size=300))
def test_random_bytes(shop: Project, data: bytes) -> None:
    ask(shop, data.decode("utf-8", errors="replace"))
    ask(shop, data.decode("latin-1"))


@FUZZ
@given(st.text(max_size=200))
def test_any_unicode(shop: Project, text: str) -> None:
    ask(shop, text)
    ask(shop, f"select '{text}'")
    ask(shop, f'select id as "{text}" from orders')


@settings(FUZZ, max_examples=150)
@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_words_of_the_language_in_any_order(shop: Project, words: list[str]) -> None:
    ask(shop, " ".join(words))
    ask(shop, "select " + " ".join(words) + " from orders")


@settings(FUZZ, max_examples=300)
@given(st.text())
def test_a_screened_text_is_never_longer_and_screens_to_itself(text: str) -> None:
    try:
        screened = screen(text)
    except SluiceError:
        return
    assert len(screened) <= len(text)
    if screened:
        assert screen(screened) == screened


MONSTERS: dict[str, Callable[[], str]] = {
    "100 kB of letters": lambda: "x" * 100_000,
    "100 kB in a string": lambda: "select '" + "x" * 99_000 + "'",
    "100 kB of spaces": lambda: "select 1" + " " * 99_000,
    "100 kB of emoji": lambda: "select '" + "🙂" * 24_000 + "'",
    "a million letters": lambda: "y" * 1_000_000,
    "brackets": lambda: "select " + "(" * 50_000,
    "closed brackets": lambda: "select " + "(" * 5_000 + "1" + ")" * 5_000,
    "brackets as deep as allowed": lambda: "select " + "(" * 99 + "1" + ")" * 99,
    "lists": lambda: "select " + "[" * 99 + "]" * 99,
    "structs": lambda: "select " + "{'a': " * 99 + "1" + "}" * 99,
    "casts": lambda: "select 1" + "::int" * 15_000,
    "nested types": lambda: "select null::" + "struct(a " * 90 + "int" + ")" * 90,
    "array types": lambda: "select null::int" + "[]" * 10_000,
    "subqueries": lambda: "select * from (" * 99 + "select 1" + ")" * 99,
    "functions": lambda: "select " + "abs(" * 99 + "1" + ")" * 99,
    "minus signs": lambda: "select " + "- " * 40_000 + "1",
    "nots": lambda: "select " + "not " * 20_000 + "true",
    "a long sum": lambda: "select 1" + "+1" * 40_000,
    "a middling sum": lambda: "select 1" + "+1" * 400,
    "a long concatenation": lambda: "select ''" + "||''" * 20_000,
    "a long conjunction": lambda: "select true" + " and true" * 10_000,
    "a long comparison": lambda: "select 1" + "=1" * 30_000,
    "cases": lambda: "select " + "case when true then " * 3_000 + "1" + " end" * 3_000,
    "twenty thousand arms": lambda: " union all ".join(["select 1"] * 20_000),
    "arms that fit": lambda: " union all ".join(["select 1"] * 5_000),
    "intersections": lambda: " intersect ".join(["table orders"] * 3_900),
    "a name of 5,000 parts": lambda: "select " + ".".join(["a"] * 5_000),
    "a table of 5,000 parts": lambda: "from " + ".".join(["a"] * 5_000),
    "methods": lambda: "select note" + ".lower()" * 10_000 + " from orders",
    "a giant list": lambda: "select 1 in (" + ",".join(map(str, range(16_000))) + ")",
    "a list that fits": lambda: "select 1 in (" + ",".join(map(str, range(10_000))) + ")",
    "a giant values": lambda: "values " + ",".join(["(1)"] * 24_000),
    "columns": lambda: "select " + ",".join(["id"] * 30_000) + " from orders",
    "stars": lambda: "select " + ",".join(["*"] * 40_000) + " from orders",
    "a long name": lambda: "from " + "x" * 90_000,
    "a long column": lambda: "select " + "x" * 90_000 + " from orders",
    "a long alias": lambda: "select 1 as " + "x" * 90_000,
    "a long function": lambda: "select " + "x" * 90_000 + "()",
    "commas": lambda: "select " + "," * 99_000,
    "semicolons": lambda: ";" * 100_000,
    "statements": lambda: "select 1;" * 11_000,
    "comments": lambda: "/*" * 40_000,
    "nested comments": lambda: "/*" * 300 + "*/" * 300 + " select 1",
    "dashes": lambda: "--" * 49_000,
    "dollars": lambda: "$" * 100_000,
    "dollar quotes": lambda: "$$" * 49_999 + "$",
    "quotes": lambda: "'" * 99_999,
    "double quotes": lambda: '"' * 99_999,
    "backslashes": lambda: "\\" * 100_000,
    "an unfinished string": lambda: "select 'abc",
    "an unfinished name": lambda: 'select "abc',
    "an unfinished escape": lambda: "select e'\\",
    "ctes": lambda: "with " + ",".join(f"c{i} as (select 1)" for i in range(3_000)) + " select 1",
    "ctes of ctes": lambda: (
        "with c0 as (select 1 as a)"
        + "".join(f", c{i} as (select x.a from c{i - 1} x, c{i - 1} y)" for i in range(1, 90))
        + " select count(*) from c89"
    ),
    "joins": lambda: "select * from orders" + ", orders" * 8_000,
    "joins that are allowed": lambda: "select count(*) from orders" + ", orders" * 50,
    "cubes": lambda: "select 1 from orders group by cube(" + ",".join(["id"] * 60) + ")",
    "windows": lambda: "select " + ",".join(["sum(id) over (order by id)"] * 3_000) + " from orders",
    "lambdas": lambda: "select " + "list_transform([1], lambda x: " * 90 + "x" + ")" * 90,
    "parameters": lambda: "select " + ",".join(["?"] * 20_000),
    "an endless recursion": lambda: "with recursive t as (select 1 as a union all select a from t) from t",
    "a huge number": lambda: "select 1" + "0" * 90_000,
    "a huge exponent": lambda: "select 1e" + "9" * 50_000,
    "huge positions": lambda: "select " + ",".join(["#99999999999999999999"] * 100),
    "NUL": lambda: "select 1\0",
    "a lone surrogate": lambda: "select '\ud800'",
    "right to left": lambda: "select '\u202e' from orders \u202e",
    "escape codes": lambda: "select \x1b[31m1",
    "a deep regular expression": lambda: "select regexp_matches('a', '" + "(" * 900 + ")" * 900 + "')",
    "a wide pattern": lambda: "select 'x' like '" + "%_" * 40_000 + "'",
    "json": lambda: "select '" + "[" * 40_000 + "'::json",
    "a memory bomb": lambda: "select repeat('x', 1000000) || repeat('y', 1000000) from range(10000000)",
    "a bomb by a column": lambda: (
        "select sum(len(repeat('x', (i * 1000)::bigint))) from range(10000000) t(i)"
    ),
    "a cross product": lambda: "select count(*) from range(10000000) a, range(10000000) b where a <> b",
    "a folded constant": lambda: "select len(repeat(repeat('x', 1000000), 2000))",
}


@pytest.mark.parametrize("name", MONSTERS)
def test_a_monster_is_answered_or_refused_and_the_next_question_works(shop: Project, name: str) -> None:
    ask(shop, MONSTERS[name]())
    still_works(shop)
