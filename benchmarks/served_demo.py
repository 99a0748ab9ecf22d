"""`mlm demo` as a process, for what measures it and takes its picture."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["serving_demo"]


@contextmanager
def serving_demo(model: str | None) -> Iterator[str]:
    """The address of a page of a bundle, of maskedge's own where None, which is served until the block ends."""
    command = [sys.executable, "-m", "maskedge", "demo", "--port", "0", *(["--model", model] if model else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout
            found = re.search(r"http://\S+", served.stdout.readline())
            assert found, "mlm demo did not start"
            yield found[0]
        finally:
            served.send_signal(signal.SIGINT)
