"""`mlm demo` with many visitors: how soon each sees a prediction.

    .venv/bin/python benchmarks/demo_load.py --out docs/results/demo_load.json

The visitors are one other process on the same machine, each with a connection of its own. It asks what the page asks
after a click: the prediction, and where visitors take their time, the words that matter and the attention too. A time
is from sending a request to having its whole answer. Writes the figures as JSON.
"""

import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from served_demo import serving_demo

from maskedge import Predictor
from maskedge.bundle.threads import usable_cpus
from maskedge.inference.words import word_spans

SENTENCES = (Path(__file__).parents[1] / "examples" / "sentences.txt").read_text(encoding="utf-8").splitlines()


class Visitor:
    """Somebody with the page open."""

    def __init__(self, number: int, address: tuple[str, int], model: str) -> None:
        self.address, self.model = address, model
        self.chance = random.Random(number)
        self.first: dict[tuple[str, bytes], bytes] = {}
        """The first answer to each question."""
        self.changed = 0
        """Later answers that were others."""

    async def come(self) -> None:
        """Connects."""
        self.reader, self.writer = await asyncio.open_connection(*self.address)

    async def click(self) -> float:
        """Masks a word of a sentence and waits for the prediction. Gives the seconds that it took."""
        self.text = self.chance.choice(SENTENCES)
        self.words = {"text": self.text, "masked": [self.chance.randrange(len(word_spans(self.text)))]}
        started = time.perf_counter()
        await self.ask("fill", self.text, self.words, self.model, 3, 0)
        return time.perf_counter() - started

    async def look(self) -> None:
        """Waits for what the page shows beside the prediction."""
        await self.ask("influence", self.words, self.model, 0)
        await self.ask("attention", self.words, self.model, 0, 1, "mean")

    async def ask(self, name: str, *values: Any) -> None:
        """A request and its answer."""
        body = json.dumps(values).encode()
        head = f"POST /ask/{name} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        found = re.search(r"content-length: (\d+)", answered, re.IGNORECASE)
        assert answered.startswith("HTTP/1.1 200 "), answered
        assert found, answered
        answer = await self.reader.readexactly(int(found[1]))
        self.changed += self.first.setdefault((name, body), answer) != answer


async def alone(visitors: Sequence[Visitor]) -> list[float]:
    """One after the other."""
    return [await visitors[0].click() for _ in range(200)]


async def at_once(visitors: Sequence[Visitor]) -> list[float]:
    """All click in the same moment, and again when all have their answers."""
    return [seconds for _ in range(10) for seconds in await asyncio.gather(*(each.click() for each in visitors))]


async def at_leisure(visitors: Sequence[Visitor], seconds: float = 20.0) -> list[float]:
    """Each looks at what it sees and clicks again after one second to three."""
    end = time.perf_counter() + seconds

    async def play(visitor: Visitor) -> list[float]:
        found = []
        while time.perf_counter() < end:
            await asyncio.sleep(visitor.chance.uniform(1, 3))
            found.append(await visitor.click())
            await visitor.look()
        return found

    return [seconds for found in await asyncio.gather(*map(play, visitors)) for seconds in found]


WAYS: dict[str, Callable[[Sequence[Visitor]], Awaitable[list[float]]]] = {
    "alone": alone,
    "at_once": at_once,
    "at_leisure": at_leisure,
}


async def measure(address: tuple[str, int], model: str, count: int) -> dict[str, dict[str, float]]:
    """The figures of each way to visit, in milliseconds."""
    visitors = [Visitor(number, address, model) for number in range(count)]
    found = {}
    for name, visit in WAYS.items():
        for visitor in visitors:
            await visitor.come()  # anew: the server closes connections that are idle
            await visitor.click()
        found[name] = summarize(await visit(visitors))
    return found


def summarize(seconds: Sequence[float]) -> dict[str, float]:
    """Their number and, in milliseconds, what is usual and what is not."""
    return {
        "answers": len(seconds),
        "median": 1000 * statistics.median(seconds),
        "p95": 1000 * statistics.quantiles(seconds, n=20)[-1],
        "max": 1000 * max(seconds),
    }


def main(
    visitors: Annotated[int, typer.Option()] = 50,
    model: Annotated[str | None, typer.Option(help="A bundle; the bundled model by default.")] = None,
    out: Annotated[Path, typer.Option()] = Path("build/demo_load.json"),
) -> None:
    """Measure, print a table, and write the figures."""
    name = Predictor.load(model).name
    with serving_demo(model) as address:
        host, port = address.removeprefix("http://").split(":")
        times = asyncio.run(measure((host, int(port)), name, visitors))
    figures = {"model": name, "cpus": usable_cpus(), "visitors": visitors, "milliseconds": times}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    show(times)


def show(times: dict[str, dict[str, float]]) -> None:
    """The table."""
    table = Table("Visitors", "Answers", "Median, ms", "95 % below, ms", "Longest, ms")
    for name, row in times.items():
        table.add_row(name.replace("_", " "), *(f"{value:,.0f}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
