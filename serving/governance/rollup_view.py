"""What one user may see of a rollup: the same rows as of its mart, and no column made of a masked one."""

from collections.abc import Mapping
from dataclasses import replace

from serving.governance.access import View
from serving.governance.entitlements import raw_table
from serving.semantic.dimension import quoted
from serving.semantic.routing.reads import columns_read
from serving.semantic.routing.routes import Kept, Miss, Reason


def rollup_view(kept: Kept, view: View, types: Mapping[str, str]) -> tuple[View, Kept] | Miss:
    """The view behind `mart:rollup` for the person of `view`, and the rollup with what is barred to them.

    `types` are those of the mart's columns as built. The groups it shows are those whose rows the mart's
    rules show: a Miss says why not, as where a rule compares a column that the rollup does not keep.
    The last day of all rows stays unsaid where some are hidden.
    """
    if view.aggregate is not None:
        return Miss(kept.name, Reason.AGGREGATES, f"'{kept.mart}' answers you in aggregates of its rows only")
    for name in view.compares:
        if kept.dimensions.get(name) != quoted(name) or kept.types.get(name) != types[name]:
            which = f"'{name}'" if name in view.columns else "a column that is hidden from you"
            compared = f"a row rule for you compares {which}, which it does not keep"
            return Miss(kept.name, Reason.POLICY, compared)
    texts = {**kept.dimensions, **kept.leaves}
    found = {column: _barred(text, kept.mart, types, view) for column, text in texts.items()}
    barred = {column: words for column, words in found.items() if words is not None}
    seen = tuple(column for column in texts if column not in barred)
    if not seen:
        return Miss(
            kept.name, Reason.MASK, "everything that it keeps was computed from columns you may not see"
        )
    return _view(kept, seen, view), replace(kept, barred=barred, newest={} if view.where else kept.newest)


def _barred(text: str, mart: str, types: Mapping[str, str], view: View) -> str | None:
    """Why the user may not have what was computed so from the mart's rows; None where they may."""
    hidden = types.keys() - set(view.columns)
    if not hidden and not view.masked:
        return None
    read = columns_read(text, mart, types)
    if read is None:
        return "nobody can say whether it was computed from a column that is masked for you"
    if masked := sorted(read & view.masked.keys()):
        return f"it was computed from '{masked[0]}', which is masked for you"
    return "it was computed from a column that is hidden from you" if read & hidden else None


def _view(kept: Kept, seen: tuple[str, ...], view: View) -> View:
    names = ",\n  ".join(map(quoted, seen))
    columns = ", ".join(_column(name, kept.types[name], view.where) for name in seen)
    where = f" WHERE {view.where}" if view.where else ""
    own = [kept.mart] if raw_table(kept.mart).sql("duckdb") in view.where else []  # its own entitlements
    _, _, rules = view.shown.partition(f"\nFROM {kept.mart}")
    return replace(
        view,
        mart=kept.table,
        body=f"SELECT {columns} FROM {raw_table(kept.table).sql('duckdb')}{where}",
        shown=f"SELECT\n  {names}\nFROM {quoted(kept.table)}{rules}",
        columns=seen,
        masked={},
        reads=(kept.table, *own, *view.reads[1:]),
    )


def _column(name: str, kind: str, where: str) -> str:
    """The column, NULL in hidden rows where the engine might look into it too early (see access.py)."""
    if not where or not any(word in kind for word in ("STRUCT(", "UNION(", "VARIANT")):
        return quoted(name)
    return f"CASE WHEN {where} THEN {quoted(name)} END AS {quoted(name)}"
