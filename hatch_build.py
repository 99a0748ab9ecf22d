"""Compiles the runtime's kernels as the package is built or installed, where this machine can; everything else runs
without them."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["CustomBuildHook", "compile_kernels"]

KERNELS = Path(__file__).parent / "runtime/maskedge/kernels"
LIBRARY = "kernels.so"

INSTRUCTIONS = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "fma", "amx-tile", "amx-int8")
"""That a compiler must know; a CPU without AVX512-VNNI never gets to run them, nor one without AMX those of AMX."""

FLAGS = (
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-ffp-contract=off",
    "-Wall",
)
"""Without contraction a compiler does not choose where a sum is rounded."""

TAG = "py3-none-manylinux_2_27_x86_64"
"""Any Python 3 whose C library is at least the one with the youngest function that is called, logf."""


class CustomBuildHook(BuildHookInterface[Any]):
    """What hatchling calls before it makes a wheel, or installs this tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the compiled kernels to a wheel. An sdist has their sources."""
        if self.target_name != "wheel":
            return
        try:
            library = compile_kernels(KERNELS / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            self.app.display_warning(f"The kernels were not compiled; onnxruntime runs everything: {reason}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = TAG
        build_data["force_include"][str(library)] = f"maskedge/kernels/{LIBRARY}"


def compile_kernels(library: Path) -> Path:
    """Where the library is, compiled from its sources. Raises OSError where there is no compiler for this kind of
    machine, and CalledProcessError where it fails."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise OSError("they are for Linux on x86-64")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise OSError(f"there is no C compiler {compiler[0]}")
    fresh = library.with_suffix(f".{os.getpid()}.so")  # a process may have the old one open
    sources = sorted(map(str, KERNELS.glob("*.c")))
    switches = [f"-m{name}" for name in INSTRUCTIONS]
    command = [*compiler, *FLAGS, *switches, *sources, "-o", str(fresh), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return fresh.replace(library)
