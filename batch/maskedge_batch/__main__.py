"""The door of the heavy packages: imports them here first, and says which extra is missing instead of a traceback."""

import sys

from maskedge.extras import exit_without_extra

__all__ = ["main"]


def main() -> None:
    """`mlm-batch`."""
    try:
        from maskedge_batch.cli.app import app
    except ModuleNotFoundError as error:
        exit_without_extra("mlm-batch", "batch", error)
    except KeyboardInterrupt:  # during the imports
        sys.exit(130)
    app()


if __name__ == "__main__":
    main()
