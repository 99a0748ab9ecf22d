"""Bytes -> lines of text: the one door that text from outside comes in by, from a file or from standard input.

Text is UTF-8. Lines end with a line feed, or a carriage return and a line feed, and with nothing else: a text may hold
a U+2028 or a form feed. A byte-order mark at the very start is no text.
"""

from dataclasses import dataclass

from maskedge.errors import TextError
from maskedge.results import TextStatus

__all__ = ["Line", "legible"]

MARK = b"\xef\xbb\xbf"
WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
"""What UTF-16 and UTF-32 may begin with; the latter also with two bytes of zero before."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it was read."""

    number: int
    """The first is 1."""
    content: bytes
    """With its end, where it has one."""

    @property
    def text(self) -> str:
        """What it says. Raises TextError, naming the line and the byte, where it is not UTF-8."""
        content = self.content.removesuffix(b"\n").removesuffix(b"\r")
        if _looks_wide(content, first=self.number == 1):
            raise self._error(content[0], ", as text in UTF-16 has")
        try:
            return (content.removeprefix(MARK) if self.number == 1 else content).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._error(error.object[error.start], "") from error

    def _error(self, byte: int, hint: str) -> TextError:
        return TextError(
            TextStatus.INVALID_UNICODE,
            f"line {self.number} is not UTF-8 (byte 0x{byte:02x}{hint}); convert the text with iconv -t UTF-8",
        )


def _looks_wide(content: bytes, *, first: bool) -> bool:
    """Whether it is of a text whose characters take two or four bytes: such as these are UTF-8 too, where most of them
    are zero."""
    return (first and content.startswith(WIDE_MARKS)) or content.count(0) * 3 > len(content)


def legible(text: str | bytes) -> str:
    """The text with what cannot be read in it as `�`, for a message or for JSON."""
    if isinstance(text, str):
        return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text.decode("utf-8", "replace")
