"""Surface: a run's folder with damaged files, from which its report is made anew."""

from __future__ import annotations

import shutil
from pathlib import Path

from cli_2mner import main
from tests.campaigns.cases import ACCEPTED, Case, Outcome, Surface, check
from tests.campaigns.commands import call, judged_command
from tests.campaigns.files import spoil_file
from tests.campaigns.kills import KilledTrainings, run_process
from tests.campaigns.mutators import edit_bytes, edit_json, edit_json_lines

EDITS = {
    "metrics.json": edit_json,
    "trainer_state.json": edit_json,
    "predictions.jsonl": edit_json_lines,
}


class Runs(Surface):
    """A run's folder, one of whose files is damaged, missing, or no file."""

    name = "runs"
    seconds = 60

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        training = object.__new__(KilledTrainings)
        training.folder = folder
        training.prepare(folder)
        assert run_process(KilledTrainings.main, training.arguments(folder), folder) == 0
        self.whole = folder / "run"

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        damaged = folder / "damaged"
        left_out = shutil.ignore_patterns("checkpoint-*", "*.safetensors")
        shutil.copytree(self.whole, damaged, ignore=left_out)
        path = damaged / random.choice(sorted(EDITS))
        if case.edits and random.random() < 0.1:
            spoil_file(path, folder / "secret", random)
        else:
            content = path.read_bytes()
            for edit in case.edit_randoms():
                change = EDITS[path.name] if edit.random() < 0.7 else edit_bytes
                content = change(content, edit)
            path.write_bytes(content)
        several = random.random() < 0.5
        others = [str(self.whole)] if several else []
        finished = call(main, ["report", str(damaged), *others])
        outcome = judged_command(finished, [*EDITS, "damaged"], folder)
        if outcome.kind == ACCEPTED and not several:
            page = (damaged / "report.html").read_text("utf-8")
            check("<script>alert" not in page, "markup of the data is markup of the page")
        return outcome
