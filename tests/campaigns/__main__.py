"""Run campaigns: mutated inputs and kills, on every way into the project.

    python -m tests.campaigns                             # 12,000 inputs, 100 kills
    python -m tests.campaigns --only readers --cases 500 --seed 7
    python -m tests.campaigns --replay campaign-findings/readers-7-123.json

Prints each finding with its smallest case and, at the end, a Markdown table. Each finding is also
written to a file that `--replay` runs again. The exit status is 1 if there was a finding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.campaigns.cases import FINDING
from tests.campaigns.runner import replay, run_campaign, table
from tests.campaigns.surfaces import KILLS, SURFACES, planned


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns", description="Mutated inputs and kills: what breaks?"
    )
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--cases", type=int, default=12_000, help="mutated inputs, in all")
    parser.add_argument("--kills", type=int, default=100, help="killed processes, in all")
    parser.add_argument("--only", nargs="+", choices=[*SURFACES, *KILLS], help="these surfaces")
    parser.add_argument("--workers", type=int, default=2, help="processes at the same time")
    parser.add_argument("--findings", type=Path, default=Path("campaign-findings"))
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one finding's case again")
    options = parser.parse_args(arguments)
    surfaces = SURFACES | KILLS
    if options.replay is not None:
        outcome = replay(options.replay, surfaces)
        print(f"{outcome.kind}\n{outcome.detail}")
        return int(outcome.kind == FINDING)
    tallies = {}
    # Processes are killed by workers of their own, which have read nothing hostile.
    for kinds, count in ((SURFACES, options.cases), (KILLS, options.kills)):
        chosen = {name: kinds[name] for name in kinds if name in (options.only or kinds)}
        tallies |= run_campaign(
            chosen,
            planned(chosen, count),
            seed=options.seed,
            workers=options.workers,
            findings=options.findings,
            log=True,
        )
    print(table(tallies))
    return int(any(tally.findings for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
