"""What came of a run, as a table for the terminal: pure text from the figures of `metrics.json`.

python -m training_2mner.report runs/demo
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["main", "score_table"]

COLUMNS = ("precision", "recall", "F1", "entities")
CONTROL_COLUMNS = ("F1", "boundaries", "picture-decided", "pictures read")
CONTROL_NAMES = {
    "real": "its own picture",
    "none": "no picture",
    "shuffled": "another's picture",
    "blank": "blank picture",
}


def score_table(results: dict[str, Any]) -> str:
    """Lay out the scores of a test part and of its controls; percentages, under 100 columns wide.

    Args:
        results: `test` and, if there are any, `controls`, as `evaluation.evaluate` gives them.
    """
    test = results["test"]
    groups = [
        {"overall": test["overall"], "boundaries alone": test["boundaries"]},
        _named(test.get("by_language", {})),
        _named(test["by_type"]),
        _named(test.get("by_picture", {}), suffix=" picture"),
    ]
    if len(test.get("by_language", {})) > 1:
        groups[1] = {**groups[1], "mean over languages": test["mean_over_languages"]}
    blocks = [[_score_row(name, figures) for name, figures in g.items()] for g in groups if g]
    text = _table(("test", *COLUMNS), blocks)
    if "picture_decided" in test:
        decided = test["picture_decided"]
        text += (
            f"\n\nOf {decided['entities']} entities that only their picture can type, "
            f"{_percent(decided['accuracy'])} % were found and typed right."
        )
    if "controls" in results:
        rows = [_control_row(name, scores) for name, scores in results["controls"].items()]
        text += "\n\n" + _table(("each sentence with", *CONTROL_COLUMNS), [rows])
    return text


def _named(figures: dict[str, Any], suffix: str = "") -> dict[str, Any]:
    return {f"{name}{suffix}": values for name, values in figures.items()}


def _score_row(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    scores = (_percent(figures[key]) for key in ("precision", "recall", "f1"))
    return (name, *scores, str(figures.get("gold", "")))


def _control_row(name: str, scores: dict[str, Any]) -> tuple[str, ...]:
    decided = scores.get("picture_decided")
    pictures = scores["pictures"]
    return (
        CONTROL_NAMES[name],
        _percent(scores["overall"]["f1"]),
        _percent(scores["boundaries"]["f1"]),
        "" if decided is None else _percent(decided["accuracy"]),
        f"{pictures['read']} of {pictures['given']}",
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _table(head: Sequence[str], blocks: Iterable[Sequence[Sequence[str]]]) -> str:
    """Rows in blocks with a rule between them; names to the left, figures to the right."""
    blocks = list(blocks)
    rows = [head, *(row for block in blocks for row in block)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        name, *figures = row
        cells = [name.ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(figures, widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(head)]
    for block in blocks:
        lines += [rule, *map(line, block)]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table of a run's folder."""
    parser = argparse.ArgumentParser(
        prog="python -m training_2mner.report", description="Print the scores of a run."
    )
    parser.add_argument("run", type=Path, help="folder of a run")
    path = parser.parse_args(argv).run / "metrics.json"
    if not path.is_file():
        parser.error(f"there is no {path}: the run is not finished, or is none")
    sys.stdout.write(f"{score_table(json.loads(path.read_text(encoding='utf-8')))}\n")


if __name__ == "__main__":
    main()
