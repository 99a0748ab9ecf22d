"""From a Hugging Face checkpoint to a verified bundle: export, quantization, the proof, training and adaptation.

`export_bundle` takes a Hugging Face checkpoint to a verified bundle, `verify_bundle` proves it again, `train` makes a
checkpoint of a recipe and text, `adapt` trains one on, `average` makes one of several. What needs PyTorch is imported
when it is first asked for: importing the package loads nothing heavy.
"""

from typing import TYPE_CHECKING

from maskedge.extras import on_demand
from maskedge_export.errors import (
    CalibrationTextError,
    CheckpointError,
    CorpusError,
    ExportError,
    GateError,
    PushError,
    RecipeError,
    ResumeError,
    TrainingError,
    UnsupportedModelError,
)
from maskedge_export.recipe import (
    CorpusRecipe,
    MaskingRecipe,
    ModelRecipe,
    OptimizerRecipe,
    Recipe,
    RunRecipe,
    ScheduleRecipe,
    TokenizerRecipe,
)
from maskedge_export.recipe_file import load_recipe

if TYPE_CHECKING:
    from maskedge_export.bundles.compare import compare_bundles
    from maskedge_export.bundles.export import ExportOptions, export_bundle
    from maskedge_export.bundles.inspection import Inspection, inspect_graph
    from maskedge_export.bundles.push import push_bundle
    from maskedge_export.bundles.verify import Proof, verify_bundle
    from maskedge_export.evaluation.bootstrap import Estimate
    from maskedge_export.evaluation.comparison import Comparison
    from maskedge_export.evaluation.gate import GATE, Limits
    from maskedge_export.training.adaptation import Adaptation, adapt, adaptation_recipe, load_adaptation_recipe
    from maskedge_export.training.averaging import average
    from maskedge_export.training.trainer import LogEntry, TrainingOptions, TrainingResult, train

__all__ = [
    # checkpoint -> bundle
    "export_bundle",
    "ExportOptions",
    "GATE",
    "Limits",
    # bundle -> what is known of it
    "verify_bundle",
    "Proof",
    "compare_bundles",
    "Comparison",
    "Estimate",
    "inspect_graph",
    "Inspection",
    "push_bundle",
    # text -> checkpoint
    "train",
    "TrainingOptions",
    "TrainingResult",
    "LogEntry",
    "adapt",
    "Adaptation",
    "adaptation_recipe",
    "load_adaptation_recipe",
    "average",
    # recipes
    "load_recipe",
    "Recipe",
    "TokenizerRecipe",
    "CorpusRecipe",
    "ModelRecipe",
    "MaskingRecipe",
    "OptimizerRecipe",
    "ScheduleRecipe",
    "RunRecipe",
    # errors
    "ExportError",
    "CheckpointError",
    "UnsupportedModelError",
    "CalibrationTextError",
    "GateError",
    "PushError",
    "TrainingError",
    "RecipeError",
    "CorpusError",
    "ResumeError",
]

_CONTENTS = {
    "bundles.compare": ["compare_bundles"],
    "bundles.export": ["ExportOptions", "export_bundle"],
    "bundles.inspection": ["Inspection", "inspect_graph"],
    "bundles.push": ["push_bundle"],
    "bundles.verify": ["Proof", "verify_bundle"],
    "evaluation.bootstrap": ["Estimate"],
    "evaluation.comparison": ["Comparison"],
    "evaluation.gate": ["GATE", "Limits"],
    "training.adaptation": ["Adaptation", "adapt", "adaptation_recipe", "load_adaptation_recipe"],
    "training.averaging": ["average"],
    "training.trainer": ["LogEntry", "TrainingOptions", "TrainingResult", "train"],
}
__getattr__ = on_demand(__name__, "export", _CONTENTS)


def __dir__() -> list[str]:
    return __all__
