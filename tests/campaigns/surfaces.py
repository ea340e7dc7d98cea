"""The surfaces by name, each a class that a worker imports, with its share of the cases."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise

SURFACES = {
    "readers": "tests.campaigns.readers:Readers",
    "archives": "tests.campaigns.archives:Archives",
    "images": "tests.campaigns.images:Images",
    "models": "tests.campaigns.models:Models",
    "inputs": "tests.campaigns.inputs:Inputs",
    "folders": "tests.campaigns.folders:Folders",
    "runs": "tests.campaigns.runs:Runs",
    "command lines": "tests.campaigns.command_lines:CommandLines",
    "recipes": "tests.campaigns.recipes:Recipes",
    "servers": "tests.campaigns.servers:Servers",
}
"""Mutated inputs."""

KILLS = {
    "killed builds": "tests.campaigns.kills:KilledBuilds",
    "killed contexts": "tests.campaigns.kills:KilledContexts",
    "killed trainings": "tests.campaigns.kills:KilledTrainings",
    "killed pushes": "tests.campaigns.kills:KilledPushes",
}
"""Killed processes."""

SHARES = {
    "readers": 60,
    "archives": 20,
    "images": 40,
    "models": 20,
    "inputs": 30,
    "folders": 12,
    "runs": 2,
    "command lines": 1,
    "recipes": 15,
    "servers": 40,
} | dict.fromkeys(KILLS, 1)
"""How the cases are shared out."""


def planned(surfaces: Mapping[str, str], cases: int) -> dict[str, int]:
    """How many of some cases each surface gets, by their shares."""
    shares = [SHARES[name] for name in surfaces]
    ends = [cases * end // max(1, sum(shares)) for end in accumulate(shares, initial=0)]
    return {name: end - start for name, (start, end) in zip(surfaces, pairwise(ends), strict=True)}
