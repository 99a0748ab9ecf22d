"""Scored files without a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_scores import Rows, write_scored_file


@pytest.fixture
def write_scored(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows, whose missing columns are null, as NAME.scored.parquet."""

    def write(rows: Rows, name: str = "drawn", **options: Any) -> Path:
        return write_scored_file(tmp_path / f"{name}.scored.parquet", rows, **options)

    return write
