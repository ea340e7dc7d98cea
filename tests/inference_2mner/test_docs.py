"""docs/inference.md says what the commands take."""

import re
import shlex
from pathlib import Path

import pytest

from inference_2mner import corpus, shrink, thresholds

PAGE = (Path(__file__).parents[2] / "docs" / "inference.md").read_text("utf-8")
PARSERS = {
    "2mner predict": corpus.parser,
    "-m cli_2mner predict": corpus.parser,
    "2mner thresholds": thresholds.parser,
    "2mner shrink": shrink.parser,
}
COMMANDS = [
    (command, line)
    for line in re.findall(r"^(?:2mner|accelerate) .*", PAGE, re.MULTILINE)
    for command in PARSERS
    if command in line
]


@pytest.mark.parametrize(("command", "line"), COMMANDS)
def test_a_command_of_the_page_is_one(command, line):
    PARSERS[command]().parse_args(shlex.split(line.partition(command)[2]))


def test_the_page_has_every_command():
    assert {command for command, _ in COMMANDS} == set(PARSERS)


def test_every_link_within_the_page_leads_to_a_heading():
    headings = {
        heading.lower().replace(",", "").replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#(.*?)\)", PAGE)) <= headings
