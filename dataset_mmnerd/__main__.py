"""`python -m dataset_mmnerd ...` is `2mner data ...`, for a project that is not installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .commands import main as run
from .extractors import ContextError
from .hub import PublishError
from .processes import ProcessesError, end_together


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0; 1 after one line on the error stream, or if an audit has found errors.
    """
    try:
        return run(argv, "python -m dataset_mmnerd")
    except (ValueError, OSError, PublishError, ContextError, ProcessesError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    end_together(main())
