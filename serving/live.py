"""Marts that come with the program: their rows are made by no file of the content folder."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from serving.content.model import Mart

ARROW: Mapping[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True)
class LiveMart:
    """What content and policies need to know of such a mart, and the DuckDB types of its columns."""

    mart: Mart
    types: Mapping[str, str]

    @property
    def schema(self) -> pa.Schema:
        """Its columns as Arrow has them."""
        return pa.schema([(name, ARROW[kind]) for name, kind in self.types.items()])
