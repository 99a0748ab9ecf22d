"""What is said where the packages of an extra are not installed: by a console script, and by a package's lazy names."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import NoReturn

__all__ = ["exit_without_extra", "on_demand"]

OWN_PACKAGES = ("maskedge", "maskedge_batch", "maskedge_export")


def exit_without_extra(command: str, extra: str, error: ModuleNotFoundError) -> NoReturn:
    """Name the extra to install and exit 2. A missing module of our own is a defect, and is raised again."""
    sys.stderr.write(f"{_naming_extra(command, extra, error)}\n")
    sys.exit(2)


def on_demand(package: str, extra: str, contents: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """The `__getattr__` (PEP 562) of a package whose names are imported when they are first asked for.

    `contents` has the names of each of the package's modules. The function returned raises AttributeError for any other
    name, and ModuleNotFoundError, naming the extra, where what a module needs is not installed.
    """
    homes = {name: module for module, names in contents.items() for name in names}

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        except ModuleNotFoundError as error:
            raise _naming_extra(f"{package}.{name}", extra, error) from error

    return find


def _naming_extra(user: str, extra: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error as somebody reads it who lacks the extra. Raises it as it is where the module is one of our own."""
    missing = (error.name or "").partition(".")[0]
    if missing in OWN_PACKAGES:
        raise error
    message = f"{user} needs {missing}, which is not installed: pip install 'maskedge[{extra}]'"
    return ModuleNotFoundError(message, name=missing)
