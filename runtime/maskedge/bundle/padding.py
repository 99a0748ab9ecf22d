"""Which texts a graph lets share a batch, and the shapes that its batches have."""

from dataclasses import dataclass

__all__ = ["FREE_PADDING", "MASKS_PER_BATCH", "TOKENS_PER_BATCH", "UNPADDED", "Padding"]

TOKENS_PER_BATCH = 1024
"""Most tokens in a batch: enough to keep the CPU's multipliers busy, and so few that a layer's activations stay in its
caches."""

MASKS_PER_BATCH = 256
"""Most masks in a batch: at each the graph makes a distribution over the vocabulary, and 256 of those over
30,000 tokens take 31 MB."""


@dataclass(frozen=True, slots=True)
class Padding:
    """Texts of one group of lengths have the same bits when they are padded and share a batch. An engine that prepares
    itself for every shape anew is given few shapes: both lengths and rows are rounded up."""

    group: int = 1
    """Lengths are of one group where the quotients by this are equal."""
    step: int = 1
    """A part of the group: a batch's length is rounded up to the last of so many lengths."""
    row_bits: int = 64
    """Leading bits in which numbers of rows differ; by 4: 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22."""
    max_length: int = 1 << 62
    """The longest text that the model reads."""
    most: int = 128
    """Most tokens of padding in a batch: so many take about as long as what a batch costs beside its tokens."""
    tokens: int = TOKENS_PER_BATCH
    """Most tokens in a batch."""
    left_out: bool = False
    """Whether padding is not computed, so that a batch costs what its texts' own tokens do."""

    def length(self, longest: int) -> int:
        """Tokens of each row of a batch whose longest text has so many. The first length of a group stays: it fills
        registers, and is the fastest for its tokens."""
        if longest % self.group == 0:
            return longest
        return max(longest, min(longest // self.step * self.step + self.step - 1, self.max_length))

    def rows(self, count: int) -> int:
        """Rows of a batch of so many texts."""
        return -(-count // self._row_step(count)) * self._row_step(count)

    def full_rows(self, most: int) -> int:
        """Rows of the largest batch that has no more than `most`."""
        return most // self._row_step(most) * self._row_step(most)

    def _row_step(self, count: int) -> int:
        return 1 << max(0, count.bit_length() - self.row_bits)


UNPADDED = Padding()
"""Each text has a batch's length, and each row is a text."""

FREE_PADDING = Padding(group=1 << 62, left_out=True)
"""Padding is left out of what is computed, and any texts may share a batch."""
