"""A recipe and its text -> a trained masked language model: the loop, its log and its checkpoints."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from maskedge_export.corpora.batches import Batches
from maskedge_export.corpora.masking import IGNORED, MaskedRows
from maskedge_export.corpora.packing import PackedCorpus, prepare_corpus
from maskedge_export.encoders.checkpoint import Checkpoint, load_checkpoint, load_encoder
from maskedge_export.encoders.encoder import Encoder
from maskedge_export.encoders.pretrained import TrainedModel, begin_head, new_model, trainable
from maskedge_export.errors import RecipeError, TrainingError
from maskedge_export.evaluation.masked_tokens import MaskedBatch, masked_batches
from maskedge_export.evaluation.perplexity import Evaluation, evaluate
from maskedge_export.progress import Progress
from maskedge_export.recipe import ModelRecipe, Recipe, TokenizerRecipe
from maskedge_export.staging import staging
from maskedge_export.training.loss_plot import plot_loss
from maskedge_export.training.model_card import write_model_card
from maskedge_export.training.optimizers import learning_rate_factor, make_optimizers, set_learning_rate
from maskedge_export.training.run_directory import RunDirectory
from maskedge_export.training.snapshot import restore_optimizers, write_snapshot

__all__ = ["LogEntry", "TrainingOptions", "TrainingResult", "of_checkpoint", "train"]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of the log."""

    step: int
    """Steps done."""
    steps: int
    """Of the whole run."""
    loss: float
    """Mean masked cross-entropy of the steps since the line before, nats."""
    accuracy: float
    """Share of their masked tokens that were predicted."""
    learning_rate: float
    """AdamW's, of the last step."""
    tokens_per_second: float
    seconds_left: float
    held_out_perplexity: float | None
    """Masked perplexity on text kept out of training, where it was measured at this step."""


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Where a run is, and who is told about it."""

    out: Path
    """The run's directory: log, loss curve, checkpoints, and at the end the model."""
    resume: bool = False
    """Go on from the last checkpoint in `out`."""
    cache: Path | None = None
    """Where tokenizer and packed corpus are kept, for other runs too; in `out` by default."""
    start: Checkpoint | None = None
    """What to train on from; by default the recipe's `model.start`, or a new model of its size."""
    on_stage: Progress = lambda stage: None
    """Called with the name of each stage as it begins."""
    on_log: Callable[[LogEntry], None] = lambda entry: None
    """Called with each line of the log."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Where a run's model is, and how good it is."""

    model: Path
    """A Hugging Face checkpoint."""
    last: LogEntry | None
    """The last line of the log; None where a run had ended before."""
    held_out: Evaluation | None
    """How well the model predicts masked tokens of held-out text; None where no text was held out."""


def train(recipe: Recipe, options: TrainingOptions) -> TrainingResult | None:
    """Train a model, or go on training one, and write it to `out/model` with `log.jsonl` and `loss.png` beside it.

    Args:
        recipe: What is trained on what, and how, as `load_recipe` reads it.
        options: Where the run is, whether it goes on from its last checkpoint, and who is told about it.

    Of several devices' processes, only the first tells and returns what became of the run.

    Raises TrainingError, or one of its kinds, for a corpus or directory that cannot be used, and where the loss is no
    number any more.
    """
    directory = RunDirectory(options.out)
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    fabric = Fabric(devices=recipe.run.devices, precision=_precision(recipe.run.precision))
    if fabric.global_rank == 0:
        directory.check(resume=options.resume)
    fabric.launch()
    if not fabric.is_global_zero:
        options = TrainingOptions(options.out, options.resume, options.cache, options.start)
    if recipe.model.start:
        start = load_encoder(recipe.model.start)
        recipe, options = of_checkpoint(recipe, start), replace(options, start=start)
    with fabric.rank_zero_first():  # the others find what it has prepared
        cache = options.cache or options.out / "corpus"
        corpus = prepare_corpus(recipe, cache, options.on_stage)
        if fabric.is_global_zero:
            directory.begin(recipe, corpus.fingerprint, options.start.fingerprint if options.start else "")
    return _Run(recipe, options, directory, fabric, corpus).finish()


def of_checkpoint(recipe: Recipe, checkpoint: Checkpoint) -> Recipe:
    """The recipe with the checkpoint's tokenizer and length in place of its own. Raises RecipeError."""
    length, longest = checkpoint.max_length, max(recipe.schedule.lengths)
    if longest > length:
        raise RecipeError(
            f"schedule.lengths has {longest}, longer than the {length} tokens that {checkpoint.name} takes"
        )
    return replace(
        recipe,
        tokenizer=TokenizerRecipe(existing=str(checkpoint.path)),
        model=ModelRecipe(max_length=length),
    )


def _precision(name: str) -> Literal["bf16-mixed", "32-true"]:
    """Fabric's name for a recipe's precision."""
    if name == "auto":
        name = "bf16" if _multiplies_bf16() else "fp32"
    return "bf16-mixed" if name == "bf16" else "32-true"


def _multiplies_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # not in every torch that the package admits
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


class _Objective(nn.Module):
    """The loss of masked rows, in one module so that it is compiled whole."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, input_ids: Tensor, mask_positions: Tensor, targets: Tensor, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """Summed cross-entropy of the targets [batch, masks], nats, and how many of them are predicted."""
        logits = self.encoder(input_ids, mask_positions, causal).flatten(0, 1).float()
        flat = targets.flatten()
        loss = F.cross_entropy(logits, flat, ignore_index=IGNORED, reduction="sum")
        return loss, (logits.detach().argmax(-1) == flat).sum()


class _Run:
    """A run under way, on one of its devices."""

    def __init__(
        self, recipe: Recipe, options: TrainingOptions, directory: RunDirectory, fabric: Fabric, corpus: PackedCorpus
    ) -> None:
        self.recipe, self.options, self.directory, self.fabric = recipe, options, directory, fabric
        self.batches = Batches(corpus, recipe)
        self.held_out_batches = held_out_batches(corpus)
        self.start, self.model = self._model(directory.latest(), corpus)
        self.optimizers = make_optimizers(self.model.encoder, recipe.optimizer)
        objective = _Objective(self.model.encoder)
        if recipe.run.compile:
            objective.compile(dynamic=False)  # one graph for each length of rows
        self.objective, *_ = fabric.setup(objective, *self.optimizers)
        if latest := directory.latest():
            restore_optimizers(latest[1], self.optimizers)

    def _model(self, latest: tuple[int, Path] | None, corpus: PackedCorpus) -> tuple[int, TrainedModel]:
        """Steps done, and the model after them."""
        if latest:
            return latest[0], trainable(load_checkpoint(str(latest[1])))
        if self.options.start:
            return 0, self._started(self.options.start, corpus)
        torch.manual_seed(self.recipe.run.seed)
        return 0, new_model(self.recipe.model, corpus.tokenizer)

    def _started(self, start: Checkpoint, corpus: PackedCorpus) -> TrainedModel:
        model = trainable(start)
        if start.lacks_head:
            begin_head(model, torch.from_numpy(corpus.token_counts(model.encoder.config.vocab_size)))
        return model

    def finish(self) -> TrainingResult | None:
        """Train to the end and publish the model."""
        self.options.on_stage("Training")
        last = self._loop()
        result = self._publish(last) if self.fabric.is_global_zero else None
        self.fabric.barrier()
        return result

    def _publish(self, last: LogEntry | None) -> TrainingResult:
        self.options.on_stage("Writing the model")
        dtype = getattr(torch, self.recipe.run.weights)
        self.model.round_weights(dtype)
        held_out = evaluate(self.model.encoder, self.held_out_batches) if self.held_out_batches else None
        entries = self.directory.entries()
        with staging(self.directory.model, overwrite=True) as partial:
            self.model.save(partial, dtype)
            name = self.directory.path.resolve().name
            start = self.options.start
            write_model_card(partial / "README.md", name, self.model, self.recipe, entries, held_out, start)
        plot_loss(entries, self.directory.picture)
        return TrainingResult(self.directory.model, last, held_out)

    def _loop(self) -> LogEntry | None:
        run, steps = self.recipe.run, self.recipe.schedule.steps
        meter, entry = _Meter(), None
        for step in range(self.start, steps):
            rate = set_learning_rate(self.optimizers, learning_rate_factor(step, self.recipe.schedule))
            meter.add(*self._step(self.batches.batch(step)))
            done = step + 1
            if done % run.log_every == 0 or done % run.evaluate_every == 0 or done == steps:
                entry = self._log(done, meter, rate)
                meter = _Meter()
            if done % run.save_every == 0 or done == steps:
                self._save(done)
        return entry

    def _step(self, batch: MaskedRows) -> tuple[Tensor, Tensor, int, int]:
        """Change the weights once; return this device's summed loss (nats) and hits, all devices' masks and tokens."""
        parts = self.recipe.run.micro_batches
        masks = int((batch.targets != IGNORED).sum())
        losses, hits = [], []
        # add up the gradients of the batch's parts
        for part in range(parts):
            with self.fabric.no_backward_sync(self.objective, enabled=part < parts - 1):
                loss, hit = self.objective(*self._share(batch, part), batch.causal)
                # several devices' gradients are averaged, and their losses are to be added
                self.fabric.backward(loss * (self.fabric.world_size / max(1, masks)))
            losses.append(loss.detach())
            hits.append(hit)
        # shorten a gradient that is too long, and step
        if self.recipe.optimizer.clip:
            nn.utils.clip_grad_norm_(self.model.encoder.parameters(), self.recipe.optimizer.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return torch.stack(losses).sum(), torch.stack(hits).sum(), masks, batch.input_ids.size

    def _share(self, batch: MaskedRows, part: int) -> list[Tensor]:
        """This device's rows of one part of a batch: ids, mask positions, targets."""
        size = len(batch.input_ids) // (self.recipe.run.micro_batches * self.fabric.world_size)
        first = (part * self.fabric.world_size + self.fabric.global_rank) * size
        arrays = (batch.input_ids, batch.mask_positions, batch.targets)
        return [self.fabric.to_device(torch.from_numpy(array[first : first + size])) for array in arrays]

    def _log(self, done: int, meter: "_Meter", rate: float) -> LogEntry:
        loss, hits = self.fabric.all_reduce([meter.loss, meter.hits], reduce_op="sum")
        loss = float(loss) / meter.masks
        if not math.isfinite(loss):
            raise _diverged(f"the loss is {loss}", done)
        run, steps = self.recipe.run, self.recipe.schedule.steps
        speed = meter.tokens / (time.monotonic() - meter.began)
        entry = LogEntry(
            step=done,
            steps=steps,
            loss=loss,
            accuracy=float(hits) / meter.masks,
            learning_rate=rate,
            tokens_per_second=speed,
            seconds_left=(steps - done) * run.batch_tokens / speed,
            held_out_perplexity=self._perplexity(done) if done % run.evaluate_every == 0 or done == steps else None,
        )
        if self.fabric.is_global_zero:
            self.directory.append(asdict(entry))
            self.options.on_log(entry)
        return entry

    def _perplexity(self, done: int) -> float | None:
        if not self.held_out_batches:
            return None
        return evaluate(
            self.model.encoder, self.held_out_batches, from_before=done <= self.batches.warm_steps
        ).perplexity

    def _save(self, done: int) -> None:
        if any(bool(weight.isnan().any()) for weight in self.model.encoder.parameters()):
            raise _diverged("a weight is no number any more", done)
        if self.fabric.is_global_zero:
            write_snapshot(self.directory.checkpoints, done, self.model, self.optimizers)
        self.fabric.barrier()


def _diverged(what: str, done: int) -> TrainingError:
    return TrainingError(
        f"{what} after {done} steps; lower the learning rate or lengthen the warm-up. The checkpoints before it stay"
    )


class _Meter:
    """Sums over the steps since the last line of the log."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.loss, self.hits = torch.zeros(()), torch.zeros(())
        self.masks = self.tokens = 0

    def add(self, loss: Tensor, hits: Tensor, masks: int, tokens: int) -> None:
        self.loss, self.hits = self.loss.to(loss.device) + loss, self.hits.to(hits.device) + hits
        self.masks += masks
        self.tokens += tokens


def held_out_batches(corpus: PackedCorpus) -> list[MaskedBatch]:
    """One masked token of a sentence of each held-out text: the same ones for every model with this tokenizer."""
    if not corpus.held_out:
        return []
    return masked_batches(corpus.held_out, corpus.text_encoder)
