"""The command line: train the cells of a plan, measure them, and write the study's page.

    2mner study study_small
    2mner study study --data mmnerd --output_dir runs/study
    2mner study study --data mmnerd --only ablation languages
    2mner study study --data mmnerd --transfer conll2003=eng.testb wikigold=wikigold.conll.txt

The same command goes on where a study was stopped, and several of them at once share its work.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from reporting_2mner.runs import (
    RunError,
    figures_of,
    is_tested_on_sample,
    published_message,
    read_results,
    source_of,
)
from reporting_2mner.study.page import Study, TrainingRecord, write_study
from reporting_2mner.study.sections import Part, Section

from .cells import Training, refuse_other_recipes, stopping, train_all, trainings_of
from .kinds import section_of
from .measuring import has_result, measure_all, results_of
from .plan import STUDIES, Plan, PlanError, read_plan

__all__ = ["main"]

logger = logging.getLogger(__name__)


def parser(prog: str) -> argparse.ArgumentParser:
    """The parser of the command."""
    names = ", ".join(sorted(path.stem for path in STUDIES.glob("*.yaml")))
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train the cells of a plan, measure them, and write study.html.",
        epilog=f"example: {prog} study --data mmnerd --only ablation",
    )
    parser.add_argument("plan", help=f"a YAML file, or one that comes along: {names}")
    parser.add_argument("--data", metavar="NAME", help="data set of every cell: a folder or a name")
    parser.add_argument("--output_dir", metavar="DIR", help="folder of the study")
    parser.add_argument("--only", nargs="+", metavar="PART", help="these parts of the plan alone")
    parser.add_argument(
        "--transfer",
        nargs="+",
        type=_named_file,
        metavar="NAME=FILE",
        help="other data sets to test on (the part transfer); several files may have one name",
    )
    return parser


def _named_file(text: str) -> tuple[str, str]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=FILE")
    return name, file


def main(argv: Sequence[str], prog: str = "2mner study") -> int:
    """Run a study.

    Args:
        argv: `PLAN [--data NAME] [--output_dir DIR] [--only PART ...] [--transfer NAME=FILE ...]`.
        prog: the name of the program in `--help`.

    Returns:
        The exit status: 1 if a training, a measure or a section has failed. The page is written all
        the same.

    Raises:
        PlanError: if the plan cannot be followed.
        RunError: if a finished run is damaged.
        OSError: if the study's folder cannot be written.
    """
    given = parser(prog).parse_args(argv)
    logging.basicConfig(format="%(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    transfer: dict[str, list[str]] = {}
    for name, file in given.transfer or ():
        transfer.setdefault(name, []).append(file)
    plan = read_plan(
        given.plan,
        output_dir=given.output_dir,
        data=given.data,
        only=given.only,
        transfer=transfer,
    )
    trainings = trainings_of(plan, plan.chosen)
    refuse_other_recipes(trainings)
    with stopping():
        failures = train_all(trainings)
        unmeasured = measure_all(plan.chosen, trainings)
    study = summary(plan, failures, unmeasured)
    write_study(plan.output_dir, study)
    for part, section in study.sections:
        findings = "".join(f"  * {finding}\n" for finding in section.findings)
        sys.stdout.write(f"\n{part.name}: {section.title}\n{findings}")
    sys.stdout.write(f"\nThe page is {plan.output_dir / 'study.html'}\n")
    failed = len(failures) + len(study.failures)
    if failed:
        what = "failed trainings, measures and sections"
        sys.stderr.write(f"{prog}: {what}: {failed}; the page names them\n")
    return 1 if failed else 0


def summary(plan: Plan, failures: Mapping[str, str], unmeasured: Mapping[str, str]) -> Study:
    """All that the page shows: the chosen parts, and others that an earlier command has done."""
    parts = [part for part in plan.parts if part in plan.chosen or was_done(plan, part)]
    trainings = trainings_of(plan, parts)
    finished = [training for training in trainings if training.is_finished()]
    data: dict[str, Any] = read_results(finished[0].folder)["recipe"]["data"] if finished else {}
    sections: list[tuple[Part, Section]] = []
    errors = dict(unmeasured)
    for part in parts:
        try:
            with figures_of(plan.output_dir / "cells"):
                sections.append((part, _section(part, trainings)))
        except RunError as error:
            errors[part.name] = str(error)
            logger.warning("%s: no section: %s", part.name, error)
    return Study(
        name=plan.path.stem,
        source=source_of(data) if data else "no data: every training failed",
        made_up=bool(data) and is_tested_on_sample(data),
        sections=sections,
        trainings=[_record(training, failures.get(training.name)) for training in trainings],
        failures={
            name: published_message(error, plan.output_dir) for name, error in errors.items()
        },
    )


def was_done(plan: Plan, part: Part) -> bool:
    """Whether an earlier command has done a part: all its trainings, by the plan's recipes, are
    finished or have failed, and there is a result of one at least."""
    trainings = trainings_of(plan, [part])
    try:
        tried = all(
            (training.is_finished() or training.failure() is not None)
            and training.other_recipe() is None
            for training in trainings
        )
    except PlanError:
        return False
    return tried and any(has_result(part, training) for training in trainings)


def _section(part: Part, trainings: Sequence[Training]) -> Section:
    results = results_of(part, trainings)
    if not results:
        return Section(part.name, "Nothing of this part is there: all its trainings failed.")
    return section_of(part.kind)(part, results)


def _record(training: Training, error: str | None) -> TrainingRecord:
    common: dict[str, Any] = {
        "cell": training.cell.name,
        "title": training.cell.title,
        "seed": training.seed,
        "command": training.command,
    }
    if not training.is_finished():
        error = error or training.failure() or "not trained"
        return TrainingRecord(**common, error=published_message(error, training.root))
    results = read_results(training.folder)
    f1 = results["test"]["overall"]["f1"] if "test" in results else None
    return TrainingRecord(**common, f1=f1, seconds=results["seconds"])
