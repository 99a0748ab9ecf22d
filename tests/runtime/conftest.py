"""What the runtime's tests share: the tiny bundle, the bundled model, texts drawn by seed, and an obvious reference."""

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from maskedge import Predictor
from maskedge.bundle.engine import graph_inputs

BUNDLE = Path(__file__).parents[1] / "tiny_bundle"
OUTPUTS = ["top_ids", "top_logprobs", "entropy", "target_logprobs", "target_ranks"]
WORDS = [
    "the",
    "water",
    "from",
    "every",
    "child",
    "flows",
    "through",
    "six",
    "Lands",
    ";",
    "bread,",
    "1984",
    ".",
    "zebras",
]

Arrays = dict[str, npt.NDArray[np.generic]]
Ask = Callable[..., Arrays]
DrawTexts = Callable[..., list[str]]


@pytest.fixture(scope="session")
def bundle() -> Path:
    return BUNDLE


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(BUNDLE, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def tiny() -> Predictor:
    """The tiny model in int8."""
    return Predictor.load(BUNDLE, precision="int8", threads=2)


@pytest.fixture(scope="session", params=["int8", "fp32"])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    """The tiny model in each precision."""
    return Predictor.load(BUNDLE, precision=request.param, threads=2)


@pytest.fixture(scope="session")
def english() -> Predictor:
    """The model that the package ships."""
    return Predictor.load(threads=2)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """The tiny model's tokenizer, without the runtime around it."""
    return Tokenizer.from_file(str(BUNDLE / "tokenizer.json"))


@pytest.fixture(scope="session")
def draw_texts() -> DrawTexts:
    """Texts of 1 to 25 words, of which some are masked."""

    def draw(seed: int, *, masks: Sequence[int], count: int = 24) -> list[str]:
        chance = random.Random(seed)
        return [_draw_text(chance, chance.choice(masks)) for _ in range(count)]

    return draw


def _draw_text(chance: random.Random, masks: int) -> str:
    words = chance.choices(WORDS, k=chance.randint(max(1, masks), 25))
    for index in chance.sample(range(len(words)), masks):
        words[index] = "[MASK]"
    return " ".join(words)


@pytest.fixture(scope="session")
def ask() -> Ask:
    """The reference: one query, straight to the graph; outputs without their batch axis."""

    def run(
        predictor: Predictor, ids: Sequence[int], masks: Sequence[int], targets: Sequence[int], *, top_k: int
    ) -> Arrays:
        inputs = graph_inputs([ids], [masks], [[[target] for target in targets]], top_k)
        return {name: values[0] for name, values in predictor.graph.run(OUTPUTS, inputs).items()}

    return run


@pytest.fixture(scope="session")
def distribution(ask: Ask, tokenizer: Tokenizer) -> Callable[[Predictor, str], npt.NDArray[np.float32]]:
    """Log-probabilities of the whole vocabulary at each mask of a text: [masks, vocabulary], nats."""

    def compute(predictor: Predictor, text: str) -> npt.NDArray[np.float32]:
        ids = tokenizer.encode(text).ids
        masks = [index for index, token in enumerate(ids) if token == tokenizer.token_to_id("[MASK]")]
        outputs = ask(predictor, ids, masks, [0] * len(masks), top_k=tokenizer.get_vocab_size())
        logprobs = np.full(outputs["top_ids"].shape, np.nan, np.float32)
        np.put_along_axis(logprobs, np.asarray(outputs["top_ids"], np.int64), outputs["top_logprobs"], axis=1)
        return logprobs

    return compute
