"""Memory in pages of 2 MB instead of 4 kB, where Linux gives them to those who ask.

A graph reads all its weights for every batch. In small pages those are thousands of addresses to look up, for which a
virtual machine looks twice, and in caches that it shares with neighbours: with busy ones a BERT-base's batch took 1.4
times as long in OpenVINO, and 1.6 in onnxruntime (docs/results/huge_pages.json).
"""

import ctypes
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock, Thread

from maskedge.arrays import Int64Array
from maskedge.bundle.engine import Graph, Outputs
from maskedge.bundle.padding import Padding
from maskedge.kernels.pages import HUGE_PAGE

__all__ = ["OnHugePages", "move_to_huge_pages", "worth_moving"]

MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
"""Advice by the numbers of Linux: to use huge pages from now on, and to move what is there (since Linux 6.1)."""

RESIDENT = 3 / 4
"""Share of a region that must be in memory to be moved: the rest of it becomes memory too. The stack of a thread, of
which little is, stays as it is."""

MOST_AT_ONCE = 1 << 30
"""Bytes that are moved at most: it takes some milliseconds for a huge page, and a process may hold other data."""

FIRST_AFTER = 1.0
"""Seconds that a graph has run when its memory is moved first: for a text or two it would not pay."""

REGION = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) *(.*)$")


class OnHugePages:
    """A graph whose memory is moved to huge pages, by a thread, once it has run for a second; and again, for what came
    since, whenever it has run for twice as long."""

    def __init__(
        self, graph: Graph, move: Callable[[], object], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.graph = graph
        self._move = move
        self._clock = clock
        self._ran, self._moved_after = 0.0, FIRST_AFTER / 2
        self._moving = Lock()

    @property
    def padding(self) -> Padding:
        """That of the graph."""
        return self.graph.padding

    def run(self, outputs: list[str], inputs: dict[str, Int64Array]) -> Outputs:
        """The outputs of these names, by name."""
        began = self._clock()
        found = self.graph.run(outputs, inputs)
        self._ran += self._clock() - began
        if self._ran >= 2 * self._moved_after and self._moving.acquire(blocking=False):
            self._moved_after = self._ran
            Thread(target=self._move_and_release, name="maskedge-huge-pages", daemon=True).start()
        return found

    def _move_and_release(self) -> None:
        try:
            self._move()
        finally:
            self._moving.release()


def move_to_huge_pages() -> None:
    """Moves this process's memory to huge pages, where that is worth it and Linux does."""
    left = MOST_AT_ONCE
    libc = ctypes.CDLL(None)
    for start, end in worth_moving(_memory()):
        if (size := end - start) <= left:
            left -= size
            for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):  # it may decline each, and then nothing is lost
                libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), advice)


def _memory() -> str:
    """What Linux says of this process's memory; nothing where it keeps that to itself."""
    try:
        return Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def worth_moving(smaps: str) -> Iterator[tuple[int, int]]:
    """Addresses of the first and after the last byte of what could be whole huge pages and is in small ones.

    `smaps` is what Linux says of a process's memory (https://man7.org/linux/man-pages/man5/proc_pid_smaps.5.html).
    """
    for region in filter(None, re.split(r"\n(?=[0-9a-f]+-)", smaps)):
        first, _, figures = region.partition("\n")
        found = REGION.match(first)
        if found is None or not _is_the_process_s_own(*found.groups()[2:]):
            continue
        start, end = (int(address, 16) for address in found.groups()[:2])
        whole = -(-start // HUGE_PAGE) * HUGE_PAGE, end // HUGE_PAGE * HUGE_PAGE
        resident, huge = (_size(name, figures) for name in ("Rss", "AnonHugePages"))
        if whole[0] < whole[1] and resident >= RESIDENT * (end - start) and resident - huge >= HUGE_PAGE:
            yield whole


def _size(name: str, figures: str) -> int:
    """Bytes of a region by a name of smaps."""
    found = re.search(rf"^{name}: +(\d+) kB$", figures, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _is_the_process_s_own(access: str, inode: str, name: str) -> bool:
    """Whether a region is memory that was asked for, and neither a file's nor shared."""
    return access == "rw-p" and inode == "0" and (name in ("", "[heap]") or name.startswith("[anon:"))
