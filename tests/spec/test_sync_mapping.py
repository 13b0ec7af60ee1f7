"""From columns to what stands on the wire, and what is refused before anything is sent."""

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reverse_etl.errors import MappingInvalid
from reverse_etl.plan import Intent, Plan, make_plan
from serving.content.spec import Where
from serving.content.sync import Sync

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def sync(fields: dict[str, object], key: dict[str, str] | None = None) -> Sync:
    made = Sync.model_validate(
        {"name": "s", "source": "m", "run_as": "r", "destination": "d", "object": "o"}
        | {"key": key or {"id": "id"}, "fields": fields}
    )
    made._where = Where("models/syncs/s.yml", {("fields", "x"): 9, ("fields", "x", "template"): 10})
    return made


def planned(folder: Path, fields: dict[str, object], table: pa.Table, **key: str) -> Plan:
    return make_plan(sync(fields, key or None), table, None, folder, Intent(NOW))


def sent(folder: Path, fields: dict[str, object], **columns: object) -> Any:
    """What goes out for a source of one row."""
    table = pa.table(
        {"id": ["1"], **{name: v if isinstance(v, pa.Array) else [v] for name, v in columns.items()}}
    )
    [row] = pq.read_table(planned(folder, fields, table).changes).to_pylist()
    return json.loads(row["fields"])


def rejected(folder: Path, fields: dict[str, object], table: pa.Table, **key: str) -> list[str]:
    return pq.read_table(planned(folder, fields, table, **key).rejects).column("reason").to_pylist()


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ('O\'Brien "x" \\ é\n', 'O\'Brien "x" \\ é\n'),
        (True, True),
        (9007199254740993, 9007199254740993),
        (0.1, 0.1),
        (Decimal("10.50"), 10.5),
        (date(2024, 2, 29), "2024-02-29"),
        (time(8, 30), "08:30:00"),
        (datetime(2024, 5, 6, 7, 8, 9), "2024-05-06T07:08:09"),
        (datetime(2024, 5, 6, 7, 8, 9, 120000), "2024-05-06T07:08:09.12"),
        (datetime(2024, 5, 6, 7, 0, tzinfo=timezone(timedelta(hours=2))), "2024-05-06T05:00:00Z"),
        (None, None),
        ([1, None, 3], [1, None, 3]),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}),
    ],
)
def test_each_type_has_one_form_on_the_wire(tmp_path: Path, value: object, wire: object) -> None:
    assert sent(tmp_path, {"x": "c"}, c=value) == {"x": wire}


def test_a_single_precision_number_is_sent_as_it_reads_and_categories_as_their_text(tmp_path: Path) -> None:
    columns = {"f": pa.array([0.1], pa.float32()), "e": pa.array(["gold"]).dictionary_encode()}
    assert sent(tmp_path, {"f": "f", "e": "e"}, **columns) == {"f": 0.1, "e": "gold"}


def test_constants_maps_defaults_and_templates_say_what_they_say(tmp_path: Path) -> None:
    fields = {
        "origin": {"value": "it's {sluice}"},
        "tier": {"column": "segment", "map": {"A": "gold", "B": "silver"}, "default": "bronze"},
        "flag": {"column": "n", "map": {3: True, 4: False}},
        "note": {"template": "{{{n}}} orders, {segment}"},
    }
    assert sent(tmp_path, fields, segment="A", n=3) == {
        "origin": "it's {sluice}",
        "tier": "gold",
        "flag": True,
        "note": "{3} orders, A",
    }
    assert sent(tmp_path, fields, segment=None, n=pa.array([None], pa.int64())) == {
        "origin": "it's {sluice}",
        "tier": "bronze",
        "flag": None,
        "note": None,
    }


def test_a_value_the_map_does_not_name_rejects_the_row_where_there_is_no_default(tmp_path: Path) -> None:
    table = pa.table({"id": ["1", "2"], "c": ["A", "Z"]})
    assert rejected(tmp_path, {"x": {"column": "c", "map": {"A": 1}}}, table) == [
        "field 'x': 'map' does not name Z"
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("nan")]])
def test_what_json_cannot_say_rejects_the_row_and_not_the_run(tmp_path: Path, value: object) -> None:
    table = pa.table({"id": ["1"], "c": [value]})
    assert rejected(tmp_path, {"x": "c"}, table) == ["field 'x': NaN and infinity have no JSON form"]


def test_the_words_nan_and_infinity_inside_texts_are_only_words(tmp_path: Path) -> None:
    assert sent(tmp_path, {"x": "c"}, c=["NaN", 'a "Infinity" b']) == {"x": ["NaN", 'a "Infinity" b']}


def test_a_key_of_several_fields_is_rejected_when_a_part_is_missing(tmp_path: Path) -> None:
    table = pa.table({"shop": ["a", "a"], "no": [1, None]})
    made = planned(tmp_path, {}, table, store="shop", number="no")
    assert pq.read_table(made.changes).column("key").to_pylist() == ['{"number":1,"store":"a"}']
    assert pq.read_table(made.rejects).column("reason").to_pylist() == ["key 'number' is null (column 'no')"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"x": "nmae"},
            "models/syncs/s.yml:9: the source has no column 'nmae'\n  hint: did you mean 'name'?",
        ),
        ({"x": {"template": "Hi {nme}"}}, "models/syncs/s.yml:10: the source has no column 'nme'"),
        ({"x": {"template": "Hi {name!r}"}}, "models/syncs/s.yml:10: {name…} is no plain column name"),
        ({"x": {"template": "Hi {name:>9}"}}, "models/syncs/s.yml:10: {name…} is no plain column name"),
        ({"x": {"template": "Hi {"}}, "models/syncs/s.yml:10: the braces of 'Hi {' do not pair up"),
        ({"x": "raw"}, "models/syncs/s.yml:9: column 'raw' is binary and has no JSON form"),
        ({"x": "raws"}, "has no JSON form"),
        ({"x": {"value": float("nan")}}, "models/syncs/s.yml:9: nan has no JSON form"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_with_file_and_line(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    table = pa.table({"id": ["1"], "name": ["Ann"], "raw": [b"x"], "raws": [[b"x"]]})
    with pytest.raises(MappingInvalid) as caught:
        planned(tmp_path, fields, table)
    assert message in str(caught.value)


def test_texts_of_a_file_never_become_sql(tmp_path: Path) -> None:
    evil = "'); drop table wanted; --"
    fields = {
        evil: {"value": evil},
        "t": {"template": evil + "{c}"},
        "m": {"column": "c", "map": {"x": evil}},
    }
    assert sent(tmp_path, fields, c="x") == {evil: evil, "t": evil + "x", "m": evil}
    quoted = pa.table({"id": ["1"], "a\"b'c": [5]})
    [row] = pq.read_table(planned(tmp_path, {"x": "a\"b'c"}, quoted).changes).to_pylist()
    assert json.loads(row["fields"]) == {"x": 5}
