"""A graph is asked of several batches at once; its answers come in order, and no sooner than they are needed."""

import threading
from itertools import islice
from random import Random
from time import sleep
from typing import Any

import numpy as np
import pytest

from maskedge.arrays import Float64Array
from maskedge_export import in_order
from maskedge_export.errors import UnsupportedModelError
from maskedge_export.evaluation.logprobs import model_logprobs, threaded
from maskedge_export.evaluation.masked_tokens import MaskedBatch


@pytest.fixture(autouse=True)
def _three_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_order, "usable_cpus", lambda: 3)


def batch(number: int) -> MaskedBatch:
    return MaskedBatch(*[np.full((1, 1), number)] * 3)


def number_of(masked: MaskedBatch) -> Float64Array:
    return np.asarray(masked.input_ids, np.float64)


def test_answers_come_in_order_however_long_each_takes() -> None:
    delays = Random(0)

    def answer(masked: MaskedBatch) -> Float64Array:
        sleep(delays.random() / 100)
        return number_of(masked)

    assert [float(found[0, 0]) for found in threaded(answer)(map(batch, range(50)))] == list(range(50))


def test_as_many_are_asked_at_once_as_there_are_cpus() -> None:
    together = threading.Barrier(3, timeout=20)

    def answer(masked: MaskedBatch) -> Float64Array:
        together.wait()  # breaks unless three threads wait for each other
        return number_of(masked)

    assert len(list(threaded(answer)([batch(number) for number in range(6)]))) == 6


def test_no_more_is_read_than_keeps_the_threads_busy() -> None:
    read: list[int] = []

    def batches() -> Any:
        for number in range(100):
            read.append(number)
            yield batch(number)

    found = list(islice(threaded(number_of)(batches()), 10))
    assert len(found) == 10
    assert len(read) <= 10 + 3


def test_an_error_comes_where_its_answer_would_be() -> None:
    def answer(masked: MaskedBatch) -> Float64Array:
        if masked.input_ids.item() == 2:
            raise ValueError("the third")
        return number_of(masked)

    answers = threaded(answer)(map(batch, range(9)))
    assert [float(next(answers)[0, 0]) for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(answers)


def test_a_model_that_fails_is_one_line() -> None:
    def fail(ids: Any) -> Any:
        raise RuntimeError("index out of range\nin self")

    answers = model_logprobs(fail)([batch(3)])
    with pytest.raises(
        UnsupportedModelError, match=r"run the model on 1 texts of 1 tokens \(index out of range in self\)"
    ):
        next(answers)
