"""A directory without tokenizer.json -> the tokenizer that transformers 4 makes of its files."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from maskedge_export.errors import CheckpointError, one_line
from maskedge_export.source_files import read_json, read_lines, read_text, real_file
from maskedge_export.tokenization.classes import CLASSES, PYTHON_ONLY, Model, TokenizerClass
from maskedge_export.tokenization.sentence_pieces import sentence_pieces
from maskedge_export.tokenization.settings import Settings
from maskedge_export.tokenization.special_tokens import add_tokens, frame

__all__ = ["from_older_files", "read_vocabulary"]

CASED = 0.1
"""Share of entries with capitals from which on a vocabulary is one of cased text: bert-base-cased has 0.29, and
bert-base-uncased none."""


def from_older_files(settings: Settings) -> Tokenizer:
    """The tokenizer of the files that there were before tokenizer.json.

    Raises CheckpointError for a class that exists in Python only, and for files that are missing, cannot be read or
    don't belong together.
    """
    kind = _known(settings)
    tokenizer = BUILDERS[kind.model](_files(settings, kind), settings)
    add_tokens(tokenizer, settings, defaults=True)
    tokenizer.post_processor = frame(tokenizer, settings, kind)
    return tokenizer


def _known(settings: Settings) -> TokenizerClass:
    """The class of a directory without tokenizer.json. Raises CheckpointError where it cannot be read."""
    name, directory = settings.class_name, settings.directory
    if settings.kind is not None:
        return settings.kind
    if name in PYTHON_ONLY:
        raise CheckpointError(
            f"{directory} has no tokenizer.json, and its {name}, which {PYTHON_ONLY[name]}, exists in Python only; "
            "write a tokenizer.json that splits text as it does, with the tokenizers library "
            f"(Tokenizer.save('{directory / 'tokenizer.json'}')), and export again"
        )
    if not any(directory.glob(pattern) for pattern in ("vocab.*", "*.model")):
        raise CheckpointError(f"{directory} holds no tokenizer")
    raise CheckpointError(
        f"{directory} has no tokenizer.json, and {f'the files of a {name}' if name else 'its files'} cannot be read "
        f"here (those of {', '.join(sorted(CLASSES))} can); write one with transformers 4, if that has its fast form: "
        f"AutoTokenizer.from_pretrained('{directory}').save_pretrained('{directory}')"
    )


def _files(settings: Settings, kind: TokenizerClass) -> list[Path]:
    """What a class is made of; a SentencePiece model may have any name. Raises CheckpointError where one is missing."""
    directory = settings.directory
    found = [directory / name for name in kind.files]
    others = sorted(directory.glob("*.model"))
    if kind.model == "sentence pieces" and not found[0].is_file() and len(others) == 1:
        return others
    missing = [file.name for file in found if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{directory} holds no tokenizer: neither tokenizer.json nor {' and '.join(missing)}, which a "
            f"{settings.class_name} is made of; add it with tokenizer.save_pretrained('{directory}')"
        )
    return [real_file(file) for file in found]


def read_vocabulary(file: Path) -> dict[str, int]:
    """Token -> id of a vocab.json, or of a vocab.txt with a token a line. Raises CheckpointError."""
    if file.suffix == ".json":
        vocabulary = read_json(file)
        if not vocabulary or not all(isinstance(index, int) for index in vocabulary.values()):
            raise CheckpointError(f"{file} is no vocabulary: it does not map tokens to ids; copy it again")
        return vocabulary
    return {token: index for index, token in enumerate(read_lines(file))}


def _word_pieces(files: list[Path], settings: Settings) -> Tokenizer:
    """BERT's: vocab.txt has a piece a line, and of a piece that stands there twice the last line counts."""
    _check_python_options(settings)
    vocabulary = read_vocabulary(files[0])
    _check_case(files[0], vocabulary, settings)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=settings.unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=settings.flag("do_lower_case"),
        strip_accents=settings.option("strip_accents"),
        handle_chinese_chars=settings.flag("tokenize_chinese_chars"),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _check_python_options(settings: Settings) -> None:
    """Raises CheckpointError for options that only a tokenizer in Python obeyed."""
    for name, harmless in (("do_basic_tokenize", (True, None)), ("never_split", ([], None))):
        if (said := settings.stated.get(name)) not in harmless:
            raise CheckpointError(
                f"{settings.directory / 'tokenizer_config.json'} has {name}: {json.dumps(said)}, which transformers "
                "obeyed in Python only; write a tokenizer.json that splits text as the model was trained with, or "
                f"take {name} out if it was trained without"
            )


def _check_case(file: Path, vocabulary: Iterable[str], settings: Settings) -> None:
    """Raises CheckpointError for a vocabulary with capitals whose class lower-cases text where nothing is stated.

    transformers 4 knew of some models by their names that they are cased; from a directory it lower-cased their text.
    """
    pieces = [piece for piece in vocabulary if not piece.startswith("[")]
    capitals = [piece for piece in pieces if piece != piece.lower()]
    if "do_lower_case" not in settings.stated and len(capitals) > CASED * len(pieces):
        raise CheckpointError(
            f"{settings.directory} does not state do_lower_case, without which a {settings.class_name} lower-cases "
            f"text, and {len(capitals)} of the {len(pieces)} entries of {file.name} have capitals, such as "
            f'{capitals[0]!r}; state it in tokenizer_config.json, most likely as {{"do_lower_case": false}}'
        )


def _byte_pairs(files: list[Path], settings: Settings) -> Tokenizer:
    """RoBERTa's, over bytes. Of merges.txt its first line is a comment, its last one empty, whatever stands there."""
    model = _merged(files, slice(1, -1), lambda vocabulary, merges: models.BPE(vocabulary, merges))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.flag("add_prefix_space"))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _ended_pairs(files: list[Path], settings: Settings) -> Tokenizer:
    """HerBERT's, over characters, with a mark where a word ends."""
    end, commented = "</w>", read_text(files[1]).startswith("#version:")
    model = _merged(
        files,
        slice(int(commented), -1),
        lambda vocabulary, merges: models.BPE(vocabulary, merges, unk_token=settings.unknown, end_of_word_suffix=end),
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix=end)
    return tokenizer


def _merged(
    files: list[Path], lines: slice, make: Callable[[dict[str, int], list[tuple[str, str]]], models.BPE]
) -> models.BPE:
    """The model of a vocabulary and some lines of its merges. Raises CheckpointError where they don't go together."""
    vocabulary, merges = read_vocabulary(files[0]), read_text(files[1]).split("\n")[lines]
    try:
        return make(vocabulary, [_pair(line) for line in merges if line])
    except Exception as error:  # tokenizers raises bare exceptions
        raise CheckpointError(f"{files[1]} does not fit {files[0]} ({one_line(error)}); copy both again") from error


def _pair(line: str) -> tuple[str, str]:
    left, right = line.split()[:2]
    return left, right


def _residues(files: list[Path], settings: Settings) -> Tokenizer:
    """ESM's: the entries of vocab.txt wherever they stand in a text, longest first; all else is unknown."""
    vocabulary = {entry: index for line, index in read_vocabulary(files[0]).items() if (entry := line.strip())}
    longest_first = sorted(vocabulary, key=len, reverse=True)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=settings.unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex("|".join(map(re.escape, longest_first))), "isolated"),
        ]
    )
    return tokenizer


BUILDERS: dict[Model, Callable[[list[Path], Settings], Tokenizer]] = {
    "word pieces": _word_pieces,
    "byte pairs": _byte_pairs,
    "ended pairs": _ended_pairs,
    "sentence pieces": sentence_pieces,
    "residues": _residues,
}
"""What a class's files are made into, by what it splits words into."""
