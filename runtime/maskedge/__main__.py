"""The door of the command line's packages: imports them here first, and says which extra is missing."""

import sys

from maskedge.extras import exit_without_extra

__all__ = ["main"]


def main() -> None:
    """`mlm`."""
    try:
        from maskedge.cli.app import main as run
    except ModuleNotFoundError as error:
        exit_without_extra("mlm", "cli", error)
    except KeyboardInterrupt:  # during the imports, before the command line takes it over
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
