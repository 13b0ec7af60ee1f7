"""Where the tables stand that imported marts read."""

from dataclasses import dataclass
from pathlib import Path

from serving.errors import SluiceError


@dataclass(frozen=True)
class Place:
    """One DuckDB file, or a folder of Parquet files."""

    database: Path | None = None
    parquet: Path | None = None
    schema: str = ""  # instead of the one that the other tool names

    def source(self, table: str, schema: str) -> dict[str, str] | None:
        """`path` (and `table`) of a source over that table; None where the folder has no file of it.

        Raises SluiceError where neither a file nor a folder was given.
        """
        schema = self.schema or schema
        if self.parquet is not None:
            files = (self.parquet / f"{table}.parquet", self.parquet / schema / f"{table}.parquet")
            return next(({"path": file.as_posix()} for file in files if file.exists()), None)
        if self.database is None:
            hint = "add --database FILE.duckdb, or --parquet FOLDER"
            raise SluiceError(f"it is not said where the table {table} stands", hint=hint)
        named = table if schema in ("", "main") else f"{schema}.{table}"
        return {"path": self.database.as_posix(), "table": named}
