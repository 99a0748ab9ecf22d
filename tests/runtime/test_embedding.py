"""A predictor inside applications: streams, threads, asyncio, and processes that were forked or spawned."""

import asyncio
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from maskedge import Fill, Predictor, TextError
from maskedge.bundle.engine import EngineName, WatchedGraph
from maskedge.inference import streaming
from maskedge.inference.streaming import READ_AHEAD, READ_AHEAD_SECONDS, READ_AHEAD_SIZE

BUNDLE = Path(__file__).parents[1] / "tiny_bundle"
TEXTS = [f"the [MASK] water {'the ' * (number % 7)}{number}" for number in range(40)]


class Source:
    """An endless iterator that counts what is read of it."""

    def __init__(self, rest: str = "") -> None:
        self.read = 0
        self.rest = rest

    def __iter__(self) -> Iterator[str]:
        while True:
            self.read += 1
            yield f"the [MASK] {self.read}{self.rest}"


# Streams


def test_a_stream_is_filled_as_a_list_is(predictor: Predictor) -> None:
    assert list(predictor.fill_many(iter(TEXTS))) == predictor.fill(TEXTS)
    assert list(predictor.fill_many(TEXTS, top_k=2, targets="waters")) == predictor.fill(
        TEXTS, top_k=2, targets="waters"
    )
    assert list(predictor.fill_many([])) == []


@pytest.mark.parametrize("read_ahead", [1, 3, 64])
def test_no_more_is_read_than_allowed(tiny: Predictor, read_ahead: int) -> None:
    source = Source()
    results = tiny.fill_many(source, read_ahead=read_ahead)
    assert source.read == 0
    for taken in range(1, 10):
        assert next(results).text == f"the [MASK] {taken}"
        assert taken <= source.read < taken + read_ahead


def test_a_stream_of_long_texts_or_of_long_answers_holds_fewer(tiny: Predictor) -> None:
    rest = " water" * 3000
    long = Source(rest)
    next(tiny.fill_many(long))
    assert READ_AHEAD_SIZE <= long.read * len(rest) <= READ_AHEAD_SIZE + 2 * len(rest)
    ranked, top_k = Source(), tiny.bundle.manifest.vocab_size
    next(tiny.fill_many(ranked, top_k=top_k))
    assert ranked.read < READ_AHEAD_SIZE / top_k + 1 < READ_AHEAD


def test_texts_of_a_slow_source_are_answered_soon(tiny: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    monkeypatch.setattr(streaming, "monotonic", lambda: source.read * READ_AHEAD_SECONDS / 3)
    results = tiny.fill_many(source)
    for taken in range(1, 10):
        assert next(results).text == f"the [MASK] {taken}"
        assert taken <= source.read <= taken + 3


def test_texts_before_an_error_are_filled_in_batches(tiny: Predictor) -> None:
    runs: list[int] = []
    watched = replace(tiny, graph=WatchedGraph(tiny.graph, runs.append))
    texts = ["the [MASK] water"] * 600
    results = watched.fill_many([*texts, "no mask", *texts])
    assert list(islice(results, 600)) == tiny.fill(texts)
    with pytest.raises(TextError, match="text 600: No mask_token"):
        next(results)
    assert len(runs) < 30


def test_an_error_comes_after_the_results_before_it(tiny: Predictor) -> None:
    results = tiny.fill_many([*TEXTS[:5], "no mask", *TEXTS[5:]])
    assert list(islice(results, 5)) == tiny.fill(TEXTS[:5])
    with pytest.raises(TextError, match="text 5: No mask_token"):
        next(results)


def test_texts_are_numbered_from_the_beginning_of_the_stream(tiny: Predictor) -> None:
    with pytest.raises(TextError, match=r"text 40: "):
        list(tiny.fill_many([*TEXTS, "no mask"], read_ahead=7))


def test_a_source_that_fails_fails_after_what_it_gave(tiny: Predictor) -> None:
    def source() -> Iterator[str]:
        yield from TEXTS[:3]
        raise OSError("the disk is gone")

    results = tiny.fill_many(source())
    assert list(islice(results, 3)) == tiny.fill(TEXTS[:3])
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_wrong_arguments_are_found_before_anything_is_read(tiny: Predictor) -> None:
    source = Source()
    with pytest.raises(ValueError, match="top_k"):
        tiny.fill_many(source, top_k=-1)
    with pytest.raises(ValueError, match="read_ahead"):
        tiny.fill_many(source, read_ahead=0)
    with pytest.raises(ValueError, match="At least one target"):
        tiny.fill_many(source, targets=[])
    with pytest.raises(TypeError, match="iterable of texts"):
        tiny.fill_many("the [MASK]")
    assert source.read == 0


# Threads and asyncio


def test_threads_share_a_predictor(predictor: Predictor) -> None:
    expected = [predictor(text) for text in TEXTS]
    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(lambda _: [predictor(text) for text in TEXTS], range(8)):
            assert results == expected


def test_coroutines_wait_for_a_predictor_without_blocking(tiny: Predictor) -> None:
    async def main() -> list[list[Fill]]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        clock = asyncio.create_task(tick())
        fills = await asyncio.gather(*(asyncio.to_thread(tiny.fill, [text]) for text in TEXTS))
        clock.cancel()
        assert ticks > 0
        return fills

    assert [fill for (fill,) in asyncio.run(main())] == tiny.fill(TEXTS)


# Processes

FORKED = """
import os, sys
from maskedge import Predictor
predictor = Predictor.load(sys.argv[1], engine=sys.argv[2], threads=2, threads_per_batch=int(sys.argv[3]))
before = predictor.fill(["the [MASK]", "the [MASK] water"] * 40)
child = os.fork()
if child == 0:
    sys.exit(0 if predictor.fill(["the [MASK]", "the [MASK] water"] * 40) == before else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("threads_per_batch", [1, 3])
def test_a_forked_process_goes_on_with_its_predictor(engine: EngineName, threads_per_batch: int) -> None:
    warn = "error" if threads_per_batch == 1 else "ignore::DeprecationWarning"  # of any fork of a process with threads
    script = [sys.executable, "-W", warn, "-c", FORKED, str(BUNDLE), engine, str(threads_per_batch)]
    ran = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert (ran.stdout.strip(), ran.stderr) == ("0", "")


def test_a_spawned_process_is_given_a_predictor(tiny: Predictor) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(tiny.fill, (TEXTS[:3],)).get(timeout=60) == tiny.fill(TEXTS[:3])


def test_a_pickled_predictor_is_the_same(bundle: Path, engine: EngineName) -> None:
    opened = Predictor.load(bundle, precision="fp32", threads=3, threads_per_batch=2, engine=engine)
    predictor = opened.with_defaults(top_k=2, targets=["water", "the"])
    copy = pickle.loads(pickle.dumps(predictor))
    assert (copy.precision, copy.threads, copy.threads_per_batch, copy.engine) == ("fp32", 3, 2, engine)
    assert copy.call_defaults == predictor.call_defaults
    assert copy("the [MASK]") == predictor("the [MASK]")
