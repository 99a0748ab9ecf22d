"""CPUs that a process may use: what its affinity and its control group leave it."""

import os
from pathlib import Path

import pytest

from maskedge.bundle.threads import usable_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def cpus_with(cpu_max: Path, text: str) -> int:
    cpu_max.write_text(text)
    return usable_cpus(cpu_max)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000\n", 8),
        ("100000 100000\n", 1),
        ("150000 100000\n", 2),
        ("200000 100000\n", 2),
        ("1000 100000\n", 1),
        ("9900000 100000\n", 8),
        ("50000 50000", 1),
    ],
)
def test_a_quota_is_rounded_up_to_whole_cpus(tmp_path: Path, text: str, cpus: int) -> None:
    assert cpus_with(tmp_path / "cpu.max", text) == cpus


@pytest.mark.parametrize("text", ["", "garbage", "some words", "1 2 3", "100000 zero", "100000 0", "\x00"])
def test_what_is_no_quota_limits_nothing(tmp_path: Path, text: str) -> None:
    assert cpus_with(tmp_path / "cpu.max", text) == 8


def test_bytes_that_are_no_text_limit_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_bytes(b"\xff\xfe \xff")
    assert usable_cpus(tmp_path / "cpu.max") == 8


def test_without_a_control_group_the_affinity_decides(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "absent") == 8
    assert usable_cpus(tmp_path) == 8


def test_without_affinity_all_cpus_are_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cpus(tmp_path / "absent") == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path / "absent") == 1
