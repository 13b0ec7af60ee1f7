"""Adoption: what a destination holds although this sync never sent it, as a file to plan with.

adopted.parquet    key, fields: every live record, written as this sync would have sent it
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from connectors.protocol import DestinationStopped, Json, ListsRecords
from connectors.readback import list_records
from reverse_etl.accounts import Account
from reverse_etl.errors import MappingInvalid, SyncError
from reverse_etl.scratch import scratch, write_parquet
from reverse_etl.wire import call, constant, is_nested, is_number, joined, json_of, text, text_of
from serving.content.sync import Sync

Records = Sequence[tuple[Mapping[str, Json], Mapping[str, Json]]]


def adopt(sync: Sync, account: Account, folder: Path, schema: pa.Schema | None = None) -> Path:
    """Read all live records of the sync's object into adopted.parquet; gives its path.

    `schema` is that of the source: keys are written in the type of their column, and a
    record whose key no row of that type could have is left out. Without it keys stay as the
    destination writes them. MappingInvalid where the destination cannot list its records,
    SyncError where it does not answer.
    """
    if not isinstance(account.destination, ListsRecords):
        raise MappingInvalid(
            f"{sync.at('destination')}: {sync.destination} cannot list its records: nothing can be adopted",
            hint="run without --adopt: rows that are there already are then sent once more",
        )
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / "adopted.work"
    try:
        asyncio.run(_fetch(sync, account, raw))
    except DestinationStopped as stopped:
        raise SyncError(
            f"the records of {sync.destination}/{sync.object} cannot be read: {stopped.problem}",
            hint=stopped.hint,
        ) from None
    with scratch(folder) as db:
        db.from_parquet(str(raw)).create_view("raw")
        write_parquet(db, _select(sync, _types(db, schema)), folder / "adopted.parquet", {})
    raw.unlink()
    return folder / "adopted.parquet"


async def _fetch(sync: Sync, account: Account, to: Path) -> None:
    """Keys as text in k0, k1 …, fields as JSON text in f0, f1 …; both in order of their names."""
    keys, fields = sorted(sync.key), sorted(sync.fields)
    names = [*(f"k{n}" for n in range(len(keys))), *(f"f{n}" for n in range(len(fields)))]
    schema = pa.schema([(name, pa.string()) for name in names])
    opened: AbstractAsyncContextManager[Any] = account.open_sender()
    async with opened as sender:
        with pq.ParquetWriter(to, schema) as writer:
            async for page in list_records(sender, account.destination, keys, fields):
                columns = [[_key_text(key.get(name)) for key, _ in page] for name in keys]
                columns += [[_json(values.get(name)) for _, values in page] for name in fields]
                writer.write_table(pa.table(columns, schema=schema))


def _key_text(value: Json) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


Types = Mapping[str, tuple[pa.DataType, str]]


def _types(db: duckdb.DuckDBPyConnection, schema: pa.Schema | None) -> Types:
    """Column, in lower case -> its type, also as DuckDB calls it."""
    if schema is None:
        return {}
    db.register("source", schema.empty_table())
    described = db.execute("describe select * from source").fetchall()
    return {row[0].lower(): (field.type, row[1]) for row, field in zip(described, schema, strict=True)}


def _select(sync: Sync, types: Types) -> str:
    """One row per record, key and fields as `mapping` would write them."""
    parts: list[exp.Expr] = []
    usable: list[exp.Expr] = [exp.true()]
    for number, (name, column) in enumerate(sorted(sync.key.items())):
        written, fits = _key(exp.column(f"k{number}"), types.get(column.lower()))
        parts += [text(("," if number else "{") + constant(name) + ":"), written]
        usable.append(fits)
    key = joined([*parts, text("}")])
    values: list[exp.Expr] = [text("{")]
    for number, (name, spec) in enumerate(sorted(sync.fields.items())):
        plain = spec.column is not None and spec.map is None
        kind = types.get((spec.column or "").lower()) if plain else None
        values += [text(("," if number else "") + constant(name) + ":"), _value(f"f{number}", kind)]
    select = exp.select(exp.alias_(key, "key"), exp.alias_(joined([*values, text("}")]), "fields"))
    return select.from_("raw").where(exp.and_(*usable)).sql(dialect="duckdb")


def _key(column: exp.Expr, kind: tuple[pa.DataType, str] | None) -> tuple[exp.Expr, exp.Expr]:
    """The key's JSON text, and whether a key of that type reads like that at all."""
    if kind is None:
        return json_of(column, pa.string()), exp.not_(column.copy().is_(exp.null()))
    value = _as(column, kind[1])
    same = exp.EQ(this=text_of(value.copy(), kind[0]), expression=column.copy())
    return json_of(value, kind[0]), call("coalesce", same, exp.false())


def _value(name: str, kind: tuple[pa.DataType, str] | None) -> exp.Expr:
    """The field's JSON text; numbers as the source's type writes them, where that is the same number."""
    given = exp.column(name)
    words = call("json_extract_string", given.copy(), text("$"))
    quoted = exp.cast(call("to_json", words), "varchar")
    is_text = exp.EQ(this=call("json_type", given.copy()), expression=text("VARCHAR"))
    found = exp.case().when(is_text, quoted)
    if kind is not None and is_number(kind[0]) and not is_nested(kind[0]):
        written = json_of(_as(words.copy(), kind[1]), kind[0])
        number = exp.EQ(this=_as(written.copy(), "double"), expression=_as(given.copy(), "double"))
        found = found.when(number, written)
    return found.else_(given.copy())


def _as(value: exp.Expr, kind: str) -> exp.Expr:
    return exp.TryCast(this=value.copy(), to=exp.DataType.build(kind, dialect="duckdb"))
