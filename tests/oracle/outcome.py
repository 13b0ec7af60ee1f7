"""What came of a question, on either side: an answer, or the class of its failure."""

from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa

from serving import Project
from serving.answer import Limits
from serving.errors import QueryFailed, QueryRefused, QueryStopped

ROWS = 200_000
LIMITS = Limits(rows=ROWS, seconds=30, bytes=None)
_BIND = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, duckdb.SyntaxException)
# bind: the engine did not understand it; refused: the door did not let it through
Kind = Literal["answered", "bind", "refused", "failed", "stopped"]


@dataclass(frozen=True)
class Asked:
    """A question's text, and the values of its parameters."""

    sql: str
    parameters: list[Any] | dict[str, Any] | None = None

    def __str__(self) -> str:
        return self.sql if self.parameters is None else f"{self.sql}  -- with {self.parameters}"


@dataclass(frozen=True)
class Outcome:
    """An answer with its table, or a failure with its words (for people only: never compared)."""

    kind: Kind
    table: pa.Table | None = None
    words: str = ""
    told: str = ""  # what else was said beside the rows: receipt, hint
    cut: bool = False  # there were more rows than the limit

    def __str__(self) -> str:
        if self.table is None:
            return f"{self.kind}: {self.words}"
        head = ", ".join(f"{field.name} {field.type}" for field in self.table.schema)
        rows = "".join(f"\n    {row}" for row in rows_of(self.table.slice(0, 12)))
        more = f"\n    … {self.table.num_rows} rows" if self.table.num_rows > 12 else ""
        return f"answered ({head}){rows}{more}"


def governed(project: Project, asked: Asked, email: str) -> Outcome:
    """What the product says."""
    try:
        answer = project.ask(
            asked.sql, user=email, limits=LIMITS, surface="oracle", parameters=asked.parameters
        )
    except QueryStopped as error:
        return Outcome("stopped", words=str(error))
    except QueryFailed as error:
        return Outcome("failed", words=str(error))
    except QueryRefused as error:
        engine = getattr(error.__cause__, "kind", None) == "bind"
        return Outcome("bind" if engine else "refused", words=str(error))
    receipt = answer.receipt
    told = repr((dict(receipt.views), receipt.policies, dict(receipt.masked)))
    # a header may say where a name lives: in the views' place here, in the copy's database there
    names = [name.replace('"temp".main.', '"copy".main.') for name in answer.table.column_names]
    return Outcome("answered", answer.table.rename_columns(names), told=told, cut=receipt.truncated)


def plain(connection: duckdb.DuckDBPyConnection, asked: Asked) -> Outcome:
    """What DuckDB says to the same text, with nothing in between."""
    try:
        return Outcome("answered", connection.sql(asked.sql, params=asked.parameters).to_arrow_table())
    except _BIND as error:
        return Outcome("bind", words=str(error))
    except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
        return Outcome("stopped", words=str(error))
    except duckdb.Error as error:
        return Outcome("failed", words=str(error))
    except AttributeError as error:  # no relation comes of a statement without rows
        return Outcome("bind", words=str(error))


def rows_of(table: pa.Table) -> list[tuple[object, ...]]:
    """The rows in their order; columns of one name stay apart."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def alike(one: Outcome, two: Outcome) -> bool:
    """Whether names and types of two answers are the same."""
    if one.table is None or two.table is None:
        return False
    left, right = one.table.schema, two.table.schema
    return bool(left.names == right.names and left.types == right.types)


def same(one: Outcome, two: Outcome, *, ordered: bool) -> bool:
    """Whether nobody could tell them apart: rows, names, types, order where ordered; or the class."""
    if one.table is None or two.table is None:
        return one.kind == two.kind
    if not alike(one, two) or one.cut != two.cut:
        return False
    if one.table.num_rows != two.table.num_rows:
        return False
    if one.table.equals(two.table):
        return True
    left, right = ([repr(row) for row in rows_of(outcome.table)] for outcome in (one, two))
    return left == right if ordered else sorted(left) == sorted(right)
