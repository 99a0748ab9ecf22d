"""`pipeline("fill-mask")` without torch: change the import, and point it at a bundle."""

from pathlib import Path
from typing import Unpack

from maskedge.inference.pipeline_arguments import CallArguments
from maskedge.predictor import Predictor

__all__ = ["pipeline"]

TASK = "fill-mask"
CPU = (None, "cpu", "-1")


def pipeline(
    task: str | None = None,
    model: str | Path | None = None,
    *,
    revision: str | None = None,
    device: object = None,
    **defaults: Unpack[CallArguments],
) -> Predictor:
    """Opens a bundle for calls as of `transformers.pipeline("fill-mask")`.

    Args:
        task: `fill-mask`, which is all there is.
        model: A bundle's directory or Hub id; the bundled English model where None.
        revision: A branch, tag or commit on the Hub.
        device: The CPU in any spelling of transformers, or None.
        **defaults: The arguments of a call, for calls that do not give their own.

    Returns:
        A predictor to be called with texts.

    Raises:
        TypeError: An argument, which the message names, means nothing here.
        ValueError: The task or the device is another, or a default is impossible.
        BundleNotFoundError: As `Predictor.load`.
        BundleCorruptError: As `Predictor.load`.
    """
    if task not in (None, TASK):
        raise ValueError(f"task is {task!r}; maskedge does {TASK!r} only")
    if device is not None and str(device) not in CPU:
        raise ValueError(f"device is {device!r}; maskedge runs on the CPU: leave it out")
    if model is not None and not isinstance(model, str | Path):
        raise TypeError(f"model must be a bundle's directory or Hub id, not {type(model).__name__}")
    return Predictor.load(model, revision=revision).with_defaults(**defaults)
