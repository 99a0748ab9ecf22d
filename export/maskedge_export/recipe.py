"""A training recipe: frozen options, each with what is allowed of it."""

import math
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from maskedge_export.errors import RecipeError

__all__ = [
    "Bounds",
    "CorpusRecipe",
    "MaskingRecipe",
    "ModelRecipe",
    "OptimizerRecipe",
    "Recipe",
    "RunRecipe",
    "ScheduleRecipe",
    "TokenizerRecipe",
    "check_bound",
    "check_bounds",
    "require",
]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The lowest and the highest number allowed; no number at all, nan, never is."""

    lowest: float
    highest: float = math.inf
    above: bool = False
    """Whether the lowest itself is not allowed."""
    below: bool = False
    """Whether the highest itself is not allowed."""

    def hold(self, value: float) -> bool:
        """Whether a number is allowed."""
        high_enough = value > self.lowest if self.above else value >= self.lowest
        return high_enough and (value < self.highest if self.below else value <= self.highest)

    def __str__(self) -> str:
        if self.highest == math.inf:
            return f"{'a number above' if self.above else 'at least'} {self.lowest:g}"
        return f"{'above ' if self.above else ''}{self.lowest:g} to {'below ' if self.below else ''}{self.highest:g}"


def check_bounds(section: str, options: object) -> None:
    """Raises RecipeError, naming the key, its value and what is allowed, for an option outside the Bounds that its
    field is annotated with, or a list of which one is."""
    for key, hint in get_type_hints(type(options), include_extras=True).items():
        for allowed in getattr(hint, "__metadata__", ()):
            check_bound(f"{section}.{key}", getattr(options, key), allowed)


def check_bound(name: str, value: Any, allowed: Bounds) -> None:
    """Raises RecipeError for a number that is not allowed, or a tuple with one."""
    for number in value if isinstance(value, tuple) else (value,):
        if not allowed.hold(number):
            raise RecipeError(f"{name} is {number}; give {allowed}")


SHORTEST = 3
"""Tokens of a row: what stands before a text, a token, what follows it."""
POSITIVE, NOT_NEGATIVE = Bounds(1), Bounds(0)
SHARE, PART = Bounds(0, 1), Bounds(0, 1, above=True, below=True)
FACTOR = Bounds(0, 1, below=True)
RATE, SCALE = Bounds(0, math.inf, below=True), Bounds(0, math.inf, above=True, below=True)


def require(allowed: bool, message: str) -> None:
    """Raises RecipeError with the message for what is not allowed."""
    if not allowed:
        raise RecipeError(message)


@dataclass(frozen=True, slots=True)
class TokenizerRecipe:
    """[tokenizer]"""

    kind: Literal["wordpiece", "bpe", "word"] = "wordpiece"
    """WordPiece as BERT's, byte-level BPE as RoBERTa's, or whole words."""
    vocab_size: Annotated[int, POSITIVE] = 12_288
    """Entries, special tokens included."""
    lowercase: bool = True
    min_frequency: Annotated[int, NOT_NEGATIVE] = 2
    """A piece or word seen less often in the corpus gets no entry."""
    sample: Annotated[float, Bounds(0, 1, above=True)] = 1.0
    """Share of the documents that the tokenizer is trained on."""
    existing: str = ""
    """A directory or Hub id whose tokenizer is used as it is, instead of training one."""

    def __post_init__(self) -> None:
        check_bounds("tokenizer", self)


@dataclass(frozen=True, slots=True)
class CorpusRecipe:
    """[corpus]: files, or a data set of the Hub."""

    files: tuple[str, ...] = ()
    """Text (a text a line), JSONL or Parquet files, or globs of them; relative to the recipe."""
    dataset: str = ""
    """A data set's Hub id, or its directory, read by the `datasets` library."""
    configuration: str = ""
    """Which of the data set's configurations; of a data set that has one only, that."""
    split: str = "train"
    """The data set's split."""
    revision: str = "main"
    """The data set's branch, tag or commit."""
    text_column: str = "text"
    """Where Parquet, JSONL and data sets hold a text; a column `document` beside it says which belong together."""
    held_out: Annotated[float, FACTOR] = 0.005
    """Share of the documents that is kept out of training to measure perplexity on."""
    shares: Annotated[tuple[float, ...], RATE] = ()
    """How often each entry of `files`, or of the command's --text, is read: 3 three times, 0.4 two documents in five;
    empty: all once."""

    def __post_init__(self) -> None:
        check_bounds("corpus", self)
        require(not (self.shares and self.dataset), "corpus.shares are of corpus.files, and exclude corpus.dataset")
        require(
            not self.files or len(self.shares) in (0, len(self.files)),
            f"corpus.shares has {len(self.shares)} numbers for {len(self.files)} files or globs of text; give one for "
            "each, or none",
        )
        require(not (self.files and self.dataset), "corpus.files and corpus.dataset exclude each other; give one")


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """[model]"""

    layout: Literal["modernbert", "bert"] = "modernbert"
    """ModernBERT: pre-norm, rotary positions, gated MLP, no biases. BERT: post-norm, learned positions, biases."""
    hidden_size: Annotated[int, POSITIVE] = 384
    num_layers: Annotated[int, POSITIVE] = 6
    num_heads: Annotated[int, POSITIVE] = 6
    intermediate_size: Annotated[int, POSITIVE] = 768
    max_length: Annotated[int, Bounds(SHORTEST)] = 512
    """Longest text in tokens that the model takes."""
    rope_theta: Annotated[float, SCALE] = 10_000.0
    """Base of ModernBERT's rotary frequencies."""
    initializer_range: Annotated[float, SCALE] = 0.02
    """Standard deviation of the weights at the start."""
    start: str = ""
    """An encoder's checkpoint to train on, a directory (relative to the recipe) or a Hub id, instead of random weights:
    tokenizer, layout and sizes are its own, and a masked-language-model head that it lacks is made anew."""

    def __post_init__(self) -> None:
        check_bounds("model", self)
        require(
            self.hidden_size % self.num_heads == 0,
            f"model.hidden_size {self.hidden_size} is no multiple of model.num_heads {self.num_heads}",
        )
        head = self.hidden_size // self.num_heads
        require(
            self.layout != "modernbert" or head % 2 == 0,
            f"model.hidden_size {self.hidden_size} and model.num_heads {self.num_heads} make heads of {head}; rotary "
            "positions need an even number",
        )


@dataclass(frozen=True, slots=True)
class MaskingRecipe:
    """[masking]"""

    rate: Annotated[float, PART] = 0.3
    """Share of a row's tokens that are to be predicted."""
    mask_share: Annotated[float, SHARE] = 0.8
    """Of those, the share that becomes the mask token ..."""
    random_share: Annotated[float, SHARE] = 0.1
    """... and the share that becomes a random ordinary token; the rest stays as it is."""
    whole_word: bool = False
    """Mask all the pieces of a word together: the words of `mlm score --method whole_word`. They are found while the
    corpus is packed, which takes four times as long (0.6 million characters a second)."""
    word_ends: bool = False
    """Of a whole word, mask only the pieces from one drawn at random to the last: what is asked of a model that scores
    or fills a word piece by piece."""

    def __post_init__(self) -> None:
        check_bounds("masking", self)
        require(
            self.whole_word or not self.word_ends, "masking.word_ends are of whole words; set masking.whole_word too"
        )
        require(
            self.mask_share + self.random_share <= 1 + 1e-9,
            f"masking.mask_share {self.mask_share} and masking.random_share {self.random_share} "
            "must add up to at most 1",
        )


@dataclass(frozen=True, slots=True)
class OptimizerRecipe:
    """[optimizer]"""

    name: Literal["muon", "adamw"] = "muon"
    """Muon trains the layers' matrices and AdamW everything else, or AdamW trains all."""
    learning_rate: Annotated[float, RATE] = 1e-3
    """AdamW's, at the top of the schedule."""
    muon_learning_rate: Annotated[float, RATE] = 0.02
    """Muon's, at the top of the schedule."""
    weight_decay: Annotated[float, RATE] = 0.01
    """Of matrices; norms and biases have none."""
    betas: Annotated[tuple[float, ...], FACTOR] = (0.9, 0.98)
    """AdamW's two averages."""
    momentum: Annotated[float, FACTOR] = 0.95
    """Muon's."""
    clip: Annotated[float, RATE] = 1.0
    """Largest norm of the gradient; 0 never clips."""

    def __post_init__(self) -> None:
        check_bounds("optimizer", self)
        require(len(self.betas) == 2, f"optimizer.betas has {len(self.betas)} numbers; give 2")


@dataclass(frozen=True, slots=True)
class ScheduleRecipe:
    """[schedule]"""

    steps: Annotated[int, POSITIVE] = 10_000
    """Optimizer steps of the whole run."""
    warmup: int = 100
    """Steps in which the learning rate rises from 0; no more than there are."""
    decay: Literal["cosine", "linear", "trapezoidal"] = "trapezoidal"
    """How it falls to 0 again; trapezoidal: constant first, then linear."""
    decay_share: Annotated[float, SHARE] = 0.3
    """Share of the steps in which a trapezoidal schedule falls."""
    lengths: Annotated[tuple[int, ...], Bounds(SHORTEST)] = (128,)
    """Row lengths in tokens, one phase of training after another."""
    length_shares: Annotated[tuple[float, ...], SHARE] = (1.0,)
    """Share of the steps that each phase has."""
    mask_rates: Annotated[tuple[float, ...], PART] = ()
    """Share of the tokens to predict in each phase; empty: masking.rate in all."""
    warm_start: Annotated[float, SHARE] = 0.0
    """Share of the steps, the first ones, in which a token is predicted from the position before it ..."""
    causal_share: Annotated[float, SHARE] = 0.5
    """... and the share of those in which nothing is masked and each next token is predicted from those before it."""

    def __post_init__(self) -> None:
        check_bounds("schedule", self)
        check_bound("schedule.warmup", self.warmup, Bounds(0, self.steps))
        require(
            len(self.mask_rates) in (0, len(self.lengths)),
            f"schedule.mask_rates is {list(self.mask_rates)}; give one for each phase, or none",
        )
        require(
            len(self.lengths) == len(self.length_shares) > 0 and abs(sum(self.length_shares) - 1) < 1e-6,
            "schedule.lengths and schedule.length_shares must have one entry a phase, and the shares add up to 1",
        )


@dataclass(frozen=True, slots=True)
class RunRecipe:
    """[run]"""

    seed: Annotated[int, NOT_NEGATIVE] = 0
    """Of the first weights, the order of the rows and the masks."""
    batch_tokens: Annotated[int, POSITIVE] = 8192
    """Tokens of one optimizer step, over all devices."""
    micro_batches: Annotated[int, POSITIVE] = 1
    """Parts that a device works through before a step: less memory, the same result."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 where the hardware multiplies it, fp32 elsewhere."""
    weights: Literal["float32", "float16"] = "float32"
    """What the model at the end is stored as; float16 is half as large, and loaded as float32 all the same."""
    compile: bool = False
    """Compile the model first: about a minute, then faster."""
    devices: Annotated[int, POSITIVE] = 1
    threads: Annotated[int, NOT_NEGATIVE] = 0
    """CPU threads of a device; 0: as many as torch takes. A tiny model is faster on one."""
    log_every: Annotated[int, POSITIVE] = 20
    """Steps between lines of the log."""
    evaluate_every: Annotated[int, POSITIVE] = 500
    """Steps between measurements of the held-out perplexity."""
    save_every: Annotated[int, POSITIVE] = 500
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        check_bounds("run", self)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that makes a model, except the text."""

    tokenizer: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    corpus: CorpusRecipe = field(default_factory=CorpusRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    masking: MaskingRecipe = field(default_factory=MaskingRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)

    def __post_init__(self) -> None:
        longest = max(self.schedule.lengths)
        require(
            bool(self.model.start) or longest <= self.model.max_length,
            f"schedule.lengths has {longest}, longer than model.max_length {self.model.max_length}",
        )
        parts = self.run.micro_batches * self.run.devices
        for length in self.schedule.lengths:
            rows = self.run.batch_tokens // length
            require(
                rows > 0 and rows % parts == 0,
                f"run.batch_tokens {self.run.batch_tokens} gives {rows} rows of {length} tokens, which do not fall "
                f"into {parts} equal parts (run.micro_batches x run.devices); give a multiple of {length * parts}",
            )

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON has it, defaults included."""
        return asdict(self)
