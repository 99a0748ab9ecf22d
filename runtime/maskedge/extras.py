"""What a console script says when the packages of its extra are not installed."""

import sys
from typing import NoReturn

__all__ = ["exit_without_extra"]

OWN_PACKAGES = ("maskedge", "maskedge_batch", "maskedge_export")


def exit_without_extra(command: str, extra: str, error: ModuleNotFoundError) -> NoReturn:
    """Name the extra to install and exit 2. A missing module of our own is a defect, and is raised again."""
    package = (error.name or "").partition(".")[0]
    if package in OWN_PACKAGES:
        raise error
    sys.stderr.write(f"{command} needs {package}, which is not installed: pip install 'maskedge[{extra}]'\n")
    sys.exit(2)
