"""Every weight of a checkpoint is in the model that is exported, or is named; whatever the weights are called."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_families import MAX_LENGTH, edit_config, edit_weights, make_model, save_checkpoint

from maskedge_export.encoders import loading
from maskedge_export.encoders.checkpoint import load_checkpoint
from maskedge_export.encoders.loading import load_model
from maskedge_export.encoders.pretrained import TrainedModel, trainable
from maskedge_export.errors import CheckpointError, UnsupportedModelError

Weights = dict[str, torch.Tensor]

POSITIONS = torch.arange(MAX_LENGTH)[None]


@pytest.fixture
def bert(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Path:
    """A checkpoint of one's own, to change."""
    return make_checkpoint("bert", tmp_path / "bert")


def added(**weights: torch.Tensor) -> Callable[[Weights], Weights]:
    """Other weights beside the stored ones; __ stands for the dots of their names."""
    return lambda stored: {**stored, **{name.replace("__", "."): weight for name, weight in weights.items()}}


def without(part: str) -> Callable[[Weights], Weights]:
    """The stored weights but for those whose name has this part."""
    return lambda stored: {name: weight for name, weight in stored.items() if part not in name}


def renamed(rename: Callable[[str], str]) -> Callable[[Weights], Weights]:
    return lambda stored: {rename(name): weight for name, weight in stored.items()}


def refusal(path: Path, kind: type[Exception] = UnsupportedModelError) -> str:
    with pytest.raises(kind) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(torch.arange(20).reshape(2, 10) + 20).logits


UNREAD: list[tuple[str, dict[str, torch.Tensor]]] = [
    ("distances", {"bert__encoder__layer__1__attention__self__distance_embedding__weight": torch.ones(95, 8)}),
    ("one more layer", {"bert__encoder__layer__2__output__dense__weight": torch.ones(32, 64)}),
    ("one more norm", {"bert__final_norm__weight": torch.ones(32)}),
    ("one more embedding", {"bert__embeddings__extra__weight": torch.ones(8, 32)}),
    ("without the trunk's name", {"encoder__rotary__weight": torch.ones(8)}),
    ("in the head", {"cls__predictions__scale": torch.ones(1)}),
    ("other positions", {"bert__embeddings__position_ids": POSITIONS + 1}),
    ("other types", {"bert__embeddings__token_type_ids": torch.ones_like(POSITIONS)}),
    ("a pooler that is none", {"bert__encoder__layer__0__pooler__weight": torch.ones(8)}),
]


@pytest.mark.parametrize(("_", "weights"), UNREAD, ids=[name for name, _ in UNREAD])
@pytest.mark.parametrize("family", ["bert", "megatron-bert"], scope="function")
def test_weights_of_trunk_or_head_that_nothing_reads_are_refused(
    family: str, _: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    if family == "megatron-bert":  # of one layer
        weights = {name.replace("layer__1", "layer__0"): weight for name, weight in weights.items()}
    edit_weights(save_checkpoint(family, tmp_path / family), added(**weights))
    message = refusal(tmp_path / family)
    assert f"weights that nothing reads in the model which transformers {transformers.__version__} makes" in message
    assert f"as it was trained: {next(iter(weights)).replace('__', '.')};" in message


def test_layers_beyond_those_of_the_configuration_are_refused(bert: Path) -> None:
    assert ".LayerNorm.bias and 15 more;" in refusal(edit_config(bert, num_hidden_layers=1))


def test_embeddings_of_tasks_that_are_not_used_are_refused(tmp_path: Path) -> None:
    checkpoint = save_checkpoint("ernie", tmp_path / "ernie")
    assert "ernie.embeddings.task_type_embeddings.weight" in refusal(edit_config(checkpoint, use_task_id=False))


def test_a_projection_that_is_not_used_is_refused(tmp_path: Path) -> None:
    checkpoint = save_checkpoint("electra", tmp_path / "electra", embedding_size=32)
    edit_weights(checkpoint, added(electra__embeddings_project__weight=torch.ones(32, 32)))
    assert "electra.embeddings_project.weight" in refusal(checkpoint)


def test_what_takes_no_part_passes(bert: Path) -> None:
    expected = logits(load_model(bert).model)
    harmless = added(
        bert__pooler__dense__weight=torch.ones(32, 32),
        cls__seq_relationship__weight=torch.ones(2, 32),
        bert__embeddings__position_ids=POSITIONS,
        bert__embeddings__token_type_ids=torch.zeros_like(POSITIONS),
    )
    loaded = load_model(edit_weights(bert, harmless))
    assert loaded.notes == ()
    assert torch.equal(logits(loaded.model), expected)


def test_other_tasks_weights_are_left_out_and_named(bert: Path) -> None:
    heads = added(qa_outputs__weight=torch.ones(2, 32), classifier__weight=torch.ones(2, 32))
    (note,) = load_model(edit_weights(bert, heads)).notes
    assert note.endswith("that are no part of its masked language model are left out: classifier, qa_outputs.")


def test_other_files_of_weights_are_named(bert: Path) -> None:
    save_file({"spam": torch.ones(1)}, bert / "spam.safetensors")
    assert load_model(bert).notes == ("Files of weights beside the model's own are not read: spam.safetensors.",)


def test_adapters_in_directories_beside_the_model_are_named(bert: Path) -> None:
    (bert / "legal").mkdir()
    (bert / "legal" / "adapter_config.json").write_text("{}")
    assert load_model(bert).notes == ("Adapters beside the model are not read: legal.",)


def test_the_file_of_weights_that_the_configuration_names_is_read(bert: Path) -> None:
    expected = logits(load_model(bert).model)
    (bert / "model.safetensors").rename(bert / "best.safetensors")
    save_file({"spam": torch.ones(1)}, bert / "model.safetensors")
    loaded = load_model(edit_config(bert, transformers_weights="best.safetensors"))
    assert torch.equal(logits(loaded.model), expected)


def test_weights_in_several_files_are_all_accounted_for(tmp_path: Path) -> None:
    make_model("bert").save_pretrained(tmp_path, max_shard_size="20KB")
    assert load_model(tmp_path).notes == ()
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    save_file({**load_file(shard), "bert.encoder.rotary.weight": torch.ones(8)}, shard, {"format": "pt"})
    assert "bert.encoder.rotary.weight" in refusal(tmp_path)


WRAPPED: list[Callable[[str], str]] = [
    lambda name: f"module.{name}",
    lambda name: f"_orig_mod.{name}",
    lambda name: f"_orig_mod.module.{name}",
    lambda name: f"_fsdp_wrapped_module.{name}",
    lambda name: name.replace("layer.0.", "layer.0._checkpoint_wrapped_module."),
    lambda name: name.replace("bert.", "bert._orig_mod.").replace("layer.0.", "layer.0._checkpoint_wrapped_module."),
    lambda name: name.replace("bert.", "bert.module."),
]


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("family", ["bert", "megatron-bert"], scope="function")
def test_wrappers_are_taken_out_of_the_names(family: str, wrap: Callable[[str], str], tmp_path: Path) -> None:
    checkpoint = save_checkpoint(family, tmp_path / family)
    expected = logits(load_model(checkpoint).model)
    loaded = load_model(edit_weights(checkpoint, renamed(wrap)))
    assert torch.equal(logits(loaded.model), expected)
    assert any("wrappers were taken out" in note for note in loaded.notes)


@pytest.mark.parametrize("prefix", ["model.", "student.", "lightning.model.", "module.model."])
@pytest.mark.parametrize("family", ["bert", "megatron-bert", "roberta"], scope="function")
def test_a_prefix_of_all_names_is_taken_off_and_named(family: str, prefix: str, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(family, tmp_path / family)
    expected = logits(load_model(checkpoint).model)
    loaded = load_model(edit_weights(checkpoint, renamed(lambda name: prefix + name)))
    assert torch.equal(logits(loaded.model), expected)
    assert f"{prefix.removeprefix('module.')!r} was taken off the weights' names." in loaded.notes


def test_weights_behind_a_prefix_that_nothing_reads_are_refused(bert: Path) -> None:
    edit_weights(bert, added(bert__encoder__layer__0__attention__self__distance_embedding__weight=torch.ones(95, 8)))
    assert "distance_embedding" in refusal(edit_weights(bert, renamed(lambda name: f"model.{name}")))


def test_names_without_the_trunks_are_known(bert: Path) -> None:
    expected = logits(load_model(bert).model)
    loaded = load_model(edit_weights(bert, renamed(lambda name: name.removeprefix("bert."))))
    assert torch.equal(logits(loaded.model), expected)
    assert loaded.notes == ()


def test_several_models_in_one_are_refused(bert: Path) -> None:
    def twice(stored: Weights) -> Weights:
        return {f"{prefix}.{name}": weight.clone() for prefix in ("a", "b") for name, weight in stored.items()}

    assert "several models, whose weights' names begin with 'a.' and 'b.'" in refusal(
        edit_weights(bert, twice), CheckpointError
    )


TWICE = ["module.bert.embeddings.LayerNorm.weight", "embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.gamma"]


@pytest.mark.parametrize("other", TWICE)
def test_two_weights_for_one_place_are_refused_unless_they_are_the_same(other: str, bert: Path) -> None:
    edit_weights(bert, lambda stored: {**stored, other: stored["bert.embeddings.LayerNorm.weight"].clone()})
    load_model(bert)
    edit_weights(bert, lambda stored: {**stored, other: stored[other] + 1})
    message = refusal(bert, CheckpointError)
    assert other in message
    assert "two weights for one place" in message


def test_other_shapes_than_the_configurations_are_named(bert: Path) -> None:
    edit_weights(bert, added(bert__embeddings__LayerNorm__weight=torch.ones(31)))
    message = refusal(bert, CheckpointError)
    assert "bert.embeddings.LayerNorm.weight is stored as [31], and its config.json asks for [32]" in message


@pytest.mark.parametrize("beside_its_base", [True, False])
def test_an_adapters_directory_is_refused(beside_its_base: bool, bert: Path) -> None:
    (bert / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "spam"}')
    if not beside_its_base:
        (bert / "config.json").unlink()
        (bert / "model.safetensors").rename(bert / "adapter_model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"holds an adapter \(adapter_config\.json\); merge it into its base model"
    ):
        load_checkpoint(str(bert))


@pytest.mark.parametrize("part", ["lora_A.default", "base_layer", "modules_to_save.default"])
def test_an_adapters_weights_among_the_models_are_refused(part: str, bert: Path) -> None:
    name = f"bert.encoder.layer.0.attention.self.query.{part}.weight"
    edit_weights(bert, lambda stored: {**stored, name: torch.ones(2, 32)})
    assert f"holds an adapter's weights ({name}); merge it" in refusal(bert, CheckpointError)


MISSING = [("esm", "contact_head"), ("luke", "entity"), ("bart", "final_logits_bias"), ("modernvbert", "vision")]


@pytest.mark.parametrize(("family", "part"), MISSING, scope="function")
def test_parts_that_take_no_part_may_be_missing(family: str, part: str, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(family, tmp_path / family)
    expected = logits(load_model(checkpoint).model)
    edit_weights(checkpoint, without(part))
    assert torch.equal(logits(load_model(checkpoint).model), expected)


def test_what_is_missing_and_takes_no_part_need_not_be_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_pretrained = loading._from_pretrained

    def unfilled(*arguments: Any) -> tuple[Any, dict[str, Any]]:
        """What transformers may give: what it had no weights for is whatever was in the memory before."""
        model, info = from_pretrained(*arguments)
        for name in info["missing_keys"]:
            model.get_parameter(name).data.fill_(torch.nan)
        return model, info

    checkpoint = save_checkpoint("luke", tmp_path / "luke")
    expected = logits(load_model(checkpoint).model)
    edit_weights(checkpoint, without("entity_predictions"))
    monkeypatch.setattr(loading, "_from_pretrained", unfilled)
    assert torch.equal(logits(load_model(checkpoint).model), expected)


@pytest.mark.parametrize(
    ("family", "part"), [("esm", "lm_head.dense"), ("esm", "layer.0.output"), ("bart", "layernorm_emb")]
)
def test_parts_that_the_logits_depend_on_may_not(family: str, part: str, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(family, tmp_path / family)
    edit_weights(checkpoint, without(part))
    assert "weights of a masked language model" in refusal(checkpoint, CheckpointError)


BIASES = [
    ("bert", "cls.predictions.bias", "cls.predictions.decoder.bias"),
    ("roberta", "lm_head.bias", "lm_head.decoder.bias"),
    ("albert", "predictions.bias", "predictions.decoder.bias"),
    ("megatron-bert", "cls.predictions.bias", "cls.predictions.decoder.bias"),
]


@pytest.mark.parametrize(("family", "first", "second"), BIASES, scope="function")
@pytest.mark.parametrize("kept", ["first", "second"])
def test_the_bias_of_an_untied_head_may_have_either_name(
    family: str, first: str, second: str, kept: str, tmp_path: Path
) -> None:
    """transformers 4, in which both names are one parameter, stores it once."""
    checkpoint = save_checkpoint(family, tmp_path / family, tie_word_embeddings=False)
    bias = load_file(checkpoint / "model.safetensors")[second]
    expected = logits(load_model(checkpoint).model)
    edit_weights(checkpoint, without(first))
    edit_weights(checkpoint, without(second))
    edit_weights(checkpoint, lambda stored: {**stored, first if kept == "first" else second: bias})
    loaded = load_model(checkpoint)
    assert torch.equal(logits(loaded.model), expected)
    assert loaded.notes == ()


def test_biases_that_differ_are_named(tmp_path: Path) -> None:
    (note,) = load_model(save_checkpoint("bert", tmp_path / "bert", tie_word_embeddings=False)).notes
    assert note.endswith("are stored apart; the head reads cls.predictions.decoder.bias.")


def test_a_head_stored_apart_from_the_embedding_is_exported_and_named(tmp_path: Path) -> None:
    checkpoint = save_checkpoint("distilbert", tmp_path / "distilbert", tie_word_embeddings=False)
    expected = logits(load_model(checkpoint).model)
    loaded = load_model(edit_config(checkpoint, tie_word_embeddings=True))
    assert torch.equal(logits(loaded.model), expected)
    assert loaded.notes[0].startswith("vocab_projector.weight is stored apart from distilbert.embeddings.word_embedd")
    model: Any = trainable(load_checkpoint(str(checkpoint)))
    assert not torch.equal(model.encoder.head.decoder.weight, model.encoder.embedding.tokens.weight)
    model.save(tmp_path / "again")
    assert torch.allclose(logits(load_model(tmp_path / "again").model), expected, atol=1e-5)


def test_a_tied_head_that_transformers_5_looks_for_is_the_embedding(tmp_path: Path) -> None:
    """Of LUKE, transformers 4 stores no head, and 5 knows of no tie."""
    loaded: Any = load_model(
        edit_weights(save_checkpoint("luke", tmp_path / "luke"), without("lm_head.decoder.weight"))
    )
    head, table = loaded.model.get_output_embeddings(), loaded.model.get_input_embeddings()
    assert head.weight is table.weight


def test_an_untied_model_is_saved_with_its_bias_under_both_names(tmp_path: Path) -> None:
    loaded = load_checkpoint(str(save_checkpoint("roberta", tmp_path / "roberta", tie_word_embeddings=False)))
    TrainedModel(loaded.native(), loaded.model.config, loaded.tokenizer).save(tmp_path / "again")
    stored = load_file(tmp_path / "again" / "model.safetensors")
    assert torch.equal(stored["lm_head.bias"], stored["lm_head.decoder.bias"])
    assert torch.equal(stored["lm_head.bias"], loaded.native().head.decoder.bias)


def test_the_tiny_models_differ() -> None:
    """Else that two are equal would say nothing."""
    first, second = (logits(make_model("bert", hidden_act=activation)) for activation in ("gelu", "relu"))
    assert (first - second).abs().max() > 0.1
