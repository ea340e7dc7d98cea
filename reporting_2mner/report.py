"""The command line: print the scores of a run and write its page anew, or compare runs.

    2mner report runs/demo
    2mner report runs/text runs/images

For one run: its scores as a text table, and its `report.html`. For several: the F1 of each and its
difference from the first run's, with a 95 % interval and a p-value from a paired bootstrap over the
test sentences (`statistics.compare`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .comparison import compare_runs
from .html_report import write_report
from .runs import figures_of, read_run
from .tables import comparison_table, score_table

__all__ = ["main"]


def main(argv: Sequence[str], prog: str = "2mner report") -> int:
    """Print the table of a run and write its page, or print how several runs compare.

    Args:
        argv: folders of runs.
        prog: the name of the program in `--help`.

    Returns:
        The exit status 0.

    Raises:
        RunError: if a folder holds no run, or a damaged one.
        OSError: if the page cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Print the scores of a run and write its report.html anew; or compare runs.",
        epilog=f"example: {prog} runs/text runs/images",
    )
    parser.add_argument("run", type=Path, nargs="+", help="folder of a run; several: compare them")
    folders = parser.parse_args(argv).run
    if len(folders) > 1:
        sys.stdout.write(f"{comparison_table(compare_runs(list(map(read_run, folders))))}\n")
        return 0
    results = read_run(folders[0]).results
    with figures_of(folders[0] / "metrics.json"):
        table = f"{score_table(results)}\n\n" if "test" in results else ""
    sys.stdout.write(table)
    write_report(folders[0])
    sys.stdout.write(f"The page is {folders[0] / 'report.html'}\n")
    return 0
