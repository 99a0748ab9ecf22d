"""Quantiles of rows that are many more than are drawn at a time, beside numpy's sort."""

import math

import duckdb
import numpy as np
import pytest

from maskedge_batch.reports import quantiles as module
from maskedge_batch.reports.quantiles import quantiles

ROWS = 20_000
SHARES = [1e-9, 0.0001, 0.05, 0.25, 0.5, 0.75, 0.95, 1]
VALUES = {
    "all different": np.random.default_rng(0).normal(size=ROWS) ** 3,
    "huge": np.exp(np.random.default_rng(1).uniform(-300, 700, ROWS)),
    "three values": np.random.default_rng(2).integers(0, 3, ROWS).astype(float),
    "one value": np.full(ROWS, 7.5),
    "one value but for two": np.concatenate([[-math.inf], np.zeros(ROWS - 2), [math.inf]]),
    "many infinite ones": np.where(np.arange(ROWS) % 3 > 0, math.inf, np.arange(ROWS)),
}


@pytest.mark.parametrize("drawn", [2, 50, 1000, ROWS])
@pytest.mark.parametrize("name", VALUES)
def test_they_are_the_values_at_their_places_when_sorted(
    name: str, drawn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE", drawn)
    values = VALUES[name]
    with duckdb.connect() as database:
        database.register("given", {"value": values})
        database.execute("CREATE TABLE numbers AS SELECT value FROM given")
        found = quantiles(database, "value", "numbers", SHARES)
    ordered = np.sort(values)
    assert found == [ordered[math.ceil(share * ROWS) - 1] for share in SHARES]
