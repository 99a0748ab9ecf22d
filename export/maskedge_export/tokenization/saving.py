"""A tokenizer's files as every version of transformers, and transformers.js, reads them."""

import json
from pathlib import Path
from typing import Any

from maskedge_export.tokenization.settings import part_state

__all__ = ["save_tokenizer"]

OLDER_NAMES = {"TokenizersBackend": "PreTrainedTokenizerFast"}
"""Classes by the name that transformers before 5 knows too; Optimum still asks for such a version."""
OF_LOADING = ("is_local", "local_files_only")
"""What transformers writes down of how the tokenizer was loaded, which is nobody's business later."""


def save_tokenizer(tokenizer: Any, directory: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json of a transformers fast tokenizer.

    The class that they name is the one that every version builds of tokenizer.json alone.
    """
    tokenizer.save_pretrained(directory)
    _without_blanks(directory / "tokenizer.json")
    path = directory / "tokenizer_config.json"
    fields = {
        name: value for name, value in json.loads(path.read_text(encoding="utf-8")).items() if name not in OF_LOADING
    }
    if fields.get("tokenizer_class") in OLDER_NAMES:
        fields["tokenizer_class"] = OLDER_NAMES[fields["tokenizer_class"]]
    if (prefixed := part_state(tokenizer.backend_tokenizer.pre_tokenizer).get("add_prefix_space")) is not None:
        fields["add_prefix_space"] = prefixed  # transformers 4 would set it to False
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_blanks(path: Path) -> None:
    """A third of the file is what makes it look nice."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
