"""Makes tests/tiny_bundle: a BERT with random weights and a small vocabulary, in fp32 and int8.

.venv/bin/python tests/tiny/make_tiny_bundle.py
"""

import tempfile
from pathlib import Path

import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from maskedge_export.bundles.export import ExportOptions, export_bundle
from maskedge_export.corpora.tokenizer import train_tokenizer
from maskedge_export.recipe import TokenizerRecipe

HERE = Path(__file__).parents[1]
SENTENCES = HERE.parent / "examples" / "sentences.txt"
VOCAB_SIZE = 400
MAX_LENGTH = 64


def make_checkpoint(directory: Path) -> None:
    """A checkpoint whose weights are large enough for its predictions to differ from place to place."""
    texts = [(text,) for text in SENTENCES.read_text(encoding="utf-8").splitlines()]
    trained = train_tokenizer(lambda: texts, TokenizerRecipe(vocab_size=VOCAB_SIZE), MAX_LENGTH)
    tokenizer = BertTokenizer(vocab=trained.get_vocab(), model_max_length=MAX_LENGTH)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_LENGTH,
        initializer_range=0.2,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertForMaskedLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = Path(scratch) / "tiny"
        checkpoint.mkdir()
        make_checkpoint(checkpoint)
        export_bundle(
            str(checkpoint),
            HERE / "tiny_bundle",
            ExportOptions(precision="both", calibration=(SENTENCES,), name="tiny", gate=False, overwrite=True),
            print,
        )
