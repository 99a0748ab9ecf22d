"""How many threads PyTorch takes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_torch_thread"]


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """PyTorch runs each operation on one thread while the block runs: for what is so small that threads would wait for
    each other, and for what is called in several threads anyway."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
