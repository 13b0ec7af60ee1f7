"""Which of an expression's dialects is read, and as what."""

from serving.importing.expressions import DUCKDB, translated
from serving.importing.findings import NotCarried
from serving.importing.ossie.document import Expression

_READ = {  # in the order of preference
    "DUCKDB": DUCKDB,
    "ANSI_SQL": DUCKDB,
    "OSSIE_SQL_2026": DUCKDB,
    "SNOWFLAKE": "snowflake",
    "DATABRICKS": "databricks",
    "BIGQUERY": "bigquery",
}


def duckdb_text(expression: Expression) -> str:
    """The expression as DuckDB reads it; raises NotCarried where none of its dialects can be read."""
    given = {each.dialect.upper(): each.expression for each in expression.dialects}
    for name, read in _READ.items():
        if name in given:
            return given[name].strip() if read == DUCKDB else translated(given[name], read)
    raise NotCarried(f"is written in {', '.join(sorted(given))} only, which cannot be read")
