"""A report's three forms as files that appear together."""

from collections.abc import Mapping
from pathlib import Path

from maskedge_batch.outputs.publish import naming_failed_writes, staged

__all__ = ["publish_pages", "stem_of"]


def stem_of(output: Path | None, default: Path) -> Path:
    """Where a report goes, without a suffix: `output` as the user gave it, which may be a directory or end in .html;
    `default` where there is none."""
    if output is None:
        return default
    if output.is_dir():
        return output / default.name
    return output.with_suffix("") if output.suffix in (".html", ".md", ".json") else output


def publish_pages(stem: Path, pages: Mapping[str, str]) -> dict[str, Path]:
    """Writes each page as STEM.SUFFIX: all of them or none.

    Args:
        stem: The path without a suffix.
        pages: By their suffixes, such as "html".

    Returns:
        The paths, by suffix.

    Raises:
        OutputError: There is no such directory, or it cannot be written to.
        WriteError: A page could not be written to the end.
    """
    finals = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in pages}
    with staged(*finals.values()) as drafts:
        for draft, final, page in zip(drafts, finals.values(), pages.values(), strict=True):
            with naming_failed_writes(final):
                draft.write_text(page, encoding="utf-8")
    return finals
