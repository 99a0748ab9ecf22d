"""The door of the heavy package: imports it here first, and says which extra is missing instead of a traceback."""

import sys

from maskedge.extras import exit_without_extra

__all__ = ["main"]


def main() -> None:
    """`mlm-export`."""
    try:
        from maskedge_export.cli.app import main as run
    except ModuleNotFoundError as error:
        exit_without_extra("mlm-export", "export", error)
    except KeyboardInterrupt:  # during the imports, before the command line takes signals over
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
