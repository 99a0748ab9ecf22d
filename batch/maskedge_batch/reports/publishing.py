"""A report's three forms as files that appear together."""

from collections.abc import Mapping

from maskedge_batch.storage.faults import naming_failed_writes
from maskedge_batch.storage.locations import Location, Place, locate
from maskedge_batch.storage.publishing import staged

__all__ = ["publish_pages", "stem_of"]

SUFFIXES = (".html", ".md", ".json")


def stem_of(output: str | None, default: Location) -> Location:
    """Where a report goes, without a suffix: `output` as the user gave it, which may be a directory or end in .html;
    `default` where there is none. Raises LocationError."""
    if output is None:
        return default
    place = locate(output)
    if output.endswith("/") or place.is_directory():
        return place / default.name
    return place.with_name(place.name.removesuffix(place.suffix)) if place.suffix in SUFFIXES else place


def publish_pages(stem: Place, pages: Mapping[str, str]) -> dict[str, Location]:
    """Writes each page as STEM.SUFFIX: all of them or none.

    Args:
        stem: The place without a suffix.
        pages: By their suffixes, such as "html".

    Returns:
        The places, by suffix.

    Raises:
        OutputError: There is no such directory, or it cannot be written to.
        WriteError: A page could not be written to the end.
    """
    place = locate(stem)
    finals = {suffix: place.with_name(f"{place.name}.{suffix}") for suffix in pages}
    with staged(*finals.values()) as drafts:
        for draft, final, page in zip(drafts, finals.values(), pages.values(), strict=True):
            with naming_failed_writes(final):
                draft.write_text(page, encoding="utf-8")
    return finals
