"""Short trainings at equal time, one choice of the recipe changed in each: what to spend a long run on.

    .venv/bin/python benchmarks/recipes.py run scratch --text 'TEXT*.parquet' --minutes 6 [VARIANT ...]
    .venv/bin/python benchmarks/recipes.py run warm --start ENCODER --text WIKIPEDIA --text FICTION ... [VARIANT ...]
    .venv/bin/python benchmarks/recipes.py table

There are two comparisons: of models that begin with random weights, and of those that begin from an encoder, whose text
is given in the order of `recipes/english.toml`. `run` trains the base for as many steps as it makes in the given
minutes, and each variant (all, where none is named) for as many as it makes in the same time, and measures -log p of
the same held-out words, whatever the vocabulary. Variants whose result is in --out already are left alone. A variant's
steps are timed beside the base's, on one thread and in processor time, so that other work on the machine hardly
matters. `table` writes docs/results/recipes.json, which keeps what it has of a comparison without results in --out.
"""

import json
import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from maskedge_export.corpora.packing import prepare_corpus
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.evaluation.bootstrap import perplexity_ratio
from maskedge_export.evaluation.whole_words import masked_words, word_losses
from maskedge_export.recipe import Recipe
from maskedge_export.recipe_file import load_recipe
from maskedge_export.training.trainer import TrainingOptions, train

ROOT = Path(__file__).parents[1]
PROBE_STEPS, UNTIMED_STEPS = 12, 4

Changes = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A base and its variants."""

    recipe: str
    """The recipe in recipes/ that the comparison was for."""
    base: Changes
    """What the base has otherwise, because the trainings are short."""
    variants: dict[str, tuple[str, Changes]]
    """Name -> what changes, in words and options."""

    def options(self, name: str, files: tuple[str, ...], start: str) -> Recipe:
        """A variant's recipe."""
        recipe = load_recipe(ROOT / "recipes" / self.recipe)
        given: Changes = {"corpus": {"files": files}, "model": {"start": start}}
        for changes in (self.base, given, self.variants[name][1]):
            for section, options in changes.items():
                recipe = replace(recipe, **{section: replace(getattr(recipe, section), **options)})
        return recipe


ONE_PHASE = {"length_shares": (1.0,), "mask_rates": (), "warm_start": 0.0}

COMPARISONS = {
    "scratch": Comparison(
        recipe="english_small.toml",
        base={
            "tokenizer": {"vocab_size": 12288},
            "schedule": {"lengths": (64,), **ONE_PHASE},
            "run": {"batch_tokens": 4096},
        },
        variants={
            "base": ("384 wide, 6 layers, 12,288 entries, 30 % masked, Muon, 4,096 tokens a step, rows of 64", {}),
            "vocabulary-8k": ("8,192 entries", {"tokenizer": {"vocab_size": 8192}}),
            "vocabulary-16k": ("16,384 entries", {"tokenizer": {"vocab_size": 16384}}),
            "wider": (
                "4 layers of 512",
                {"model": {"hidden_size": 512, "num_layers": 4, "num_heads": 8, "intermediate_size": 768}},
            ),
            "deeper": (
                "12 layers of 256",
                {"model": {"hidden_size": 256, "num_layers": 12, "num_heads": 4, "intermediate_size": 512}},
            ),
            "mask-15": ("15 % masked", {"masking": {"rate": 0.15}}),
            "mask-45": ("45 % masked", {"masking": {"rate": 0.45}}),
            "mask-only": (
                "every target becomes [MASK], none a random token",
                {"masking": {"mask_share": 1.0, "random_share": 0.0}},
            ),
            "bert-layout": (
                "post-norm, learned positions, no gate",
                {"model": {"layout": "bert", "intermediate_size": 1152}},
            ),
            "adamw": ("AdamW for all weights", {"optimizer": {"name": "adamw"}}),
            "batch-8k": ("8,192 tokens a step", {"run": {"batch_tokens": 8192}}),
            "batch-2k": ("2,048 tokens a step", {"run": {"batch_tokens": 2048}}),
            "rate-half": (
                "half the learning rates",
                {"optimizer": {"learning_rate": 1e-3, "muon_learning_rate": 0.01}},
            ),
            "rate-double": (
                "twice the learning rates",
                {"optimizer": {"learning_rate": 4e-3, "muon_learning_rate": 0.04}},
            ),
            "length-128": ("rows of 128 tokens", {"schedule": {"lengths": (128,)}}),
            "causal-start": ("GPT-BERT's objectives for the first half", {"schedule": {"warm_start": 0.5}}),
        },
    ),
    "warm": Comparison(
        recipe="english.toml",
        base={
            "optimizer": {"learning_rate": 3e-4, "muon_learning_rate": 0.004},
            "schedule": {"decay_share": 0.3},
            "run": {"batch_tokens": 4096, "micro_batches": 1, "threads": 1},
        },
        variants={
            "base": (
                "all-MiniLM-L6-v2, ends of words, 30 % masked, Muon 0.004, AdamW 3e-4, 4,096 tokens a step of 128",
                {},
            ),
            "tokens": (
                "tokens masked one by one, whatever word they are of",
                {"masking": {"whole_word": False, "word_ends": False}},
            ),
            "whole-words": ("whole words masked, never their ends alone", {"masking": {"word_ends": False}}),
            "adamw": ("AdamW for all weights", {"optimizer": {"name": "adamw"}}),
            "rate-double": (
                "twice the learning rates",
                {"optimizer": {"learning_rate": 6e-4, "muon_learning_rate": 0.008}},
            ),
            "mask-15": ("15 % masked", {"masking": {"rate": 0.15}}),
            "length-64": ("rows of 64 tokens", {"schedule": {"lengths": (64,)}}),
            "no-fiction": ("no fiction", {"corpus": {"shares": (1.0, 0.0, 1.0, 6.0, 4.0)}}),
            "batch-8k": ("8,192 tokens a step", {"run": {"batch_tokens": 8192}}),
        },
    ),
}

app = typer.Typer(add_completion=False)


@app.command()
def run(
    comparison: Annotated[str, typer.Argument()],
    variants: Annotated[list[str] | None, typer.Argument()] = None,
    text: Annotated[list[str] | None, typer.Option()] = None,
    start: Annotated[str, typer.Option()] = "",
    minutes: Annotated[float, typer.Option()] = 6.0,
    out: Annotated[Path, typer.Option()] = ROOT / "build" / "recipes",
) -> None:
    """Train variants and write a result file for each."""
    torch.set_num_threads(1)  # so that processor time is what an idle machine would take
    compared, out, cache = COMPARISONS[comparison], out / comparison, out / "cache"
    out.mkdir(parents=True, exist_ok=True)
    files = tuple(text or ())
    for name in dict.fromkeys(["base", *(variants or compared.variants)]):
        result = out / f"{name}.json"
        if not result.exists():
            recipe, base = (compared.options(each, files, start) for each in (name, "base"))
            steps = steps_in(minutes, base, out, cache) if name == "base" else steps_like(base, recipe, out, cache)
            figures = measure(recipe, steps, cache, out / name)
            result.write_text(json.dumps({"minutes": minutes, **figures}))
            print(name, {key: value for key, value in figures.items() if key != "losses"}, flush=True)


def steps_in(minutes: float, recipe: Recipe, out: Path, cache: Path) -> int:
    """How many steps a recipe makes in so many minutes of one thread."""
    return round(60 * minutes / step_seconds(recipe, cache, out / "probe"))


def steps_like(base: Recipe, recipe: Recipe, out: Path, cache: Path) -> int:
    """How many steps a recipe makes in the time that the base took for its own: both are timed now."""
    base_steps = json.loads((out / "base.json").read_text())["steps"]
    first, own, last = (step_seconds(each, cache, out / "probe") for each in (base, recipe, base))
    return round(base_steps * (first + last) / 2 / own)


def measure(recipe: Recipe, steps: int, cache: Path, scratch: Path) -> dict[str, Any]:
    """Train for so many steps, and score the held-out words."""
    trained = train(timed(recipe, steps), TrainingOptions(scratch, cache=cache))
    assert trained
    checkpoint = load_checkpoint(str(trained.model))
    held_out = prepare_corpus(recipe, cache).held_out
    encoder = checkpoint.text_encoder
    words = masked_words(held_out, encoder)
    assert isinstance(checkpoint.encoder, Encoder)  # as all that is trained here
    losses = word_losses(checkpoint.encoder, words, encoder.mask_id)
    shutil.rmtree(scratch)
    return {
        "steps": steps,
        "million_tokens": steps * recipe.run.batch_tokens / 1e6,
        "million_weights": sum(weight.numel() for weight in checkpoint.model.parameters()) / 1e6,
        "threads": torch.get_num_threads(),
        "losses": {f"{word.start} {word.sentence}": loss for word, loss in zip(words, losses, strict=True)},
    }


def step_seconds(recipe: Recipe, cache: Path, scratch: Path) -> float:
    """Mean seconds of a step; causal ones, which predict every token, take longer than masked ones."""
    schedule = recipe.schedule
    masked = probe(replace(recipe, schedule=replace(schedule, warm_start=0.0)), cache, scratch)
    if not schedule.warm_start:
        return masked
    causal = probe(replace(recipe, schedule=replace(schedule, warm_start=1.0, causal_share=1.0)), cache, scratch)
    share = schedule.warm_start * schedule.causal_share
    return share * causal + (1 - share) * masked


def probe(recipe: Recipe, cache: Path, scratch: Path) -> float:
    """Seconds of processor time that a step takes once everything is compiled."""
    times: list[float] = []
    options = TrainingOptions(scratch, cache=cache, on_log=lambda _: times.append(time.process_time()))
    short = timed(recipe, PROBE_STEPS)
    train(replace(short, run=replace(short.run, log_every=1)), options)
    shutil.rmtree(scratch)
    return float(np.median(np.diff(times)[UNTIMED_STEPS:-1]))


def timed(recipe: Recipe, steps: int) -> Recipe:
    """The recipe for so many steps, measured and saved only at the end."""
    schedule = replace(recipe.schedule, steps=steps, warmup=max(1, min(100, steps // 10)))
    return replace(recipe, schedule=schedule, run=replace(recipe.run, evaluate_every=steps, save_every=steps))


@app.command()
def table(
    out: Annotated[Path, typer.Option()] = ROOT / "build" / "recipes",
    json_file: Annotated[Path, typer.Option("--json")] = ROOT / "docs" / "results" / "recipes.json",
) -> None:
    """Write the comparisons, each on the words that all its variants have."""
    known = json.loads(json_file.read_text())
    found = {name: compared_figures(name, out / name) for name in COMPARISONS if (out / name / "base.json").exists()}
    tables = {name: found.get(name) or known[name] for name in COMPARISONS if name in {**known, **found}}
    json_file.write_text(json.dumps(tables, indent=1) + "\n")


def compared_figures(name: str, results: Path) -> dict[str, Any]:
    """A comparison's table: every variant that has a result."""
    variants = COMPARISONS[name].variants
    files = {variant: results / f"{variant}.json" for variant in variants}
    found = {variant: json.loads(file.read_text()) for variant, file in files.items() if file.exists()}
    shared = sorted(set.intersection(*(set(result["losses"]) for result in found.values())))
    base = np.array([found["base"]["losses"][key] for key in shared])
    rows = [
        {"variant": variant, "change": variants[variant][0], **figures(result, shared, base)}
        for variant, result in found.items()
    ]
    return {"words": len(shared), "minutes": found["base"]["minutes"], "variants": rows}


def figures(result: dict[str, Any], shared: list[str], base: Any) -> dict[str, Any]:
    """A variant's word perplexity, and the paired 95 % bootstrap interval of its ratio to the base's."""
    losses = np.array([result["losses"][key] for key in shared])
    ratio = perplexity_ratio(base, losses)
    return {
        **{key: value for key, value in result.items() if key not in ("losses", "minutes")},
        "word_perplexity": math.exp(losses.mean()),
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
    }


if __name__ == "__main__":
    app()
