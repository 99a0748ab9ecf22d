"""The precisions that a bundle may hold, and what each is for."""

from maskedge_export.errors import ExportError

__all__ = ["BOTH", "DEFAULT_PRECISION", "PRECISIONS", "WHY_DEFAULT", "parse_precisions"]

PRECISIONS = {
    "int8-avx2": "8-bit activations and weights of 7 bits: as fast as int8, and right on every CPU",
    "int8": "8-bit weights and activations: nearer to fp32, but x86 CPUs without VNNI cut off its sums",
    "fp32": "as the checkpoint",
    "int8-weights": "weights of 8 bits in blocks of 32, activations rounded as they come: nearest to fp32",
    "int4-weights": "weights of 4 bits in blocks of 32: the smallest",
}
"""Each precision, and what it is for."""

DEFAULT_PRECISION = "int8-avx2"
"""What a checkpoint is exported as where nobody names a precision."""

WHY_DEFAULT = "weights of 7 bits are right on every CPU; sums with those of int8 saturate on x86 without VNNI"
"""Why it is that one."""

BOTH = {"both": ("int8", "fp32")}
"""Names that stand for several precisions."""


def parse_precisions(text: str) -> tuple[str, ...]:
    """The precisions named in a comma-separated list, each once; the first is the bundle's default.

    Raises ExportError for a name that is no precision.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PRECISIONS and name not in BOTH:
            raise ExportError(
                f"precision {name!r} is unknown; choose of {', '.join([*PRECISIONS, *BOTH])}, several with commas"
            )
    return tuple(dict.fromkeys(precision for name in names for precision in BOTH.get(name, (name,))))
