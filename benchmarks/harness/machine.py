"""What kind of machine this is, as far as speed depends on it."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from harness.processes import cores

from maskedge.bundle.cpu import cpu_features

__all__ = ["machine"]

FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm")
"""What CPUs multiply 8-bit integers and bf16 with."""


def machine() -> dict[str, object]:
    """Processor, what it can multiply with, cores that are used, memory, and kernel."""
    fields = dict(line.split(":", 1) for line in cpu_lines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    flags = named.get("flags", named.get("Features", "")).split()
    return {
        "processor": named.get("model name", platform.processor() or platform.machine()),
        "family": named.get("cpu family"),
        "model": named.get("model"),
        "instructions": usable(flags),
        "cores": cores(),
        "memory_gibibytes": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def usable(flags: Sequence[str]) -> list[str]:
    """What this process can multiply with: Linux may refuse it the tiles of AMX."""
    has_tiles = cpu_features().amx_int8
    return [flag for flag in FLAGS if flag in flags and (has_tiles or not flag.startswith("amx"))]


def cpu_lines() -> list[str]:
    """Of the first core."""
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.is_file() else []
