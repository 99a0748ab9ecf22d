"""The instructions for 8-bit integers that this CPU has, and this process may use."""

import ctypes
import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

__all__ = ["ARCH_PRCTL", "ARCH_REQ_XCOMP_PERM", "CpuFeatures", "cpu_features", "features_of", "linux_flags"]

PROC_CPUINFO = Path("/proc/cpuinfo")
FLAGS = {
    "avx2": {"avx2"},
    "avx512_vnni": {"avx512_vnni", "avx512vnni"},
    "avx_vnni": {"avx_vnni", "avxvnni"},
    "amx_int8": {"amx_int8"},
    "arm_dot_product": {"asimddp", "hw.optional.arm.feat_dotprod"},
    "arm_i8mm": {"i8mm", "hw.optional.arm.feat_i8mm"},
}
"""The flags, by Linux or by macOS, that stand for each feature of CpuFeatures."""
SYSCTL = {
    "x86_64": ("machdep.cpu.features", "machdep.cpu.leaf7_features"),
    "arm64": ("hw.optional.arm.FEAT_DotProd", "hw.optional.arm.FEAT_I8MM"),
}
"""What macOS's `sysctl` is asked for, by architecture."""
X86 = ("x86_64", "amd64", "i386", "i686")
ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XTILEDATA = 158, 0x1023, 18
"""The system call by which a program asks for AMX's tiles (https://docs.kernel.org/arch/x86/xstate.html)."""


@dataclass(frozen=True, slots=True)
class CpuFeatures:
    """Which of the instructions that decide how 8-bit integers are multiplied a CPU has."""

    architecture: str
    """As `platform.machine()` says: `x86_64`, `aarch64`, `arm64`, `AMD64`."""
    known: bool
    """Whether the operating system said which instructions there are; if not, all of the following are False."""
    avx2: bool = False
    avx512_vnni: bool = False
    avx_vnni: bool = False
    amx_int8: bool = False
    arm_dot_product: bool = False
    arm_i8mm: bool = False

    @property
    def int8_saturates(self) -> bool:
        """Whether sums of two u8 * s8 products are cut off at 16 bits (2 * 255 * 127 = 64,770 > 32,767).

        They are on x86 CPUs without VNNI, where onnxruntime multiplies with `vpmaddubsw`. Weights of 7 bits make sums
        that are small enough. False where the CPU is not known.
        """
        vnni = self.avx512_vnni or self.avx_vnni or self.amx_int8
        return self.known and self.architecture.lower() in X86 and not vnni

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features that it has."""
        return tuple(name for name in FLAGS if getattr(self, name))


@cache
def cpu_features() -> CpuFeatures:
    """The features of this machine's CPU that this process may use: Linux gives AMX's tiles to those who ask."""
    machine = platform.machine()
    flags = _macos_flags(machine) if platform.system() == "Darwin" else linux_flags(PROC_CPUINFO)
    features = features_of(machine, flags)
    return replace(features, amx_int8=features.amx_int8 and _are_tiles_given())


def _are_tiles_given() -> bool:
    """Whether Linux lets this process use AMX's tiles, for which it is asked."""
    return bool(ctypes.CDLL(None).syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0)


def features_of(machine: str, flags: Iterable[str]) -> CpuFeatures:
    """The features that an operating system's flags stand for; not known where there are no flags."""
    lowered = {flag.lower() for flag in flags}
    has = {name: not lowered.isdisjoint(spellings) for name, spellings in FLAGS.items()}
    return CpuFeatures(machine, bool(lowered), **has)


def linux_flags(cpuinfo: Path) -> list[str]:
    """The flags of the first CPU in Linux's /proc/cpuinfo; none where there is no such file."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, values = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return values.split()
    except OSError:
        pass
    return []


def _macos_flags(machine: str) -> list[str]:
    """The machine, the words of `sysctl`'s lists of features, and the names of its features that are 1."""
    import subprocess  # takes longer than all of Linux's answer

    try:
        answer = subprocess.run(["/usr/sbin/sysctl", *SYSCTL[machine]], capture_output=True, text=True, timeout=5)
    except (KeyError, OSError, subprocess.TimeoutExpired):
        return []
    flags = [machine]
    for line in answer.stdout.splitlines():
        name, _, values = line.partition(":")
        flags += [name] if values.strip() == "1" else values.split()
    return flags
