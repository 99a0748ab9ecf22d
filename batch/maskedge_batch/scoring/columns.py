"""The columns that a job reads and those that it adds, checked before any work starts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.types as pat

from maskedge_batch.errors import InputError
from maskedge_batch.scoring.spark_schema import Metadata, extended

__all__ = [
    "SCORE_FIELDS",
    "Columns",
    "check_texts",
    "choose_columns",
    "plain_type",
    "scored_schema",
    "target_bytes",
    "text_bytes",
    "unread_target",
]

DEFAULT_TARGET = "target"
"""The target column that is used without being asked for, where the input has it."""

Column: TypeAlias = "pa.Array[Any]"

PREDICTION = pa.struct([("token", pa.int32()), ("token_str", pa.string()), ("score", pa.float64())])
TOKEN = pa.struct([("token_str", pa.string()), ("logprob", pa.float32())])  # as exact: what graphs say is float32

SCORE_FIELDS = pa.schema(
    [
        pa.field("mlm_status", pa.string(), nullable=False),  # "ok" or the reason why the row was set aside
        pa.field("mlm_predictions", pa.list_(pa.list_(PREDICTION))),  # [masks, top_k], best first
        pa.field("mlm_entropy", pa.list_(pa.float64())),  # [masks], nats
        # [masks], nats: the sum of the log-probabilities of a target's pieces; null: no target at that mask
        pa.field("mlm_target_logprob", pa.list_(pa.float64())),
        pa.field("mlm_target_rank", pa.list_(pa.int32())),  # [masks]; 1: the most probable token; null: several pieces
        pa.field("mlm_target_pieces", pa.list_(pa.int32())),  # [masks]; how many tokens the target is
        pa.field("mlm_perplexity", pa.float64()),  # exp(-mean logprob) of the row's targets, or of all its tokens
        pa.field("mlm_token_count", pa.int32()),  # special tokens left out
        pa.field("mlm_truncated", pa.bool_()),  # whether the text was cut to the model's length around its masks
        pa.field("mlm_pll", pa.float64()),  # pseudo-log-likelihood of a text without masks, nats
        pa.field("mlm_word_count", pa.int32()),  # of a text without masks, as `maskedge.inference.words` counts
        pa.field("mlm_character_count", pa.int32()),  # code points of a text without masks
        pa.field("mlm_tokens", pa.list_(TOKEN)),  # those of a text without masks, nats; null unless asked for
    ]
)

# Binary types with the layout of each string type: the cast copies nothing, and bytes that are not UTF-8 then spoil
# their own row only.
_BINARY = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a job reads."""

    text: str
    """The column with the texts."""
    target: str | None
    """Holds one string for one mask, or a list of strings, one per mask; None: no targets are known."""
    asked: bool = True
    """Whether somebody said which column holds targets, or that none does. Otherwise one holds them for masks, and what
    stands in it beside a text without a mask is something else, such as a label."""


def choose_columns(schema: pa.Schema, text: str, target: str | None = None, *, targets: bool = True) -> Columns:
    """Returns the columns to read after checking that the input has them, that they hold strings, and that the
    columns to be added do not exist yet. `target` None takes the column "target" where there is one that can hold
    targets, and `targets` False none.

    Raises InputError.
    """
    _refuse_ambiguous_names(schema)
    _require(schema, text, "text", "--text-column", lists=False)
    if target is not None:
        _require(schema, target, "target", "--target-column", lists=True)
    if target is not None or not targets:
        return Columns(text, target)
    default = DEFAULT_TARGET in schema.names and _holds_targets(schema.field(DEFAULT_TARGET).type)
    return Columns(text, DEFAULT_TARGET if default else None, asked=False)


def check_texts(schema: pa.Schema, columns: Mapping[str, str]) -> None:
    """Checks that the input has columns of strings, and none of those to be added; each column comes with the option
    that names another. Raises InputError."""
    _refuse_ambiguous_names(schema)
    for name, option in columns.items():
        _require(schema, name, "text", option, lists=False)


def unread_target(schema: pa.Schema, columns: Columns) -> str | None:
    """Says that the column "target", which nobody asked for, holds no targets; None where there is nothing to say."""
    if columns.asked or columns.target or DEFAULT_TARGET not in schema.names:
        return None
    return f"The column {DEFAULT_TARGET!r} holds {schema.field(DEFAULT_TARGET).type}, so it is not read as targets."


def scored_schema(schema: pa.Schema, provenance: bytes | None = None) -> pa.Schema:
    """The input's schema with the score columns behind its own and, under the metadata key `maskedge`, the
    provenance of the scores. The input's own metadata are kept, but that Spark's list of columns gets the new ones."""
    said: Metadata = {} if provenance is None else {"maskedge": provenance}
    return extended(schema, SCORE_FIELDS, said)


def text_bytes(column: Column) -> list[bytes | None]:
    """The texts of a string column as bytes, since some may not be UTF-8."""
    values: list[bytes | None] = _as_binary(column).to_pylist()
    return values


def target_bytes(column: Column) -> list[tuple[bytes | None, ...]]:
    """The targets of each row as bytes; an empty tuple where a row has none. Empty strings count as null."""
    rows = _as_binary(column).to_pylist()
    listed = (row if isinstance(row, list) else [row] for row in rows)
    return [tuple(word or None for word in row) if any(row) else () for row in listed]


def _as_binary(column: Column) -> Column:
    plain = plain_type(column.type)
    return column.cast(plain).cast(_binary_type(plain))


def plain_type(kind: Any) -> Any:
    """The type of the values where they are dictionary-encoded, in lists too; otherwise the type itself."""
    if pat.is_dictionary(kind):
        return kind.value_type
    if _is_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    return kind


def _binary_type(plain: Any) -> Any:
    if _is_list(plain):
        return pa.large_list(_binary_type(plain.value_type))
    return _BINARY.get(plain, pa.binary())  # a column of nulls has no type


def _is_list(kind: Any) -> bool:
    return bool(pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind))


def _holds_strings(kind: Any) -> bool:
    return not _is_list(kind) and plain_type(kind) in _BINARY


def _holds_targets(kind: Any) -> bool:
    inner = kind.value_type if _is_list(kind) else kind
    return _holds_strings(inner) or bool(pat.is_null(inner))


def _refuse_ambiguous_names(schema: pa.Schema) -> None:
    repeated = [name for name, count in Counter(schema.names).items() if count > 1]
    if repeated:
        raise InputError(
            f"The input has more than one column named {_quoted(repeated)}: rename them so that each is unique.\n"
            f"{_listing(schema)}"
        )
    taken = [name for name in schema.names if name.startswith("mlm_")]
    if taken:
        raise InputError(
            f"The input already has {_quoted(taken)}, and names that begin with mlm_ are the ones this job adds: "
            f"score the file they were added to, or drop or rename them.\n{_listing(schema)}"
        )


def _require(schema: pa.Schema, name: str, role: str, option: str, *, lists: bool) -> None:
    if name not in schema.names:
        raise InputError(
            f"The input has no {role} column {name!r}: name one of its columns with {option}.\n{_listing(schema)}"
        )
    kind = schema.field(name).type
    if _holds_targets(kind) if lists else _holds_strings(kind):
        return
    wanted = "strings, or lists of strings with one for each mask," if lists else "strings"
    raise InputError(
        f"The {role} column {name!r} holds {kind} where {wanted} are needed: name another with {option}, "
        f"or cast it.\n{_listing(schema)}"
    )


def _listing(schema: pa.Schema) -> str:
    if not schema.names:
        return "It has no columns."
    return "Its columns: " + ", ".join(f"{field.name} ({field.type})" for field in schema)


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names))
