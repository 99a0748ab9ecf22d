"""How far a run is: told to who asked, batch by batch."""

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

__all__ = ["OnProgress", "watched"]

OnProgress = Callable[[int, int], None]
"""Called with how many rows are done and how many there are."""


def watched(
    batches: Iterable[pa.RecordBatch], rows: int, on_progress: OnProgress, check: Callable[[], None]
) -> Iterator[pa.RecordBatch]:
    """The batches, of so many rows. Progress is told of each when it is done with.

    Args:
        batches: Of the input, or of what has its rows.
        rows: How many there are.
        on_progress: Is told.
        check: Called then too; to stop, it raises.
    """
    done = 0
    on_progress(done, rows)
    for batch in batches:
        yield batch
        done += batch.num_rows
        on_progress(done, rows)
        check()
