"""CPUs that qemu-user emulates, and how a Python program is started on one."""

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import which

__all__ = ["CPUS", "EmulatedCpu", "emulated"]


@dataclass(frozen=True, slots=True)
class EmulatedCpu:
    """A kind of CPU."""

    title: str
    architecture: str
    """As qemu's programs are named."""
    model: str
    """Of `qemu-ARCHITECTURE -cpu help`."""
    cpuinfo: str
    """Of /proc/cpuinfo, what programs look for: qemu shows them the real machine's, and onnxruntime, told of another
    kind of CPU than it runs on, ends at import."""

    @property
    def emulator(self) -> str:
        """The program that emulates it."""
        return f"qemu-{self.architecture}"


def _arm(part: str, features: str) -> str:
    """An ARM CPU; its number in ARM's own list."""
    return f"processor\t: 0\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {part}\n"


CPUS = {
    "haswell": EmulatedCpu(
        "Intel Haswell",
        "x86_64",
        "Haswell",
        "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 60\nstepping\t: 1\n"
        "flags\t\t: sse sse2 ssse3 sse4_1 sse4_2 avx avx2 fma f16c bmi1 bmi2\n",
    ),
    "neoverse-n1": EmulatedCpu(
        "ARM Neoverse N1", "aarch64", "neoverse-n1", _arm("0xd0c", "fp asimd aes crc32 atomics fphp asimdhp asimddp")
    ),
    "cortex-a72": EmulatedCpu("ARM Cortex-A72", "aarch64", "cortex-a72", _arm("0xd08", "fp asimd aes crc32")),
}
"""x86 with AVX2 but without VNNI, where sums of 8-bit products saturate; ARM with dot products, and without."""


def emulated(cpu: EmulatedCpu, arm: Path, directory: Path) -> tuple[list[str], list[Path]]:
    """What starts a Python there, but for the program, and the folders with its packages.

    Args:
        cpu: The kind of CPU.
        arm: Where `make` put a Python for ARM.
        directory: For what a program there finds in place of `/`. Everything else it finds where it is.
    """
    root = directory / cpu.model
    _write(root / "proc" / "cpuinfo", cpu.cpuinfo)
    for name in ("possible", "present"):
        _write(root / "sys" / "devices" / "system" / "cpu" / name, "0\n")
    emulator = [which(cpu.emulator) or cpu.emulator, "-cpu", cpu.model, "-L", str(root)]
    if cpu.architecture == platform.machine():
        return [*emulator, sys.executable], []
    for name in ("lib", "usr"):
        (root / name).symlink_to(arm.resolve() / name)
    return [*emulator, str(root / "usr" / "bin" / "python3")], [arm / "site-packages"]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")
