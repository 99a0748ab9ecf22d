"""What an observer says of the activations that it was shown."""

from pathlib import Path

import numpy as np
import pytest

from maskedge_export.quantization.observers import CHANNELS_TOGETHER, ROWS_TOGETHER, ActivationObserver


@pytest.mark.parametrize("channels", [1, 7, CHANNELS_TOGETHER, CHANNELS_TOGETHER + 3])
def test_a_hessian_is_the_sum_of_each_rows_products(channels: int, tmp_path: Path) -> None:
    rng, observer = np.random.default_rng(0), ActivationObserver()
    assert observer.hessian is None
    batches = [rng.standard_normal((3, ROWS_TOGETHER // 4, channels)).astype(np.float32) for _ in range(3)]
    expected = np.zeros((channels, channels))
    for batch in batches:
        observer.add(batch, rng)
        rows = batch.reshape(-1, channels).astype(np.float64)
        expected += np.einsum("ri,rj->ij", rows, rows)
        hessian = observer.hessian  # asked before all is seen, too
        assert hessian is not None
        np.testing.assert_allclose(hessian, expected, atol=1e-5 * expected.max())
        assert (hessian == hessian.T).all()
    observer.store_hessian(tmp_path / "hessian.safetensors")
    assert observer.hessian is not None
    assert (observer.hessian == hessian).all()
