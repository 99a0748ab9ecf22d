"""A SentencePiece model file -> the tokenizer that splits text as it does, proved against the library itself."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from maskedge_export.errors import CheckpointError, one_line
from maskedge_export.source_files import real_file
from maskedge_export.tokenization.probe import PROBE
from maskedge_export.tokenization.settings import Settings

__all__ = ["sentence_pieces"]

UNIGRAM, BPE = 1, 2
CONTROL, USER_DEFINED = 3, 4
"""What SentencePiece's format calls kinds of models, and of pieces."""
NEVER = -100.0
"""Added to the log-probability of a piece that is to be in the vocabulary, but not in a text."""

ALBERT = ("AlbertTokenizer", "FNetTokenizer")
"""Classes whose own code makes one of all whitespace and of all quotes, and takes commas off numbers."""

Pieces = list[tuple[str, float]]


def sentence_pieces(files: list[Path], settings: Settings) -> Tokenizer:
    """The tokenizer of a SentencePiece model, without the special tokens of its class.

    Raises CheckpointError for a file that is none, or that splits text in a way that no tokenizer.json can.
    """
    proto, processor = _read(files[0])
    pieces, unknown = _pieces(proto, settings)
    tokenizer = Tokenizer(_model(proto, pieces, unknown, files[0]))
    before = _before(settings)
    tokenizer.normalizer = normalizers.Sequence([*before, *_normalizers(proto)])
    scheme = "always" if proto.normalizer_spec.add_dummy_prefix else "never"
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    apart = [pre_tokenizers.Punctuation("isolated"), pre_tokenizers.WhitespaceSplit()]
    tokenizer.pre_tokenizer = metaspace
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    symbols = [piece.piece for piece in proto.pieces if piece.type == USER_DEFINED]
    probe = [*PROBE, *(f"a {symbol} b{symbol}c {symbol}" for symbol in symbols)]
    _prove(tokenizer, probe, pieces[unknown][0], normalizers.Sequence(before), processor, files[0])
    if settings.option("split_by_punct"):  # what stands between marks is then a text of its own for SentencePiece
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*apart, metaspace])
    control = [piece.piece for piece in proto.pieces if piece.type == CONTROL]
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False) for piece in control])
    return tokenizer


def _read(file: Path) -> tuple[Any, Any]:
    """A model file as its format has it, and as the library runs it. Raises CheckpointError."""
    real_file(file)
    try:
        from sentencepiece import SentencePieceProcessor
        from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]
    except ImportError as error:
        raise CheckpointError(
            f"{file} is a SentencePiece model, and what reads it is not installed ({one_line(error)}): "
            "pip install sentencepiece protobuf"
        ) from error
    try:
        return ModelProto.FromString(file.read_bytes()), SentencePieceProcessor(model_file=str(file))
    except Exception as error:  # both have their own
        raise CheckpointError(f"{file} is no SentencePiece model ({one_line(error)}); copy it again") from error


def _model(proto: Any, pieces: Pieces, unknown: int, file: Path) -> models.Model:
    kind, fallback = proto.trainer_spec.model_type, proto.trainer_spec.byte_fallback
    if kind == UNIGRAM:
        return models.Unigram(pieces, unknown, fallback)
    if kind == BPE:
        vocabulary = {piece: index for index, (piece, _) in enumerate(pieces)}
        return models.BPE(
            vocabulary, _merges(pieces), unk_token=pieces[unknown][0], fuse_unk=True, byte_fallback=fallback
        )
    raise CheckpointError(
        f"{file} is a SentencePiece model of type {kind}; a tokenizer.json is made of type {UNIGRAM} (unigram) "
        f"or {BPE} (BPE)"
    )


def _pieces(proto: Any, settings: Settings) -> tuple[Pieces, int]:
    """Each id's piece with its log-probability, and the id of the unknown one."""
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    if settings.class_name == "XLMRobertaTokenizer":
        first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        return [*first, *pieces[3:], ("<mask>", 0.0)], 3
    if settings.class_name == "CamembertTokenizer":
        first = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", NEVER)]
        return [*first, *pieces[1:], ("<mask>", 0.0)], 3
    if settings.class_name in ALBERT:
        pieces = [(piece, score + NEVER * _digit_and_comma(piece)) for piece, score in pieces]
    return pieces, proto.trainer_spec.unk_id


def _digit_and_comma(piece: str) -> bool:
    """ALBERT's code splits the comma off such pieces."""
    return len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()


def _merges(pieces: Pieces) -> list[tuple[str, str]]:
    """What SentencePiece merges, the best first: of them it keeps the results only, with scores in their order."""
    ids = {piece: index for index, (piece, _) in enumerate(pieces)}
    found = []
    for piece, score in pieces:
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = (half for half in halves if half[0] in ids and half[1] in ids)
        found += [(score, len(half[0]), half) for half in sorted(known, key=lambda half: ids[half[0]])]
    return [half for _, _, half in sorted(found, key=lambda merge: merge[:2], reverse=True)]


def _before(settings: Settings) -> list[normalizers.Normalizer]:
    """What a class's own code does to a text before SentencePiece reads it."""
    steps: list[normalizers.Normalizer] = []
    if settings.class_name in ALBERT:
        steps += [normalizers.Replace(Regex(r"\s+"), " "), *(normalizers.Replace(old, '"') for old in ("``", "''"))]
    if settings.option("keep_accents") is False:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if settings.option("do_lower_case"):
        steps.append(normalizers.Lowercase())
    return steps


def _normalizers(proto: Any) -> Iterable[normalizers.Normalizer]:
    """What SentencePiece itself does to a text."""
    spec = proto.normalizer_spec
    if spec.precompiled_charsmap:
        yield normalizers.Precompiled(spec.precompiled_charsmap)
    if spec.remove_extra_whitespaces:
        yield normalizers.Replace(Regex("^ +| +$"), "")
        yield normalizers.Replace(Regex(" {2,}"), " ")


def _prove(
    tokenizer: Tokenizer,
    probe: list[str],
    unknown: str,
    before: normalizers.Normalizer,
    processor: Any,
    file: Path,
) -> None:
    """Compare with the library on texts. Raises CheckpointError where they differ."""
    for text in probe:
        ids = processor.encode(before.normalize_str(text))
        expected = [unknown if index == processor.unk_id() else processor.id_to_piece(index) for index in ids]
        found = [str(tokenizer.id_to_token(index)) for index in tokenizer.encode(text).ids]
        if expected != found and not any(map(_digit_and_comma, expected)):
            raise CheckpointError(
                f"{file} splits text in a way that no tokenizer.json does: of {text!r} it makes {' '.join(expected)}, "
                f"and a tokenizer.json made of it {' '.join(found)}"
            )
