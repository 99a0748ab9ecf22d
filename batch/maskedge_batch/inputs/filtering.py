"""An expression of DuckDB's SQL that is true for the rows to keep."""

import json
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from maskedge_batch.errors import InputError
from maskedge_batch.inputs.rows import BoolArray

__all__ = ["RowFilter"]

_CHANGING = """
SELECT DISTINCT function_name FROM duckdb_functions()
WHERE stability = 'VOLATILE' OR function_name = 'age'
   OR stability = 'CONSISTENT_WITHIN_QUERY' AND len(parameters) = 0
"""
"""Functions whose value is another each time, such as `random()` and `now()`."""


_NUMBER = "mlm_row_number"
"""The column that is added, so that the rows that are kept can be told."""

_NO_CONDITION = "it is to be one condition on the columns of a row"


class RowFilter:
    """A filter that was found to make sense for a schema."""

    def __init__(self, expression: str, schema: pa.Schema) -> None:
        """Raises InputError, naming the expression, for one that is none over these columns."""
        self._expression = expression
        self._columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        # Nothing but what it is given: no files, no network, no extensions.
        self._duckdb = duckdb.connect(config={"enable_external_access": "false", "threads": "1"})
        self._ask("SET TimeZone = 'UTC'")
        parsed = self._parsed()
        self._refuse_changing(parsed)
        mentioned = {name.lower() for each in _of_class(parsed, "COLUMN_REF") for name in each["column_names"]}
        self.columns = [name for name in schema.names if name.lower() in mentioned]
        """Those that it reads."""
        empty = (pa.array([], schema.field(name).type) for name in self.columns)
        self._kept(dict(zip(self.columns, empty, strict=True)), 0)  # whether it can be asked at all

    def mask(self, batch: pa.RecordBatch) -> BoolArray:
        """Whether it is true, a value for each row; false where it is null. Raises InputError where it fails."""
        columns = {name: _legible(batch.column(name)) for name in self.columns}
        mask = np.zeros(batch.num_rows, np.bool_)
        mask[self._kept(columns, batch.num_rows)] = True
        return mask

    def _kept(self, columns: dict[str, Any], rows: int) -> list[int]:
        self._duckdb.register("input", pa.table({**columns, _NUMBER: pa.array(np.arange(rows))}))
        found = self._ask(self._query(_NUMBER))
        self._duckdb.unregister("input")
        return [number for (number,) in found]

    def _query(self, column: str) -> str:
        # On lines of its own: a comment at its end comments nothing else out.
        return f"SELECT {column} FROM input WHERE (\n{self._expression}\n)"  # noqa: S608

    def _parsed(self) -> Any:
        """The expression as DuckDB's tree."""
        ((text,),) = self._ask("SELECT json_serialize_sql(?)", [self._query(_NUMBER)])
        said = json.loads(text)
        if said["error"]:
            raise self._error(said["error_message"])
        first, *others = (each["node"] for each in said["statements"])
        condition = first.get("where_clause")  # a node of another type has none
        if others or not condition or first["modifiers"] or _of_class(said, "SUBQUERY"):
            raise self._error(_NO_CONDITION)
        if condition.get("function_name") == "row":  # nothing in the brackets, or several things
            raise self._error(_NO_CONDITION)
        return condition

    def _refuse_changing(self, parsed: Any) -> None:
        used = {each["function_name"] for each in _of_class(parsed, "FUNCTION")}
        if changing := sorted(used & {name for (name,) in self._ask(_CHANGING)}):
            raise self._error(
                f"{changing[0]}() is another each time, and rows are to be the same in every run; --sample "
                "chooses at random"
            )

    def _ask(self, query: str, values: list[str] | None = None) -> list[Any]:
        try:
            return list(self._duckdb.execute(query, values).fetchall())
        except duckdb.Error as error:
            raise self._error(str(error).strip().splitlines()[0]) from error

    def _error(self, said: str) -> InputError:
        return InputError(
            f"The filter {self._expression!r} cannot be applied: {said.rstrip('.!')}. Write it in DuckDB's SQL over "
            f"the columns {self._columns}."
        )


def _of_class(tree: Any, name: str) -> list[dict[str, Any]]:
    """The nodes of a kind in a tree of JSON."""
    if isinstance(tree, list):
        return [found for each in tree for found in _of_class(each, name)]
    if not isinstance(tree, dict):
        return []
    return [*([tree] if tree.get("class") == name else []), *_of_class(list(tree.values()), name)]


def _legible(column: Any) -> Any:
    """The column, with what is no UTF-8 in it as it is shown: DuckDB has no strings of other bytes."""
    if not (pat.is_string(column.type) or pat.is_large_string(column.type) or pat.is_string_view(column.type)):
        return column
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        texts = column.cast(pa.large_binary()).to_pylist()
        return pa.array(
            [None if text is None else text.decode("utf-8", "replace") for text in texts], pa.large_string()
        )
    return column
