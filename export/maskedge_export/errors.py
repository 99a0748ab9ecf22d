"""Every exception that the export raises.

MaskedgeError
└── ExportError
    ├── CheckpointError          a checkpoint cannot be read, or is no masked language model
    ├── UnsupportedModelError    its architecture cannot be exported
    ├── CalibrationTextError     the calibration text cannot be used
    └── GateError                the exported bundle is further from its source than allowed
"""

from maskedge.errors import MaskedgeError

__all__ = ["CalibrationTextError", "CheckpointError", "ExportError", "GateError", "UnsupportedModelError"]


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
