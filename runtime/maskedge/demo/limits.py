"""What one visitor may ask for, so that many of them and big inputs do no harm."""

__all__ = [
    "FAST_AT_ONCE",
    "KEPT_SECONDS",
    "MAX_BODY",
    "MAX_CHARS",
    "MAX_DISK",
    "MAX_FILE",
    "MAX_FILES_WAITING",
    "MAX_MEMORY",
    "MAX_ROWS",
    "MAX_SECONDS",
    "MAX_SHOWN",
    "MAX_TOP_K",
    "MAX_WAITING",
    "SLOW_AT_ONCE",
    "SWEEP_SECONDS",
]

MAX_CHARS = 1000
"""Of a text that is filled or scored: English has 200 words of these, whose scores take seconds on two CPUs."""
MAX_TOP_K = 500
"""Predictions that are shown for a mask."""
MAX_SHOWN = 40
"""Tokens of a heat map: more cannot be told apart."""

MAX_BODY = 256 << 10
"""Bytes of a request that brings no file."""
MAX_FILE = 5 << 20
"""Bytes of an uploaded file."""
MAX_DISK = 256 << 20
"""Bytes of all visitors' files together: no file is taken while there are more."""
MAX_ROWS = 2000
"""Rows of a file that are scored."""
MAX_SECONDS = 120
"""That the scoring of a file may take."""
MAX_MEMORY = 3 << 30
"""Bytes that it may take: a small Parquet file may hold much text. What draws the report reserves over 1 GiB."""
KEPT_SECONDS = 900
"""That a visitor's files are kept, where the page stays open and nobody removes them."""
SWEEP_SECONDS = 60
"""From one look for files that are too old to the next."""

FAST_AT_ONCE = 4
"""Questions that are answered at once: a few, so that the model runs while another's answer is written."""
SLOW_AT_ONCE = 2
"""Questions that are answered at once for which the model reads a text as often as it has words."""
MAX_WAITING = 200
"""Questions that wait for an answer; who asks then is told to try again."""
MAX_FILES_WAITING = 20
"""Files that wait to be scored, one after the other."""
