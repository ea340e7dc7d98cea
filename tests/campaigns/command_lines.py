"""Surface: the command lines as processes of their own, on damaged inputs of the other surfaces."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.campaigns.cases import Case, Outcome, Surface, check
from tests.campaigns.commands import ROOT, judged_command, start
from tests.campaigns.files import FORMS, edit_files, write_files
from tests.campaigns.folders import CARD_FIELDS, EDITS, build_set
from tests.campaigns.models import FILES, write_encoders, write_model
from tests.campaigns.mutators import edit_bytes, edit_json
from tests.campaigns.readers import FIELDS
from tests.campaigns.recipes import edit_recipe


class CommandLines(Surface):
    """`python -m dataset_mmnerd`, `train.py`, the report and a model's push, as one types them."""

    name = "command lines"
    forbidden = ()
    seconds = 150

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        build_set(folder / "set", folder)
        text, vision = write_encoders(folder)
        write_model(folder / "model", text, vision)

    def run(self, case: Case, folder: Path) -> Outcome:
        kinds = (self.build, self.audit, self.train, self.train_on_model, self.publish, self.report)
        names, arguments = case.random().choice(kinds)(case, folder)
        finished = start(arguments)
        outcome = judged_command(finished, [*names, folder.name], folder, in_process=False)
        check(finished.status != 2 or "train" not in arguments[0], "a usage of 150 options")
        return outcome

    def build(self, case: Case, folder: Path) -> tuple[list[str], list[str]]:
        form = case.random("form").choice(sorted(FORMS))
        files = FORMS[form]()
        for edit in case.edit_randoms():
            files = edit_files(files, edit)
        write_files(files, folder / "source")
        places = ["--data-dir", str(folder / "source"), "--out", str(folder / "built")]
        names = [Path(name).name for name in files]
        return [*names, *FIELDS], ["-m", "dataset_mmnerd", "build", "--source", form, *places]

    def audit(self, case: Case, folder: Path) -> tuple[list[str], list[str]]:
        damaged = folder / "damaged"
        shutil.copytree(self.folder / "set", damaged)
        for edit in case.edit_randoms():
            path = edit.choice(sorted(path for path in damaged.rglob("*") if path.is_file()))
            change = EDITS.get(path.name) or EDITS.get(path.suffix, edit_bytes)
            path.write_bytes(change(path.read_bytes(), edit))
        names = [path.name for path in damaged.rglob("*")]
        return [*names, *CARD_FIELDS], ["-m", "dataset_mmnerd", "audit", str(damaged)]

    def train(self, case: Case, folder: Path) -> tuple[list[str], list[str]]:
        content = (ROOT / "configs" / "text_only.yaml").read_bytes()
        content += b"\nuse_cpu: true\nbf16: no\noutput_dir: " + str(folder / "run").encode()
        for edit in case.edit_randoms():
            content = edit_recipe(content, edit)
        (folder / "recipe.yaml").write_bytes(content)
        names = ["recipe.yaml", "model", "output_dir", "config", "data", "resume_from_checkpoint"]
        missing = ["--text_model", str(folder / "missing")]
        return [*names, "missing"], ["train.py", str(folder / "recipe.yaml"), *missing]

    def damaged_model(self, case: Case, folder: Path) -> Path:
        shutil.copytree(self.folder / "model", folder / "model")
        for edit in case.edit_randoms():
            path = folder / "model" / edit.choice(FILES)
            change = edit_json if path.suffix == ".json" else edit_bytes
            path.write_bytes(change(path.read_bytes(), edit))
        return folder / "model"

    def train_on_model(self, case: Case, folder: Path) -> tuple[list[str], list[str]]:
        model = self.damaged_model(case, folder)
        source = folder / "data"
        write_files(FORMS["conll"](), source)
        lines = [
            f"model_name_or_path: {model}",
            f"output_dir: {folder / 'run'}",
            f"train_files: [{source / 'train_en.txt'}]",
            "entity_types: [PER, LOC]",
            "max_steps: 1",
            "use_cpu: true",
            "bf16: no",
            "eval_strategy: no",
            "save_strategy: no",
            "load_best_model_at_end: false",
        ]
        (folder / "recipe.yaml").write_text("\n".join(lines))
        return ["recipe.yaml", "model", *FILES], ["train.py", str(folder / "recipe.yaml")]

    def publish(self, case: Case, folder: Path) -> tuple[list[str], list[str]]:
        model = self.damaged_model(case, folder)
        name = case.random("name").choice(("me/x", "x" * 200, "a/b/c", "", "\x1b[1m", "-x", "é/é"))
        return (
            ["model", "HF_HUB_OFFLINE", "token", "repository", name[:50] or "''"],
            ["-m", "cli_2mner", "push", str(model), "--", name],
        )

    def report(self, case: Case, folder: Path) -> tuple[list[str], list[str]]:
        run = folder / "run"
        run.mkdir()
        content = b'{"seed": 1, "test": {"overall": {"f1": 1.0}}, "controls": {}}'
        for edit in case.edit_randoms():
            content = edit_json(content, edit)
        (run / "metrics.json").write_bytes(content)
        return ["metrics.json", "run"], ["-m", "cli_2mner", "report", str(run)]
