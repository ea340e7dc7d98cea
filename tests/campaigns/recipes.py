"""Surface: recipes and the command line that overrides them, read and not followed."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from tests.campaigns.cases import ACCEPTED, Case, Outcome, Surface, check, judged
from tests.campaigns.commands import ROOT
from tests.campaigns.mutators import HOSTILE_TEXTS, edit_lines, encoded
from training_2mner.arguments import RecipeError
from training_2mner.recipes import read_recipe

HOSTILE_YAML = (
    *("!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!binary aGk="),
    *("&a [*a]", "*unknown", "{a: &b [1, *b]}", "010", "0o10", "0x1F", "1:30", "1_000", "+1"),
    *("2026-01-01", "~", "null", "NO", "on", ".inf", "-.NaN", "1e400", "9" * 5000, "1e", "- 1"),
    *("[1, 2", "{a: 1", "'", '"', '"\\ud800"', '"\\0"', "|", ">\n  folded", "@x", "%x", "`x`"),
    *("[" * 200 + "]" * 200, "[" * 2000, "x" * 100_000, "../..", "? a", "<<: {a: 1}", "--- \nb: 1"),
)
BOMB = "\n".join(
    [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else '1'] * 9)}]" for n in range(12)]
)
KEYS = (
    *("seed", "learning_rate", "num_train_epochs", "output_dir", "languages", "bf16", "freeze"),
    *("model_config", "processor_config", "eval_strategy", "label_scheme", "lora", "replay"),
    *("dataset_name", "train_files", "learning_curve", "lr_scheduler_type", "optim", "deepspeed"),
    *("fsdp", "report_to", "accelerator_config", "warmup_steps", "logging_dir", "run_name"),
)
WHOLE = re.compile(r"^(seed|logging_steps|max_steps): *([0-9]+) *(?:#.*)?$", re.MULTILINE)


def _value(random: Random) -> str:
    return random.choice(HOSTILE_YAML if random.random() < 0.6 else HOSTILE_TEXTS)


def edit_recipe(content: bytes, random: Random) -> bytes:
    """A recipe with a hostile value for one of its keys, or a key more, or other lines."""
    action = random.random()
    if action < 0.4:
        return edit_lines(content, random)
    if action < 0.43:
        return content + b"\n" + BOMB.encode()
    lines = content.split(b"\n")
    if action < 0.7:
        place = random.randrange(len(lines))
        key = lines[place].partition(b":")[0]
        lines[place] = key + b": " + encoded(_value(random))
    else:
        lines.append(encoded(f"{random.choice(KEYS)}: {_value(random)}"))
    return b"\n".join(lines)


class Recipes(Surface):
    """Mutated recipes, and mutated options beside sound ones."""

    name = "recipes"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bases = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
        self.bases = [base + b"\nuse_cpu: true\n" for base in self.bases]

    def run(self, case: Case, folder: Path) -> Outcome:
        random = case.random()
        content = random.choice(self.bases)
        options: list[str] = []
        by_option = random.random() < 0.2
        for edit in case.edit_randoms():
            if by_option:
                options += [f"--{edit.choice(KEYS)}", _value(edit)]
            else:
                content = edit_recipe(content, edit)
        path = folder / "recipe.yaml"
        path.write_bytes(content)
        try:
            _, model, data, training = read_recipe([str(path), *options])
        except RecipeError as error:
            return judged(error, (RecipeError,), ["recipe.yaml", "command line"], folder)
        check(list(folder.iterdir()) == [path], "reading a recipe wrote a file")
        check(isinstance(model.model_config, dict | None), f"model_config: {model.model_config!r}")
        check(isinstance(data.languages, list | None), f"languages: {data.languages!r}")
        for key, digits in WHOLE.findall(content.decode("utf-8", "replace")) if not options else ():
            found = getattr(training, key)
            check(found == int(digits), f"{key}: {digits} is read as {found}")
        return Outcome(ACCEPTED)
