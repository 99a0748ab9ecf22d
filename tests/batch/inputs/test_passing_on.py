"""Columns that a job passes on: the output holds the input's values, whoever reads both, or there is one error."""

import datetime
import io
import json
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.parquet import open_parquet
from maskedge_batch.inputs.passing_on import check_passed_on, writer_options
from maskedge_batch.outputs.writing import ScoredWriter
from maskedge_batch.runs.job import Job, score_file
from maskedge_batch.scoring.columns import SCORE_FIELDS, scored_schema

WriteInput = Callable[..., Path]

pa: Any = pyarrow
pq: Any = pyarrow.parquet
sql: Any = duckdb.sql
"""What is asked of them here is computed, which their stubs do not know."""

SECOND = 10**9
"""Nanoseconds."""


def pass_on(source: Path) -> tuple[Path, tuple[str, ...]]:
    """The file read and written as a job does, without scores, and what is said of its columns."""
    output = source.with_suffix(".out")
    with open_parquet(source) as opened:
        opened.choose_timestamp_units()
        notes = check_passed_on(opened.parquet.schema, scored_schema(opened.schema))
        with ScoredWriter(output, output, opened.schema, **writer_options(opened.parquet.schema)) as writer:
            for batch in opened.batches():
                writer.write(batch)
    return output, notes


# Every type that Arrow writes: bit for bit, with its schema


def storage(kind: Any, values: list[Any]) -> Any:
    return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))


def arrow_columns() -> Iterator[tuple[str, Any]]:
    """Columns of every type, at the ends of its range, by a name that says which."""
    for bits in (8, 16, 32, 64):
        signed, unsigned = getattr(pa, f"int{bits}")(), getattr(pa, f"uint{bits}")()
        yield f"int{bits}", pa.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, None], signed)
        yield f"uint{bits}", pa.array([0, 2**bits - 1, None], unsigned)
    yield "float16", pa.array(np.array([1.5, np.inf, -0.0], np.float16))
    yield (
        "float64 with a NaN's payload",
        pa.array(np.array([0x7FF8000000000001, 1 << 63, 0], np.uint64).view(np.float64)),
    )
    yield "bool", pa.array([True, None, False])
    yield "null", pa.nulls(3)
    for unit in ("s", "ms", "us", "ns"):
        most = 2**63 - 1 if unit != "s" else 2**53
        yield f"timestamp {unit}", pa.array([most, -most, None], pa.timestamp(unit))
        yield f"duration {unit}", pa.array([most, -most, None], pa.duration(unit))
        for zone in ("UTC", "Europe/Berlin", "+05:30"):
            yield f"timestamp {unit} {zone}", pa.array([2**50, -1, None], pa.timestamp(unit, zone))
    yield "time32 s", pa.array([0, 86_399, None], pa.time32("s"))
    yield "time32 ms", pa.array([0, 86_399_999, None], pa.time32("ms"))
    yield "time64 us", pa.array([0, 86_399_999_999, None], pa.time64("us"))
    yield "time64 ns", pa.array([0, 86_399_999_999_999, None], pa.time64("ns"))
    yield "date32", pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None])
    yield "date64", pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None], pa.date64())
    yield "decimal32", pa.array([Decimal("-999.99"), None, Decimal(0)], pa.decimal32(5, 2))
    yield "decimal64", pa.array([Decimal("999999999999.99"), None, Decimal(0)], pa.decimal64(14, 2))
    yield "decimal128", pa.array([Decimal("9" * 38), None, Decimal(0)], pa.decimal128(38, 0))
    yield "decimal256", pa.array([Decimal("-" + "9" * 76), None, Decimal(0)], pa.decimal256(76, 0))
    yield "a small decimal256", pa.array([Decimal("1.5"), None, Decimal(0)], pa.decimal256(5, 1))
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        yield str(kind), pa.array(["", "ü\0", None], kind)
    for kind in (pa.string(), pa.large_string()):
        yield (
            f"dictionary of {kind}",
            pa.array(["x", "y", None]).dictionary_encode().cast(pa.dictionary(pa.int8(), kind)),
        )
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)):
        yield str(kind), pa.array([b"\xff\0", b"ab", None], kind)
    yield (
        "ordered dictionary",
        pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int32()), pa.array(["low", "high"]), ordered=True),
    )
    for name, values in {
        "integers": [1, 2, None],
        "timestamps": [datetime.datetime(1, 1, 1), None, None],
        "decimals": [Decimal("1.5"), None, None],
    }.items():
        yield f"dictionary of {name}", pa.array(values).dictionary_encode()
    for name, wrap in {"list": pa.list_, "large list": pa.large_list, "list view": pa.list_view}.items():
        yield name, pa.array([[1, None], [], None], wrap(pa.int8()))
    yield "fixed-size list", pa.array([[1, None], None, [3, 4]], pa.list_(pa.int8(), 2))
    yield "struct in a struct", pa.array([{"a": {"b": [None, 1]}}, {"a": None}, None])
    yield "struct with one name twice", pa.StructArray.from_arrays([pa.array([1, 2, 3]), pa.array("xyz")], ["a", "a"])
    yield "map with a key twice", pa.array([[("k", 1), ("k", 2)], [], None], pa.map_(pa.string(), pa.int8()))
    yield "sorted map", pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int8(), keys_sorted=True))
    yield "uuid", storage(pa.uuid(), [uuid.UUID(int=7).bytes, uuid.UUID(int=8).bytes, None])
    yield "json", storage(pa.json_(), ["{}", "[1]", None])
    yield "bool8", storage(pa.bool8(), [0, 2, None])
    yield "tensor", storage(pa.fixed_shape_tensor(pa.int8(), [2]), [[1, 2], [3, 4], None])


@pytest.mark.parametrize(("name", "column"), list(arrow_columns()), ids=[name for name, _ in arrow_columns()])
def test_every_type_of_arrow_is_the_same_bits(tmp_path: Path, name: str, column: Any) -> None:
    nested = pa.StructArray.from_arrays([column], names=["within"])
    fields = [
        pa.field(name, column.type, metadata={"unit": "kg"}),
        pa.field("not nullable", pa.struct([pa.field("within", column.type)]), nullable=False),
    ]
    table = pa.Table.from_arrays([column, nested], schema=pa.schema(fields, metadata={"owner": "me"}))
    source = tmp_path / "in.parquet"
    pq.write_table(table, source, row_group_size=2)
    output, notes = pass_on(source)
    assert notes == ()
    assert_same(pq.read_table(source), pq.read_table(output))


def assert_same(before: pa.Table, after: pa.Table) -> None:
    """The same schema with all metadata, and the same values; to the bit where a NaN is not equal to itself."""
    assert after.schema.equals(before.schema, check_metadata=True)
    before, after = before.combine_chunks(), after.combine_chunks()
    if after.equals(before):
        return
    streams = [io.BytesIO() for _ in range(2)]
    for table, stream in zip((before, after), streams, strict=True):
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
    assert streams[0].getvalue() == streams[1].getvalue()


# Every type that DuckDB writes, as DuckDB reads it before and after

DUCKDB_VALUES = {
    "TINYINT": "(-128)",
    "UTINYINT": "255",
    "USMALLINT": "65535",
    "UINTEGER": "4294967295",
    "UBIGINT": "18446744073709551615",
    "HUGEINT": "5",
    "DOUBLE": "'nan'",
    "DATE": "'9999-12-31'",
    "TIME": "'12:34:56.123456'",
    "TIME_NS": "'12:34:56.123456789'",
    "TIMESTAMP": "'0001-01-01 01:02:03.123456'",
    "TIMESTAMPTZ": "'9999-12-31 01:02:03.123456+02'",
    "TIMESTAMP_MS": "'2020-01-01 01:02:03.123'",
    "TIMESTAMP_NS": "'2262-04-11 01:02:03.123456789'",
    "UUID": "'12345678-1234-1234-1234-123456789012'",
    "BLOB": "'\\xAA\\x00'",
    "VARCHAR": "'x'",
    "JSON": "'{\"a\": 1}'",
    "DECIMAL(4, 2)": "1.23",
    "DECIMAL(18, 3)": "1.5",
    "DECIMAL(38, 10)": "1.5",
}


def duckdb_file(path: Path, kind: str, value: str) -> Path:
    """A file of DuckDB's with a value of a type, alone, in a list, in a struct and in a map."""
    one = f"{value}::{kind}"
    query = f"SELECT {one} AS c, [{one}, NULL] AS l, {{'x': {one}}} AS s, MAP([1], [{one}]) AS m"
    sql(f"COPY ({query} UNION ALL SELECT NULL, NULL, NULL, NULL) TO '{path}' (FORMAT parquet)")
    return path


def as_duckdb_reads(path: Path) -> tuple[Any, ...]:
    """Types and values; times by their nanoseconds, which Python's do not have."""
    found = sql(f"SELECT * FROM read_parquet('{path}')")
    return found.types, sql(f"SELECT to_json(t) FROM read_parquet('{path}') AS t").fetchall()


@pytest.mark.parametrize("kind", DUCKDB_VALUES)
def test_another_reader_finds_every_type_as_it_was(tmp_path: Path, kind: str) -> None:
    source = duckdb_file(tmp_path / "in.parquet", kind, DUCKDB_VALUES[kind])
    output, notes = pass_on(source)
    assert notes == ()
    assert as_duckdb_reads(output) == as_duckdb_reads(source)


def test_times_of_day_in_utc_stay_in_utc(tmp_path: Path) -> None:
    source = duckdb_file(tmp_path / "in.parquet", "TIMETZ", "'12:34:56.123456+02'")
    output, _ = pass_on(source)
    assert as_duckdb_reads(output) == as_duckdb_reads(source)


def test_times_of_day_in_utc_beside_others_are_refused(tmp_path: Path) -> None:
    """pyarrow writes all of a file's in UTC, or none."""
    source = tmp_path / "in.parquet"
    sql(f"COPY (SELECT '12:34:56'::TIME AS local, '12:34:56'::TIMETZ AS utc) TO '{source}' (FORMAT parquet)")
    with pytest.raises(InputError, match=r"'local' holds TIME isAdjustedToUTC=False .* isAdjustedToUTC=True"):
        pass_on(source)


@pytest.mark.parametrize("column", ["c", "l.list.element", "s.x", "m.key_value.value"])
def test_an_interval_is_refused_by_name(tmp_path: Path, column: str) -> None:
    """Arrow has no type for it: twelve bytes would be left."""
    name, one = column[0], "INTERVAL '3 months 2 days'"
    query = {"c": one, "l": f"[{one}]", "s": f"{{'x': {one}}}", "m": f"MAP([1], [{one}])"}[name]
    source = tmp_path / "in.parquet"
    sql(f"COPY (SELECT 'a' AS text, {query} AS {name}) TO '{source}' (FORMAT parquet)")
    with pytest.raises(InputError, match=f"column '{column}' holds INTERVAL, which would be written as plain values"):
        pass_on(source)


@pytest.mark.parametrize(("code", "name"), [(8, "ENUM"), (40, "BSON")])
def test_bytes_that_lose_their_name_are_told_of(tmp_path: Path, code: int, name: str) -> None:
    """Files of other writers, made of one of DuckDB's: the code of a string's type is a byte of the footer."""
    source = tmp_path / "in.parquet"
    sql(f"COPY (SELECT 'x' AS kind) TO '{source}' (FORMAT parquet)")
    data = source.read_bytes()
    assert data.count(b"\x18\x04kind\x25\x00") == 1
    source.write_bytes(data.replace(b"\x18\x04kind\x25\x00", b"\x18\x04kind\x25" + bytes([code])))
    output, notes = pass_on(source)
    assert notes == (f"The column 'kind' holds {name}, which is passed on as plain bytes.",)
    assert pq.read_table(output)["kind"].to_pylist() == [b"x"]


def test_timestamps_of_before_logical_types_pass(tmp_path: Path) -> None:
    """Files of 2017 say TIMESTAMP_MILLIS and no more: the field that came later is renamed to one that nobody knows."""
    source = tmp_path / "in.parquet"
    column = pa.array([253402300799999, None], pa.timestamp("ms", "UTC"))
    pq.write_table(pa.table({"moment": column}), source, version="1.0", store_schema=False)
    data = source.read_bytes()
    assert data.count(b"\x25\x12\x4c") == 1
    source.write_bytes(data.replace(b"\x25\x12\x4c", b"\x25\x12\x6c"))
    assert pq.ParquetFile(source).schema.column(0).converted_type == "TIMESTAMP_MILLIS"
    output, notes = pass_on(source)
    assert notes == ()
    assert pq.read_table(output).equals(pq.read_table(source))


# INT96


def int96_file(path: Path, values: list[int | None], unit: str = "ns") -> Path:
    """A file as Spark writes it: `values` count from 1970 in a unit."""
    column = pa.array(values, pa.timestamp(unit))
    table = pa.table({"moment": column})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, store_schema=False, row_group_size=2)
    assert pq.ParquetFile(path).schema.column(0).physical_type == "INT96"
    return path


def counted(path: Path) -> list[Any]:
    """Microseconds as DuckDB counts them, in nanoseconds."""
    rows = sql(f"SELECT (epoch_us(moment)::HUGEINT * 1000)::VARCHAR FROM read_parquet('{path}')").fetchall()
    return [None if value is None else int(value) for (value,) in rows]


YEAR_1, YEAR_9999 = -62_135_596_800 * 10**6, 253_402_300_799_999_999
"""Microseconds from 1970 to the first moment of the calendar, and to its last."""


def test_timestamps_outside_of_nanoseconds_survive(tmp_path: Path) -> None:
    source = int96_file(tmp_path / "in.parquet", [YEAR_9999, YEAR_1, None, -1, 0], "us")
    output, _ = pass_on(source)
    assert counted(output) == [YEAR_9999 * 1000, YEAR_1 * 1000, None, -1000, 0]


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), -1, 1, 1_234_567_890_123_456_789])
def test_nanoseconds_survive_where_all_fit(tmp_path: Path, value: int) -> None:
    output, _ = pass_on(int96_file(tmp_path / "in.parquet", [value, None, 0]))
    assert pq.read_schema(output).field("moment").type == pa.timestamp("ns")
    assert pq.read_table(output)["moment"].cast(pa.int64()).to_pylist() == [value, None, 0]


@pytest.mark.parametrize("beyond", [2**63 // 1000 + 1, -(2**63) // 1000 - 1, 2**64 // 1000, YEAR_9999])
def test_one_value_outside_of_nanoseconds_is_enough(tmp_path: Path, beyond: int) -> None:
    """Wherever it stands; 2**64 nanoseconds wrap to 0."""
    for values in ([beyond, None, 0, 1], [0, 1, None, beyond]):
        output, _ = pass_on(int96_file(tmp_path / "in.parquet", values, "us"))
        assert pq.read_schema(output).field("moment").type == pa.timestamp("us")
        assert pq.read_table(output)["moment"].cast(pa.int64()).to_pylist() == values


def int96_bytes(path: Path, values: list[tuple[int, int]]) -> Path:
    """A file whose INT96 values are days from 1970 and nanoseconds of the day, written into its pages."""
    stand_ins = [day * 86_400 * SECOND + 7 + index for index, day in enumerate(range(len(values)))]
    column = pa.array(stand_ins, pa.timestamp("ns"))
    pq.write_table(
        pa.table({"moment": column}),
        path,
        use_deprecated_int96_timestamps=True,
        compression="none",
        use_dictionary=False,
    )
    data = path.read_bytes()
    for index, (day, nanoseconds) in enumerate(values):
        old = (7 + index).to_bytes(8, "little") + (2_440_588 + index).to_bytes(4, "little")
        assert data.count(old) == 1
        data = data.replace(old, nanoseconds.to_bytes(8, "little") + (2_440_588 + day).to_bytes(4, "little"))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "values",
    [
        [(2_932_896, 1), (0, 0)],  # a nanosecond in 9999
        [(2_932_896, 0), (0, 1)],  # one in 1970, beside the year 9999
        [(2**32 - 2_440_589, 0), (0, 0)],  # the last day there is, beyond microseconds
        [(213_503_982 // 2, 999), (0, 0)],
    ],
)
def test_what_no_timestamp_holds_is_one_error(tmp_path: Path, values: list[tuple[int, int]]) -> None:
    source = int96_bytes(tmp_path / "in.parquet", values)
    with pytest.raises(
        InputError, match=r"column 'moment' holds INT96 timestamps that no 64-bit timestamp holds all of"
    ):
        pass_on(source)


def test_days_are_days(tmp_path: Path) -> None:
    output, _ = pass_on(int96_bytes(tmp_path / "in.parquet", [(0, 0), (-1, 86_399 * SECOND), (106_751, 123)]))
    assert pq.read_table(output)["moment"].cast(pa.int64()).to_pylist() == [0, -SECOND, 106_751 * 86_400 * SECOND + 123]


def test_each_column_has_the_unit_that_it_needs(tmp_path: Path) -> None:
    fine, wide, both = [1, -1, None], [YEAR_9999, None, YEAR_1], [0, 1000, None]
    columns = {
        "fine": pa.array(fine, pa.timestamp("ns")),
        "wide": pa.array(wide, pa.timestamp("us")),
        "a.b": pa.array(both, pa.timestamp("ns")),
        "a": pa.array(["x", "y", None]).dictionary_encode(),
    }
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table(columns), source, use_deprecated_int96_timestamps=True, row_group_size=2)
    output, _ = pass_on(source)
    found = pq.read_table(output)
    assert [str(field.type) for field in found.schema.remove(3)] == ["timestamp[ns]", "timestamp[us]", "timestamp[ns]"]
    assert found["fine"].cast(pa.int64()).to_pylist() == fine
    assert found["wide"].cast(pa.int64()).to_pylist() == wide
    assert found["a.b"].cast(pa.int64()).to_pylist() == both
    assert found["a"].to_pylist() == ["x", "y", None]


@pytest.mark.parametrize(("unit", "values"), [("us", [YEAR_9999, YEAR_1, -1]), ("ns", [2**63 - 1, -(2**63), -1])])
def test_nested_timestamps_survive(tmp_path: Path, unit: str, values: list[int]) -> None:
    one, two, three = values
    when = pa.timestamp(unit)
    columns = {
        "struct": pa.array([{"x": {"y": one}}, {"x": None}, None], pa.struct([("x", pa.struct([("y", when)]))])),
        "list": pa.array([[one, None], [], None], pa.list_(when)),
        "lists": pa.array([[[one], None], [], [[two, three]]], pa.list_(pa.list_(when))),
        "map": pa.array([[(one, two)], [], None], pa.map_(when, when)),
        "structs": pa.array([[{"x": one, "z": 1}], None, [None]], pa.list_(pa.struct([("x", when), ("z", pa.int8())]))),
    }
    table = pa.table(columns)
    source = tmp_path / "in.parquet"
    pq.write_table(table, source, use_deprecated_int96_timestamps=True, row_group_size=1)
    output, _ = pass_on(source)
    assert pq.read_table(output).equals(table)


def test_a_struct_that_needs_both_units_is_refused_by_name(tmp_path: Path) -> None:
    kind = pa.struct([("fine", pa.timestamp("ns")), ("wide", pa.timestamp("us"))])
    source = tmp_path / "in.parquet"
    pq.write_table(
        pa.table({"span": pa.array([{"fine": 1, "wide": YEAR_9999}], kind)}),
        source,
        use_deprecated_int96_timestamps=True,
    )
    with pytest.raises(InputError, match="column 'span' holds INT96"):
        pass_on(source)


def test_what_stands_behind_a_null_decides_nothing(tmp_path: Path) -> None:
    """A struct that is null has a value in its place all the same."""
    inner = pa.array([1, 2**62], pa.timestamp("us"))
    column = pa.StructArray.from_arrays([inner], names=["x"], mask=pa.array([False, True]))
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"s": column}), source, use_deprecated_int96_timestamps=True)
    output, _ = pass_on(source)
    assert pq.read_schema(output).field("s").type.field("x").type == pa.timestamp("ns")


# A whole job


def test_a_spark_file_is_scored_with_its_timestamps(tmp_path: Path, bundle: Path, words: list[str]) -> None:
    """As reported: 9999-12-31, 0001-01-01 and null beside texts, in the layout of Spark."""
    spark = {"type": "struct", "fields": [{"name": "text", "type": "string", "nullable": True, "metadata": {}}]}
    key = "org.apache.spark.sql.parquet.row.metadata"
    values = [datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1), None]
    table = pa.table({"text": [f"{word} [MASK]" for word in words[:3]], "moment": pa.array(values, pa.timestamp("us"))})
    path = tmp_path / "part-00000.snappy.parquet"
    options: dict[str, Any] = {"use_deprecated_int96_timestamps": True, "store_schema": False}
    with pq.ParquetWriter(path, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({key: json.dumps(spark), "org.apache.spark.version": "3.5.1"})
    output = score_file(Job(path, model=bundle)).output
    found = sql(f"SELECT moment, mlm_status FROM read_parquet('{output}')").fetchall()
    assert found == [(value, "ok") for value in values]
    said = json.loads((pq.read_schema(output).metadata or {})[key.encode()])
    assert [field["name"] for field in said["fields"]] == ["text", *SCORE_FIELDS.names]
    assert said["fields"][2] == {
        "name": "mlm_predictions",
        "type": {
            "type": "array",
            "elementType": {
                "type": "array",
                "elementType": {
                    "type": "struct",
                    "fields": [
                        {"name": "token", "type": "integer", "nullable": True, "metadata": {}},
                        {"name": "token_str", "type": "string", "nullable": True, "metadata": {}},
                        {"name": "score", "type": "double", "nullable": True, "metadata": {}},
                    ],
                },
                "containsNull": True,
            },
            "containsNull": True,
        },
        "nullable": True,
        "metadata": {},
    }


def test_metadata_that_is_not_sparks_after_all_is_left_alone(write_input: WriteInput, bundle: Path) -> None:
    key = b"org.apache.spark.sql.parquet.row.metadata"
    for broken in (b"{", b"[]", b'{"fields": 3}'):
        path = write_input(pa.table({"text": ["a"]}).replace_schema_metadata({key: broken}))
        output = score_file(Job(path, model=bundle, overwrite=True)).output
        assert (pq.read_schema(output).metadata or {})[key] == broken


def test_what_cannot_be_passed_on_is_found_before_the_model_is_loaded(write_input: WriteInput, tmp_path: Path) -> None:
    source = duckdb_file(tmp_path / "in.parquet", "INTERVAL", "'1 day'")
    sql(f"COPY (SELECT 'a' AS text, * FROM '{source}') TO '{tmp_path}/texts.parquet' (FORMAT parquet)")
    with pytest.raises(InputError, match="INTERVAL"):
        score_file(Job(tmp_path / "texts.parquet", model=Path("/no/such/bundle")))


def test_a_column_that_parquet_has_no_type_for_is_named() -> None:
    schema = pa.schema([("good", pa.int8()), ("odd", pa.month_day_nano_interval())])
    source = io.BytesIO()
    pq.write_table(pa.table({"good": pa.array([1], pa.int8())}), source)
    with pytest.raises(InputError, match="column 'odd' holds month_day_nano_interval, which cannot be written"):
        check_passed_on(pq.ParquetFile(source).schema, schema)
