"""Hashes that let ten million rows be compared without reading their texts.

They only ever decide that a row is *not* news: two keys count as one, and two rows as
equal, on the strength of texts alone, except that a row whose key hash and both digests
(192 bits) are those of the ledger is taken for unchanged. DuckDB hashes each argument
to 64 bits and combines them, so that one colliding text would make every such hash
collide: `d2` reads the texts run together behind a prefix, which its hash sees as other
words. Numbers and moments are hashed one to one.
"""

import hashlib
from collections.abc import Sequence

import pyarrow as pa
from sqlglot import exp

from reverse_etl.columns import Found
from reverse_etl.wire import call, plain_type, text, text_of


def key_hash(key: Sequence[Found]) -> exp.Expr:
    """64 bits of a key; integers of every width hash alike."""
    return call("hash", *(_whole(found) for found in key))


def digests(salt: str, values: Sequence[Found]) -> tuple[exp.Expr, exp.Expr]:
    """Two 64-bit digests of the values, in their order, under `salt`."""
    once = list({found.expr.sql(): found for found in values}.values())
    exact = [found for found in once if not _wordy(found)]
    words = [_words(found) for found in once if _wordy(found)]
    first = call("hash", _number(salt), *(_value(found) for found in once))
    second = call(
        "hash",
        call("concat", text("~"), *words),
        *(_value(found) for found in reversed(exact)),
        _number(salt + "2"),
    )
    return first, second


def _number(salt: str) -> exp.Expr:
    """63 bits of the salt: DuckDB would hash a long constant again for every row."""
    digest = hashlib.blake2b(salt.encode(), digest_size=8).digest()
    return exp.cast(exp.Literal.number(int.from_bytes(digest) >> 1), "bigint")


def _whole(found: Found) -> exp.Expr:
    if pa.types.is_integer(found.kind) and not pa.types.is_uint64(found.kind):
        return exp.cast(found.expr.copy(), "bigint")
    return found.expr.copy()


def _value(found: Found) -> exp.Expr:
    plain = plain_type(found.kind)
    if pa.types.is_interval(plain) or pa.types.is_duration(plain):
        return text_of(found.expr.copy(), found.kind)  # 30 days and 1 month are equal, not their texts
    return found.expr.copy()


def _wordy(found: Found) -> bool:
    plain = plain_type(found.kind)
    exact = (
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_temporal,
        pa.types.is_null,
    )
    return not any(check(plain) for check in exact)


def _words(found: Found) -> exp.Expr:
    return exp.cast(found.expr.copy(), "varchar")
