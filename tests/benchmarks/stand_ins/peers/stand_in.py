"""A contender for tests: its best token is a text's length, and it does other things when a text asks for them."""

import os
import sys

from peers.contender import FILL, SCORE, Contender, LeftOutError, Model, Variants

__all__ = ["load", "prepare", "variants"]


def prepare(model: Model) -> None:
    if model.name == "unknown":
        raise LeftOutError("there is no such model")


def variants(model: Model) -> Variants:
    return {"one": (*FILL, *SCORE), "other": FILL, "wrong": FILL}


def load(model: Model, variant: str) -> Contender:
    sys.stdout.write("libraries print on standard output\n")
    sys.stdout.flush()
    return StandIn(model.threads, variant)


class StandIn:
    def __init__(self, threads: int, variant: str) -> None:
        self.threads, self.variant = threads, variant

    def fill(self, texts: list[str]) -> list[int]:
        if "die" in texts:
            os._exit(3)
        if "fail" in texts:
            raise ValueError("this cannot be filled\nas everybody knows")
        return [len(text) - (self.variant == "wrong" and "right" not in text) for text in texts]

    def score(self, texts: list[str]) -> list[float]:
        return [-1.5 * len(text) for text in texts]
