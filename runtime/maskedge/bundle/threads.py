"""How many CPUs this process may really use."""

import math
import os
from pathlib import Path

__all__ = ["usable_cpus"]

CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_cpus(cpu_max: Path = CGROUP_CPU_MAX) -> int:
    """CPUs that the process's affinity mask and its control group's quota (cgroup v2) leave it, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota(cpu_max)))


def _quota(cpu_max: Path) -> int:
    """Whole CPUs of a quota such as `150000 100000` (µs of CPU time per µs), rounded up; a large number without one."""
    unlimited = 1 << 16
    try:
        limit, period = cpu_max.read_text().split()
        return unlimited if limit == "max" else math.ceil(int(limit) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return unlimited
