"""A campaign: many cases of each surface, the findings shrunk, and a table of what came of it."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Lock

from tests.campaigns.cases import ACCEPTED, FINDING, REFUSED, WARNED, Case, Outcome
from tests.campaigns.workers import Worker

CASES_AT_A_TIME = 20
_ALIKE = 3
"""Findings of a surface that are alike and are shrunk: others are only counted."""


@dataclass
class Tally:
    """What came of the cases of one surface."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[Case, Outcome]] = field(default_factory=list)

    def row(self, name: str) -> list[str]:
        numbers = [self.counts[kind] for kind in (ACCEPTED, WARNED, REFUSED, FINDING)]
        return [name, *(f"{number:,}" for number in (self.counts.total(), *numbers))]


def shrunk(case: Case, outcome: Outcome, worker: Worker) -> tuple[Case, Outcome]:
    """The case with as few of its edits as still end in a finding of the same kind."""
    edits = list(case.edits)
    for edit in case.edits:
        fewer = replace(case, edits=tuple(other for other in edits if other != edit))
        if len(fewer.edits) < len(edits):
            again = worker.run(fewer)
            if again.kind == FINDING and _kind(again) == _kind(outcome):
                edits, outcome = list(fewer.edits), again
    return replace(case, edits=tuple(edits)), outcome


def _kind(outcome: Outcome) -> str:
    """What findings that are alike have in common: the error's type, or the first words."""
    last = outcome.detail.splitlines()[-1] if outcome.detail else ""
    return last.partition(":")[0][:80]


def run_campaign(
    surfaces: Mapping[str, str],
    cases: Mapping[str, int],
    *,
    seed: int,
    workers: int,
    folder: Path | None = None,
    findings: Path | None = None,
    log: bool = False,
) -> dict[str, Tally]:
    """Run cases of some surfaces.

    Args:
        surfaces: `module:Class` by name.
        cases: how many of each.
        seed: of the random numbers.
        workers: processes at the same time.
        folder: for their files; a temporary one if not given.
        findings: where a file is written for each finding, for `replay`; nowhere if not given.
        log: print each finding at once.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="campaigns-") as name:
            return run_campaign(
                surfaces,
                cases,
                seed=seed,
                workers=workers,
                folder=Path(name),
                findings=findings,
                log=log,
            )
    tallies = {name: Tally() for name in surfaces}
    jobs: Queue[tuple[str, range]] = Queue()
    for name in surfaces:
        for first in range(0, cases[name], CASES_AT_A_TIME):
            jobs.put((name, range(first, min(first + CASES_AT_A_TIME, cases[name]))))
    lock = Lock()

    def work(number: int) -> None:
        worker = Worker(surfaces, folder / str(number))
        try:
            while True:
                name, numbers = jobs.get_nowait()
                for case_number in numbers:
                    run(name, case_number, worker)
        except Empty:
            pass
        finally:
            worker.close()

    def run(name: str, number: int, worker: Worker) -> None:
        tally = tallies[name]
        case = Case.numbered(name, seed, number)
        outcome = worker.run(case)
        with lock:
            tally.counts[outcome.kind] += 1
            alike = sum(_kind(other) == _kind(outcome) for _, other in tally.findings)
        if outcome.kind == FINDING:
            if alike < _ALIKE:
                case, outcome = shrunk(case, outcome, worker)
            with lock:
                tally.findings.append((case, outcome))
                _keep(case, outcome, findings, log and alike < _ALIKE)

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work, number) for number in range(workers)]:
            done.result()
    return tallies


def _keep(case: Case, outcome: Outcome, findings: Path | None, log: bool) -> None:
    """Print a finding, and write it where it can be replayed from."""
    if findings is not None:
        findings.mkdir(parents=True, exist_ok=True)
        path = findings / f"{case.surface}-{case.seed}-{case.number}.json"
        path.write_text(json.dumps(asdict(case) | {"found": outcome.detail}, indent=2) + "\n")
    if log:
        print(f"FINDING {case.surface} {case.number}, edits {list(case.edits)}:", flush=True)
        print("\n".join(f"    {line}" for line in outcome.detail.splitlines()), flush=True)


def replay(path: Path, surfaces: Mapping[str, str]) -> Outcome:
    """Run the case of a finding's file again, in a fresh process."""
    record = json.loads(path.read_text())
    case = Case(record["surface"], record["seed"], record["number"], tuple(record["edits"]))
    with tempfile.TemporaryDirectory(prefix="campaigns-") as name:
        worker = Worker(surfaces, Path(name) / "worker")
        try:
            return worker.run(case)
        finally:
            worker.close()


HEAD = ("surface", "cases", "accepted", "warned", "refused", "findings")


def table(tallies: Mapping[str, Tally]) -> str:
    """A Markdown table, with a line for all surfaces together."""
    total = Tally(sum((tally.counts for tally in tallies.values()), Counter()))
    rows: list[Sequence[str]] = [tally.row(name) for name, tally in tallies.items()]
    lines = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)], *rows, total.row("all")]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
