"""Tokenizer classes of transformers: what files each is made of, its special tokens, and how it reads text.

The defaults are those of transformers 4, which checkpoints without a tokenizer.json were trained with; transformers 5
has others (its RoBERTa mask leaves the space before it standing) and takes some from its own code where a file differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = ["CLASSES", "MODEL_TYPES", "PYTHON_ONLY", "TokenizerClass"]

Model = Literal["word pieces", "byte pairs", "ended pairs", "sentence pieces", "residues"]


@dataclass(frozen=True, slots=True)
class TokenizerClass:
    """How one class reads text where its directory does not say otherwise."""

    model: Model
    """What it splits words into."""
    files: tuple[str, ...]
    """What it is made of where there is no tokenizer.json."""
    roles: Mapping[str, str]
    """Role -> special token."""
    mask_takes_space: bool = False
    """Whether the space before a mask belongs to it, so that what is predicted there brings its own."""
    mask_normalized: bool = False
    """Whether a mask is looked for in the text as it is normalized, not as it is given."""
    token_types: bool = False
    """Whether its models tell two texts apart by token_type_ids."""
    options: Mapping[str, bool | None] = field(default_factory=dict)
    """Options of tokenizer_config.json that change how text is read, with their defaults."""
    extra: tuple[str, ...] = ()
    """Special tokens without a role."""


_BERT_ROLES = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_FAIRSEQ_ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
_ALBERT_ROLES = {
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
    "unk_token": "<unk>",
    "sep_token": "[SEP]",
    "pad_token": "<pad>",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_DEBERTA_ROLES = {**_ALBERT_ROLES, "unk_token": "[UNK]", "pad_token": "[PAD]"}
_FUNNEL_ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "<sep>",
    "pad_token": "<pad>",
    "cls_token": "<cls>",
    "mask_token": "<mask>",
}
_ESM_ROLES = {
    "eos_token": "<eos>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "cls_token": "<cls>",
    "mask_token": "<mask>",
}

_BERT = TokenizerClass(
    "word pieces",
    ("vocab.txt",),
    _BERT_ROLES,
    token_types=True,
    options={"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True},
)
_ROBERTA = TokenizerClass(
    "byte pairs",
    ("vocab.json", "merges.txt"),
    _FAIRSEQ_ROLES,
    mask_takes_space=True,
    options={"add_prefix_space": False, "trim_offsets": True},
)
_XLM_ROBERTA = TokenizerClass(
    "sentence pieces", ("sentencepiece.bpe.model",), _FAIRSEQ_ROLES, mask_takes_space=True, mask_normalized=True
)
_ALBERT = TokenizerClass(
    "sentence pieces",
    ("spiece.model",),
    _ALBERT_ROLES,
    mask_takes_space=True,
    token_types=True,
    options={"do_lower_case": True, "keep_accents": False},
)

CLASSES: dict[str, TokenizerClass] = {
    **dict.fromkeys(
        (
            "BertTokenizer",
            "ConvBertTokenizer",
            "ElectraTokenizer",
            "LayoutLMTokenizer",
            "MobileBertTokenizer",
            "SqueezeBertTokenizer",
        ),
        _BERT,
    ),
    "DistilBertTokenizer": replace(_BERT, token_types=False),
    "FunnelTokenizer": replace(_BERT, roles=_FUNNEL_ROLES),
    "MPNetTokenizer": replace(
        _BERT,
        roles={**_FAIRSEQ_ROLES, "unk_token": "[UNK]"},
        mask_takes_space=True,
        mask_normalized=True,
        token_types=False,
    ),
    **dict.fromkeys(
        ("RobertaTokenizer", "BartTokenizer", "LEDTokenizer", "LongformerTokenizer", "MvpTokenizer"), _ROBERTA
    ),
    "LukeTokenizer": replace(_ROBERTA, extra=("<ent>", "<ent2>")),
    "HerbertTokenizer": TokenizerClass(
        "ended pairs",
        ("vocab.json", "merges.txt"),
        {role: token for role, token in _FAIRSEQ_ROLES.items() if role not in ("bos_token", "eos_token")},
    ),
    "DebertaTokenizer": replace(_ROBERTA, roles=_DEBERTA_ROLES, token_types=True, options={"add_prefix_space": False}),
    "XLMRobertaTokenizer": _XLM_ROBERTA,
    "CamembertTokenizer": replace(
        _XLM_ROBERTA, mask_normalized=False, extra=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED")
    ),
    "AlbertTokenizer": _ALBERT,
    "FNetTokenizer": replace(
        _ALBERT,
        roles={role: token for role, token in _ALBERT_ROLES.items() if role not in ("bos_token", "eos_token")},
        options={"do_lower_case": False, "keep_accents": True},
    ),
    "BigBirdTokenizer": replace(
        _ALBERT,
        roles={**_ALBERT_ROLES, "bos_token": "<s>", "eos_token": "</s>"},
        mask_normalized=True,
        token_types=False,
        options={},
    ),
    "RemBertTokenizer": replace(
        _ALBERT,
        files=("sentencepiece.model",),
        roles=_DEBERTA_ROLES,
        mask_normalized=True,
        options={"do_lower_case": False, "keep_accents": True},
    ),
    "DebertaV2Tokenizer": TokenizerClass(
        "sentence pieces",
        ("spm.model",),
        _DEBERTA_ROLES,
        token_types=True,
        options={"do_lower_case": False, "split_by_punct": False},
    ),
    "EsmTokenizer": TokenizerClass("residues", ("vocab.txt",), _ESM_ROLES),
}
"""Each class's name without "Fast"."""

PYTHON_ONLY = {
    "BertJapaneseTokenizer": "splits words with MeCab, Sudachi or Juman++",
    "BertweetTokenizer": "rewrites tweets in Python",
    "FlaubertTokenizer": "splits words with sacremoses",
    "PerceiverTokenizer": "reads bytes in Python",
    "PhobertTokenizer": "reads Vietnamese words that were joined before",
    "RoCBertTokenizer": "looks up shapes and sounds of characters",
    "RoFormerTokenizer": "splits Chinese words with jieba",
    "TapasTokenizer": "reads tables",
    "XLMTokenizer": "splits words with sacremoses",
}
"""Classes that no tokenizer.json holds, and what they do in Python."""

NOT_IN_ITS_FILE = ("RoFormerTokenizer",)
"""Of those, the ones whose tokenizer.json transformers writes all the same, without what is done in Python."""

MODEL_TYPES: dict[str, str] = {
    **dict.fromkeys(("bert", "ernie", "megatron-bert", "nomic_bert"), "BertTokenizer"),
    **dict.fromkeys(
        ("roberta", "roberta-prelayernorm", "data2vec-text", "ibert", "mra"),
        "RobertaTokenizer",
    ),
    **dict.fromkeys(
        ("xlm-roberta", "xlm-roberta-xl", "xmod", "gte", "jina_embeddings_v3"),
        "XLMRobertaTokenizer",
    ),
    **dict.fromkeys(("albert", "nystromformer", "yoso"), "AlbertTokenizer"),
    "bart": "BartTokenizer",
    "big_bird": "BigBirdTokenizer",
    "camembert": "CamembertTokenizer",
    "convbert": "ConvBertTokenizer",
    "deberta": "DebertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "esm": "EsmTokenizer",
    "flaubert": "FlaubertTokenizer",
    "fnet": "FNetTokenizer",
    "funnel": "FunnelTokenizer",
    "layoutlm": "LayoutLMTokenizer",
    "longformer": "LongformerTokenizer",
    "luke": "LukeTokenizer",
    "mobilebert": "MobileBertTokenizer",
    "mpnet": "MPNetTokenizer",
    "mvp": "MvpTokenizer",
    "perceiver": "PerceiverTokenizer",
    "rembert": "RemBertTokenizer",
    "roc_bert": "RoCBertTokenizer",
    "roformer": "RoFormerTokenizer",
    "squeezebert": "SqueezeBertTokenizer",
    "tapas": "TapasTokenizer",
    "xlm": "XLMTokenizer",
}
"""The class of a model type's checkpoints that name none."""
