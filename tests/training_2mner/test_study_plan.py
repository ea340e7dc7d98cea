"""Plans of studies: what they mean, and every mistake in them by its line."""

import inspect
import textwrap
from pathlib import Path

import pytest

from reporting_2mner.yaml12 import written_as_yaml
from training_2mner.arguments import CommandLineError
from training_2mner.checkpoints import STATE, WEIGHTS
from training_2mner.study import plan as plan_module
from training_2mner.study.cells import refuse_other_recipes, trainings_of
from training_2mner.study.plan import STUDIES, PlanError, read_plan

PLAN = """\
recipe: text_only
options: {dataset_name: sample, model_config: {alpha: 0.9}}
seeds: [19, 20]
cells:
  full: {}
  short: {title: few steps, seeds: [19], max_steps: 5, model_config.word_dropout: 0.1}
grids:
  rates:
    learning_rate: [1e-4, 2e-5]
    train_languages: [[en], [en, de]]
    max_steps: 7
parts:
  ablation: {cells: [short, full, rates], baseline: full}
"""

DATA = "data: {a: {files: [plan.yaml],"
"""Of a part: a file that is there."""


@pytest.fixture
def write(tmp_path):
    """Write a plan, with a piece of `PLAN` in place of another; its path."""

    def written(*change: str) -> str:
        assert not change or change[0] in PLAN
        path = tmp_path / "plan.yaml"
        path.write_text(PLAN.replace(*change) if change else PLAN, "utf-8")
        return str(path)

    return written


def test_cells_are_recipes_that_differ(write):
    plan = read_plan(write(), data="mmnerd")
    full, short = plan.cells["full"], plan.cells["short"]
    assert (full.recipe["text_model"], full.recipe["dataset_name"]) == (
        "xlm-roberta-base",
        "mmnerd",
    )
    assert full.recipe["model_config"] == {"alpha": 0.9}
    assert short.recipe["model_config"] == {"alpha": 0.9, "word_dropout": 0.1}
    assert (short.title, short.seeds, full.seeds) == ("few steps", (19,), (19, 20))
    assert {"output_dir", "seed"}.isdisjoint(full.recipe)
    assert plan.output_dir == Path("runs/plan")


def test_a_grid_is_the_product_of_its_lists(write):
    plan = read_plan(write(), output_dir="out")
    (part,) = plan.parts
    grid = ["rates-0.0001-en", "rates-0.0001-en+de", "rates-2e-05-en", "rates-2e-05-en+de"]
    assert list(part.cells) == ["short", "full", *grid]
    cell = plan.cells["rates-2e-05-en+de"]
    assert cell.title == "learning rate 2e-05, train languages en+de"
    chosen = ("learning_rate", "train_languages", "max_steps")
    assert [cell.recipe[key] for key in chosen] == [2e-5, ["en", "de"], 7]
    names = [training.name for training in trainings_of(plan, plan.chosen)]
    assert names[:3] == ["short-seed19", "full-seed19", "rates-0.0001-en-seed19"]
    assert names[6] == "full-seed20"  # the second seed comes when every cell has its first
    assert len(names) == 11


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("recipe: t", "recip: t"), 1, "unknown key 'recip', the nearest known one is 'recipe'"),
        (("text_only", "text_onli"), 1, "the nearest that comes with 2mner is 'text_only'"),
        (("alpha: 0.9", "alhpa: 0.9"), 2, "model_config: unknown key 'alhpa', the nearest"),
        (("sample,", "sample, seed: 3,"), 2, "seed: the study sets it for each cell"),
        (("[19, 20]", "nineteen"), 3, "seeds is 'nineteen', expected a list of whole numbers"),
        (("full: {}", "full: 3"), 5, "full is 3, expected a mapping"),
        (("full: {}", "../full: {}"), 5, "name '../full', expected letters, digits"),
        (("max_steps: 5", "max_step: 5"), 6, "unknown key 'max_step', the nearest known one is"),
        (("max_steps: 5", "max_steps: few"), 6, "cell short: max_steps is 'few', expected int"),
        (("word_dropout", "word_drop"), 6, "model_config: unknown key 'word_drop'"),
        (("[1e-4, 2e-5]", "[]"), 8, "rates has an empty list"),
        (("[1e-4, 2e-5]", "[a/b, c/b]"), 8, "two cells of the name rates-b-en"),
        (("ablation: {", "abaltion: {"), 13, "unknown kind of part 'abaltion', the nearest"),
        (("[short, full", "[shrot, full"), 13, "unknown cell 'shrot', the nearest known one is"),
        (("baseline: full", "baseline: rates"), 13, "baseline is 'rates', expected one of its"),
        (("baseline: full", "base: full"), 13, "unknown key 'base', the nearest known one is"),
        (("ablation: {", "ablation: {kind: [x], "), 13, "unknown kind of part \"['x']\""),
        (("[short, full", "[[full], full"), 13, "unknown cell \"['full']\", the nearest known one"),
        (("ablation: {", "transfer: {data: {a: {files: [no.txt]}}, "), 13, "a: no.txt: found no"),
        (
            ("ablation: {", "transfer: {data: [a], "),
            13,
            "data is ['a'], expected data sets by name",
        ),
        (("ablation: {", f"transfer: {{{DATA} rename: PER}}}}, "), 13, "a: rename is 'PER', expe"),
        (("ablation: {", f"transfer: {{{DATA} language: [en]}}}}, "), 13, "a: language is ['en']"),
        (("ablation: {", f"transfer: {{{DATA} columns: a=b}}}}, "), 13, "a: columns is 'a=b', exp"),
        (("ablation: {", f"transfer: {{{DATA} columns: [a]}}}}, "), 13, "transfer: a: columns: "),
    ],
)
def test_a_mistake_is_named_with_its_line(write, change, line, message):
    path = write(*change)
    with pytest.raises(PlanError) as error:
        read_plan(path)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert message in str(error.value)


def test_a_part_or_a_plan_that_is_not_there_is_a_wrong_command(write):
    with pytest.raises(CommandLineError, match=r"--only: unknown part 'ablatoin', the nearest"):
        read_plan(write(), only=["ablatoin"])
    with pytest.raises(CommandLineError, match=r"no such plan of a study, .* is 'study_small'"):
        read_plan("study_smal")


def test_data_sets_that_no_part_reads_are_a_wrong_command(write):
    plan = write("ablation: {", "transfer: {cells: [full]}\n  ablation: {")
    named = {"a": [plan]}
    data = read_plan(plan, transfer=named).parts[0].options["data"]
    assert data["a"]["files"] == [plan]
    with pytest.raises(CommandLineError, match="--transfer: expected a part of the kind transfer"):
        read_plan(plan, only=["ablation"], transfer=named)


def test_the_plan_that_the_module_shows_can_be_followed(tmp_path):
    shown = inspect.cleandoc(plan_module.__doc__).split("\n\n")[2]
    path = tmp_path / "shown.yaml"
    path.write_text(textwrap.dedent(shown), "utf-8")
    assert "contrastive-0.05" in read_plan(str(path), data="sample").cells


def test_a_checkpoint_or_a_recipe_that_cannot_be_read_is_not_taken_away(write, tmp_path):
    out = str(tmp_path / "out")
    before = trainings_of(read_plan(write(), output_dir=out), read_plan(write()).parts)[0]
    checkpoint = before.folder / "checkpoint-7"
    checkpoint.mkdir(parents=True)
    before.recipe_file.write_text(written_as_yaml(before.recipe()), "utf-8")
    plan = read_plan(write("max_steps: 5", "max_steps: 6"), output_dir=out)
    now = trainings_of(plan, plan.parts)
    refuse_other_recipes(now)  # there is nothing to lose
    for name in (WEIGHTS[0], *STATE, "rng_state.pth"):
        (checkpoint / name).write_text("{}", "utf-8")
    with pytest.raises(
        PlanError, match="short-seed19 was made with max_steps 5, now it is 6; take"
    ):
        refuse_other_recipes(now)
    before.recipe_file.write_text("{", "utf-8")
    with pytest.raises(PlanError, match=r"recipe\.yaml, line \d+: not YAML.*; take .* away"):
        refuse_other_recipes(now)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plans_that_come_along_can_be_followed(path):
    plan = read_plan(path.stem)
    assert plan.parts[0].kind == "ablation"
    assert len(trainings_of(plan, plan.parts)) > 20
