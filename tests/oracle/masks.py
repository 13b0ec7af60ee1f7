"""The masks, written down a second time: in Python where the value counts, as SQL where it does not."""

import hashlib
import math
from decimal import Decimal
from typing import Any

import duckdb

from serving.content.policy import Bucket, Constant, Partial, Truncate


def keyed_hash(key: str, text: str) -> str:
    """The `hash` mask of a text."""
    inner = hashlib.sha256((key + text).encode()).hexdigest()
    return hashlib.sha256((key + inner).encode()).hexdigest()[:32]


def partial(text: str, first: int, last: int) -> str:
    """The `partial` mask of a text."""
    if len(text) <= first + last:
        return "***"
    return text[:first] + "***" + (text[-last:] if last else "")


def bucket(text: str, size: float) -> str | None:
    """The `bucket` mask of a number given as text; the same for whole, decimal and floating numbers."""
    if text in ("nan", "inf", "-inf"):
        return text
    return str(math.floor(Decimal(text) / Decimal(str(size))) * Decimal(str(size)))


def teach(connection: duckdb.DuckDBPyConnection, key: str) -> None:
    """Make the Python masks callable in SQL."""
    text: Any = "VARCHAR"
    connection.create_function("oracle_hash", lambda value: keyed_hash(key, value), [text], text)
    connection.create_function("oracle_partial", partial, [text, "BIGINT", "BIGINT"], text)
    connection.create_function("oracle_bucket", bucket, [text, "DOUBLE"], text)


def masked(column: str, kind: str, mask: object) -> str:
    """The SQL of a masked column, over `column` (quoted already), with the type kept."""
    match mask:
        case "null":
            value = "NULL"
        case "hash":
            value = f"oracle_hash({column})"
        case Constant(constant=given):
            value = (
                str(given)
                if isinstance(given, bool | int | float)
                else f"'{str(given).replace(chr(39), chr(39) * 2)}'"
            )
        case Partial(partial=keep):
            value = f"oracle_partial({column}, {keep.first}, {keep.last})"
        case Bucket(bucket=size):
            return f"TRY_CAST(oracle_bucket({column}::VARCHAR, {size}) AS {kind})"
        case Truncate(truncate=grain):
            value = f"date_trunc('{grain}', {column})"
        case _:
            raise ValueError(f"the oracle does not know the mask {mask!r}")
    return f"CAST({value} AS {kind})"


def unteach(connection: duckdb.DuckDBPyConnection) -> None:
    """Let go of the Python masks, or the engine complains at exit."""
    for name in ("oracle_hash", "oracle_partial", "oracle_bucket"):
        connection.remove_function(name)
