"""Whether what the YAML says about meaning fits the columns that were built."""

from collections.abc import Iterator, Mapping

from serving.content.model import Content, Mart
from serving.content.semantics import Measure
from serving.content.spec import KeyPath
from serving.content.validate import near
from serving.errors import Problem
from serving.semantic.checks.place import at
from serving.semantic.checks.texts import columns_read
from serving.semantic.leaves import formula

Types = Mapping[str, str]  # column -> DuckDB type
FLOATS = ("FLOAT", "DOUBLE", "REAL")
_NUMBERS = (
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)
_WORDS = ("VARCHAR", "BLOB", "UUID", "JSON", "BIT")
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "number": (*_NUMBERS, "UHUGEINT", "DECIMAL", "BIGNUM", *FLOATS),
    "time": ("DATE", "TIMESTAMP"),
    "text": ("VARCHAR", "ENUM"),
}


def built_problems(content: Content, built: Mapping[str, Types]) -> list[Problem]:
    """Every name that the built marts lack, and every column of a type that cannot do what is asked of it.

    What is not built is not judged. Expressions are judged where they are plain columns; whatever else
    the engine refuses, it refuses when a rollup is built or the measure is asked.
    """
    found = [
        problem
        for mart in content.marts.values()
        if mart.name in built and not mart.built_in
        for problem in _mart(mart, built)
    ]
    return sorted(set(found))


def _mart(mart: Mart, built: Mapping[str, Types]) -> Iterator[Problem]:
    types = built[mart.name]
    if mart.time is not None:
        yield from _time(mart, ("time",), mart.time, types)
    for name, dimension in mart.dimensions.items():
        if name in types:
            words = f"'{name}' is a column of the built mart and a computed dimension"
            yield at(mart, ("dimensions", name), words, "rename one")
        yield from _text(mart, ("dimensions", name, "expr"), dimension.expr, types)
    for name, measure in mart.measures.items():
        yield from _measure(mart, ("measures", name), measure, types)
    for name, levels in mart.hierarchies.items():
        for place, level in enumerate(levels):
            yield from _dimension(mart, ("hierarchies", name, place), level, types)
    yield from _joins(mart, built)
    yield from _rollups(mart, types)


def _measure(mart: Mart, path: KeyPath, measure: Measure, types: Types) -> Iterator[Problem]:
    if measure.agg is None:
        return
    for key, text in (("expr", measure.expr), ("filter", measure.filter)):
        if text is not None:
            yield from _text(mart, (*path, key), text, types)
    for column in measure.per:
        yield from _lacking(mart, (*path, "per"), column, types)
    if measure.semi_additive is not None:
        yield from _time(mart, (*path, "semi_additive"), measure.semi_additive, types)
    kind = types.get(_plain(measure.expr), "")
    unfit = (
        (*_WORDS, "TIMESTAMP", "DATE", "TIME", "INTERVAL") if measure.agg == "sum" else (*_WORDS, "BOOLEAN")
    )
    if measure.agg in ("sum", "avg", "quantile") and kind.startswith(unfit):
        hint = "cast it in the mart's SQL, or count it"
        yield at(mart, (*path, "expr"), f"{measure.agg} over '{measure.expr}', which is {kind}", hint)


def _joins(mart: Mart, built: Mapping[str, Types]) -> Iterator[Problem]:
    types = built[mart.name]
    for name, join in mart.joins.items():
        path: KeyPath = ("joins", name)
        if name in types:
            words = f"a join cannot be called '{name}': that is a column of the built mart"
            yield at(mart, path, words, "rename the join")
        there = built.get(join.mart)
        if there is None:
            continue
        for here, other in join.on.items():
            place = (*path, "on", here)
            yield from _lacking(mart, place, here, types)
            if other not in there:
                words = f"the built mart '{join.mart}' has no column '{other}'"
                yield at(mart, place, words, near(other, there))
            elif here in types and _family(types[here]) != _family(there[other]):
                words = f"'{here}' is {types[here]}, but '{join.mart}.{other}' is {there[other]}"
                yield at(mart, place, words, "cast one of them in its mart")


def _rollups(mart: Mart, types: Types) -> Iterator[Problem]:
    for name, rollup in mart.rollups.items():
        path: KeyPath = ("rollups", name)
        for place, key in enumerate(rollup.dimensions):
            yield from _dimension(mart, (*path, "dimensions", place), key, types)
        for place, word in enumerate(rollup.measures):
            yield from _float_sums(mart, (*path, "measures", place), word, types)


def _float_sums(mart: Mart, path: KeyPath, word: str, types: Types) -> Iterator[Problem]:
    try:
        leaves = formula(mart, word.removeprefix("~"), word.startswith("~")).leaves
    except (KeyError, ValueError):  # reported with the files
        return
    for leaf in leaves:
        kind = types.get(_plain(leaf.expr), "")
        if leaf.function == "sum" and kind.startswith(FLOATS):
            words = f"'{word}' needs {leaf.function}({leaf.expr}), and '{leaf.expr}' is {kind}"
            hint = (
                "sums of floating-point numbers depend on the order of rows: cast to DECIMAL, or leave it out"
            )
            yield at(mart, path, words, f"{hint} of the rollup")


def _dimension(mart: Mart, path: KeyPath, key: str, types: Types) -> Iterator[Problem]:
    name, _, grain = key.partition(".")
    if name in mart.dimensions:
        return
    if grain:
        yield from _time(mart, path, name, types)
    else:
        yield from _lacking(mart, path, name, types)


def _time(mart: Mart, path: KeyPath, column: str, types: Types) -> Iterator[Problem]:
    yield from _lacking(mart, path, column, types)
    kind = types.get(column, "DATE")
    if _family(kind) != "time":
        words = f"'{column}' is {kind}, and no DATE or TIMESTAMP"
        yield at(mart, path, words, "cast it in the mart's SQL")


def _text(mart: Mart, path: KeyPath, text: str, types: Types) -> Iterator[Problem]:
    for column in columns_read(text, mart.name):
        yield from _lacking(mart, path, column, types)


def _lacking(mart: Mart, path: KeyPath, column: str, types: Types) -> Iterator[Problem]:
    if column not in types:
        words = f"the built mart '{mart.name}' has no column '{column}'"
        yield at(mart, path, words, near(column, types))


def _plain(text: str | None) -> str:
    """The text as a column's name, where it may be nothing else."""
    return (text or "").strip().strip('"()').strip()


def _family(kind: str) -> str:
    """What a type can be compared with: numbers, times, texts, or only itself."""
    base = kind.partition("(")[0]
    if kind.endswith("]"):
        return kind
    for family, kinds in _FAMILIES.items():
        if base in kinds or (family == "time" and base.startswith(kinds)):
            return family
    return kind
