"""Every exception that the export raises.

MaskedgeError
├── ExportError
│   ├── CheckpointError          a checkpoint cannot be read, or is no masked language model
│   ├── UnsupportedModelError    its architecture cannot be exported
│   ├── CalibrationTextError     the calibration text cannot be used
│   ├── GateError                the exported bundle is further from its source than allowed
│   └── PushError                a bundle cannot be put on the Hub
└── TrainingError
    ├── RecipeError              a recipe has a key, a type or a value that is not allowed
    ├── CorpusError              the text to train on cannot be read, or is too little for what is asked
    └── ResumeError              a run cannot be started or continued where it is asked to

Whoever exports and whoever trains reads text and writes directories, so two errors stand on both branches:

StagingError                     an ExportError and a TrainingError: a directory cannot be made where it is asked for
TextFileError                    a CalibrationTextError and a CorpusError: a file of text cannot be read
"""

from maskedge.errors import MaskedgeError

__all__ = [
    "CalibrationTextError",
    "CheckpointError",
    "CorpusError",
    "ExportError",
    "GateError",
    "PushError",
    "RecipeError",
    "ResumeError",
    "StagingError",
    "TextFileError",
    "TrainingError",
    "UnsupportedModelError",
    "one_line",
]


class ExportError(MaskedgeError):
    """An export cannot be done."""


class CheckpointError(ExportError):
    """A checkpoint cannot be read, or holds no trained masked-language-model head."""


class UnsupportedModelError(ExportError):
    """The checkpoint's architecture, or an option of it, has no exported form."""


class CalibrationTextError(ExportError):
    """The calibration text cannot be read, or is too little."""


class GateError(ExportError):
    """A figure of the exported graph lies outside the gate's limits; nothing was written."""


class PushError(ExportError):
    """The Hub did not take a bundle; what it held before is as it was."""


class TrainingError(MaskedgeError):
    """A model cannot be trained."""


class RecipeError(TrainingError):
    """A recipe cannot be read, or one of its keys or values is not allowed."""


class CorpusError(TrainingError):
    """The text to train on cannot be read, is empty, or supports no vocabulary or row of the size asked for."""


class ResumeError(TrainingError):
    """The output directory belongs to another run, or holds none to resume."""


class StagingError(ExportError, TrainingError):
    """A directory cannot be made where it is asked for, or another process has made it meanwhile."""


class TextFileError(CalibrationTextError, CorpusError):
    """A file of text is missing, or cannot be read as what its name says that it is."""


def one_line(error: BaseException, most: int = 300) -> str:
    """What another library's error says, on one line of at most `most` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[: most - 3]}..."
