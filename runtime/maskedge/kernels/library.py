"""The compiled kernels, and the structures that they take: those of the .c files, member by member."""

import ctypes
from ctypes import POINTER, Structure, c_float, c_int32, c_size_t, c_void_p
from functools import cache
from pathlib import Path

__all__ = [
    "LIBRARY",
    "AttentionCall",
    "BatchCall",
    "Call",
    "DistributionCall",
    "EmbeddingCall",
    "GatheringCall",
    "GridCall",
    "NormalizationCall",
    "ProductCall",
    "ProgramCall",
    "ProjectionCall",
    "RoundingCall",
    "RowRoundingCall",
    "TakingCall",
    "kernels",
]

LIBRARY = Path(__file__).with_name("kernels.so")
"""Where the compiled kernels are, if there are any."""


class GridCall(Structure):
    """Grid of vectors.h."""

    _fields_ = [
        ("scale", c_float),
        ("inverse_scale", c_float),
        ("zero_point", c_int32),
        ("lowest", c_int32),
        ("highest", c_int32),
    ]


class RoundingCall(Structure):
    """Rounding of vectors.h."""

    _fields_ = [
        ("levels", c_void_p),
        ("rest", c_void_p),
        ("factors", c_void_p),
        ("columns", c_size_t),
        ("grid", GridCall),
        ("rest_grid", GridCall),
    ]


class ProductCall(Structure):
    """Product of product.h."""

    _fields_ = [
        ("levels", c_void_p),
        ("weights", c_void_p),
        ("rows", c_void_p),
        ("inner", c_size_t),
        ("outer", c_size_t),
        ("scales", c_void_p),
        ("shifts", c_void_p),
        ("row_factors", c_void_p),
        ("bias", c_void_p),
        ("added", c_void_p),
        ("first", c_void_p),
        ("out", c_void_p),
        ("out_rows", c_size_t),
        ("normalization", c_void_p),
        ("has_gelu", c_int32),
        ("has_amx", c_int32),
        ("rounding", RoundingCall),
    ]


class ProjectionCall(Structure):
    """Projection of attention.h."""

    _fields_ = [("numbers", c_void_p), ("stride", c_size_t), ("product", c_void_p), ("room", c_size_t)]


class AttentionCall(Structure):
    """Attention of attention.h."""

    _fields_ = [
        ("queries", ProjectionCall),
        ("keys", ProjectionCall),
        ("values", ProjectionCall),
        ("batch", c_void_p),
        ("at_masks", c_int32),
        ("has_amx", c_int32),
        ("heads", c_size_t),
        ("width", c_size_t),
        ("head_width", c_size_t),
        ("scale", c_float),
        ("out", c_void_p),
        ("scratch", c_void_p),
        ("scratch_bytes", c_size_t),
        ("rounding", RoundingCall),
    ]


class NormalizationCall(Structure):
    """Normalization of normalization.h."""

    _fields_ = [
        ("numbers", c_void_p),
        ("added", c_void_p),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("out", c_void_p),
        ("rows", c_void_p),
        ("width", c_size_t),
        ("epsilon", c_float),
        ("rounding", RoundingCall),
    ]


class RowRoundingCall(Structure):
    """RowRounding of rows.c."""

    _fields_ = [
        ("numbers", c_void_p),
        ("row_factors", c_void_p),
        ("rows", c_void_p),
        ("width", c_size_t),
        ("least", c_float),
        ("rounding", RoundingCall),
    ]


class EmbeddingCall(Structure):
    """Embedding of rows.c."""

    _fields_ = [
        ("batch", c_void_p),
        ("tokens", c_void_p),
        ("token_scales", c_void_p),
        ("position_rows", c_void_p),
        ("out", c_void_p),
        ("normalization", c_void_p),
        ("width", c_size_t),
    ]


class TakingCall(Structure):
    """Taking of rows.c."""

    _fields_ = [
        ("batch", c_void_p),
        ("numbers", c_void_p),
        ("out", c_void_p),
        ("width", c_size_t),
    ]


class GatheringCall(Structure):
    """Gathering of rows.c."""

    _fields_ = [
        ("rows", c_void_p),
        ("gathered", c_void_p),
        ("source", c_void_p),
        ("to", c_void_p),
        ("bytes", c_size_t),
        ("in_blocks", c_int32),
    ]


class DistributionCall(Structure):
    """Distribution of distribution.h."""

    _fields_ = [
        ("logits", c_void_p),
        ("stride", c_size_t),
        ("tokens", c_size_t),
        ("entropies", c_void_p),
        ("count", c_size_t),
        ("values", c_void_p),
        ("places", c_void_p),
        ("targets", c_size_t),
        ("target_ids", c_void_p),
        ("target_values", c_void_p),
        ("larger", c_void_p),
    ]


class BatchCall(Structure):
    """Batch of batch.h."""

    _fields_ = [
        ("ids", c_void_p),
        ("positions", c_void_p),
        ("rows_of_masks", c_void_p),
        ("starts", c_void_p),
        ("mask_starts", c_void_p),
        ("tokens", c_size_t),
        ("masks", c_size_t),
        ("texts", c_size_t),
    ]


class Call(Structure):
    """Call of run.c."""

    _fields_ = [("kernel", c_void_p), ("argument", c_void_p)]


class ProgramCall(Structure):
    """Program of run.c."""

    _fields_ = [
        ("calls", c_void_p),
        ("count", c_size_t),
        ("for_each", c_size_t),
        ("current", c_void_p),
        ("most", c_size_t),
        ("gathered", c_size_t),
        ("seconds", c_void_p),
    ]


@cache
def kernels() -> ctypes.CDLL:
    """The compiled kernels, for CPUs with AVX512-VNNI. Raises OSError where there are none."""
    library = ctypes.CDLL(str(LIBRARY))
    for name, taken in STRUCTURES.items():
        size_of = getattr(library, f"size_of_{name}")
        size_of.restype = c_size_t
        if size_of() != ctypes.sizeof(taken):
            raise OSError(f"{LIBRARY} was compiled from other sources; install maskedge again")
    for name, types in FUNCTIONS.items():
        getattr(library, name).argtypes = types
        getattr(library, name).restype = None
    library.scratch_of_attention.argtypes = [c_size_t, c_size_t]
    library.scratch_of_attention.restype = c_size_t
    library.make_gelu_table()
    process = ctypes.CDLL(None)
    library.use_threads(*(ctypes.cast(each, c_void_p) for each in (process.pthread_create, process.pthread_join)))
    return library


CALLS = {
    "multiply": ProductCall,
    "attend_texts": AttentionCall,
    "normalize_rows": NormalizationCall,
    "round_rows": RowRoundingCall,
    "embed_rows": EmbeddingCall,
    "take_rows": TakingCall,
    "gather_rows": GatheringCall,
}
"""What each kernel takes."""

STRUCTURES = {**CALLS, "describe_rows": DistributionCall, "run_batches": ProgramCall, "batch": BatchCall}

FUNCTIONS = {
    "describe_rows": [POINTER(DistributionCall), c_size_t, c_size_t],
    "run_batches": [
        POINTER(ProgramCall),
        POINTER(BatchCall),
        c_size_t,
        POINTER(DistributionCall),
        c_size_t,
    ],
    "use_threads": [c_void_p, c_void_p],
    "make_gelu_table": [],
    "pack_weights": [c_void_p, c_size_t, c_size_t, c_size_t, c_size_t, c_void_p, c_void_p],
}
