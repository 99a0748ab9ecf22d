"""The precisions that a bundle may hold, and what each is for."""

from maskedge_export.errors import ExportError

__all__ = ["BOTH", "PRECISIONS", "parse_precisions"]

PRECISIONS = {
    "int8": "8-bit weights and activations: the fastest",
    "fp32": "as the checkpoint",
    "int8-avx2": "int8 with weights of 7 bits, for x86 CPUs without VNNI, where sums of 8-bit products saturate",
    "int8-weights": "weights of 8 bits in blocks of 32, activations rounded as they come: nearest to fp32",
    "int4-weights": "weights of 4 bits in blocks of 32: the smallest",
}
"""Each precision, and what it is for."""

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
