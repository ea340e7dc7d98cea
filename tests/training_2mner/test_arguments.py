"""A recipe says what it means, the command line wins, and mistakes are named."""

import re
from pathlib import Path

import pytest
from transformers import TrainingArguments

from training_2mner.arguments import RecipeError
from training_2mner.recipes import read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
MINIMAL = "text_model: some/encoder\ndataset_name: sample\noutput_dir: runs/x\n"


@pytest.fixture
def recipe(tmp_path):
    """A function that writes a recipe of the lines given and returns what one would type."""

    def write(*lines: str) -> list[str]:
        path = tmp_path / "recipe.yaml"
        path.write_text(MINIMAL + "\n".join(lines), encoding="utf-8")
        return [str(path)]

    return write


def test_the_file_gives_defaults_and_the_command_line_wins(recipe):
    argv = recipe("learning_rate: 2e-4", "seed: 7", "train_files: [a.txt, b.txt]")
    path, model, data, training = read_recipe([*argv, "--seed", "8", "--languages", "de", "fr"])
    assert path == Path(argv[0])
    assert model.text_model == "some/encoder"
    assert data.train_files == ["a.txt", "b.txt"]
    assert data.languages == ["de", "fr"]
    assert training.learning_rate == 2e-4
    assert training.seed == 8


def test_no_is_a_word_where_a_word_is_meant_and_false_where_a_switch_is(recipe):
    argv = recipe("eval_strategy: no", "load_best_model_at_end: no", "controls: no")
    *_, training = read_recipe(argv)
    assert training.eval_strategy == "no"
    assert training.load_best_model_at_end is False
    assert training.controls is False


def test_a_recipe_is_yaml_1_2(recipe):
    """By YAML 1.1 they were 8, 2200.0 and a text, a date, and False."""
    argv = recipe(
        "seed: 010", "learning_rate: 1e-5", "train_files: [36:40, 2024-1-1, 2024-01-01, off]"
    )
    _, _, data, training = read_recipe(argv)
    assert training.seed == 10
    assert training.learning_rate == 1e-5
    assert data.train_files == ["36:40", "2024-1-1", "2024-01-01", "off"]


def test_a_recipe_that_is_not_utf_8_is_named_with_its_line(recipe):
    argv = recipe("seed: 1")
    with Path(argv[0]).open("ab") as file:
        file.write(b"\nlearning_rate: \xff")
    with pytest.raises(RecipeError, match="line 5: not UTF-8"):
        read_recipe(argv)


def test_model_switches_keep_their_types_from_file_and_command_line(recipe):
    argv = recipe("model_config: {fusion: gated, alpha: 8e-1, constrain_transitions: false}")
    _, model, *_ = read_recipe(argv)
    assert model.model_config == {"fusion": "gated", "alpha": 0.8, "constrain_transitions": False}
    _, model, *_ = read_recipe([*argv, "--model_config", '{"fusion": "concat"}'])
    assert model.model_config == {"fusion": "concat"}


def test_rates_of_the_other_parts_follow_the_one_before(recipe):
    *_, training = read_recipe(recipe("learning_rate: 1e-5"))
    assert training.new_parts_learning_rate == training.classifier_learning_rate == 1e-5
    assert training.crf_learning_rate == 1e-5
    *_, training = read_recipe(recipe("learning_rate: 1e-5", "new_parts_learning_rate: 1e-3"))
    assert training.classifier_learning_rate == training.crf_learning_rate == 1e-3
    *_, training = read_recipe(recipe("learning_rate: 1e-5", "classifier_learning_rate: 2e-2"))
    assert (training.new_parts_learning_rate, training.crf_learning_rate) == (1e-5, 2e-2)


@pytest.mark.parametrize(("wish", "expected"), [("yes", True), ("no", False), ("true", True)])
def test_bf16_can_be_forced(recipe, wish, expected):
    *_, training = read_recipe(recipe("use_cpu: true", f"bf16: {wish}"))
    assert training.bf16 is expected
    assert (training.mixed_precision == "bf16") is expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["lerning_rate: 1"],
            "unknown key 'lerning_rate', the nearest known one is 'learning_rate'",
        ),
        (["seed: often"], "seed is 'often', expected int"),
        (["seed: [1, 2]"], r"seed is \[1, 2\], expected int"),
        (["seed: 1", "seed: 2"], 'line 5: not YAML: .*found duplicate key "seed"'),
        (["model_config: {alpha: 1, alpha: 2}"], 'line 4: .*found duplicate key "alpha"'),
        (["seed: 1:30"], "line 4: seed is '1:30', expected int"),
        (["", "seed: on"], "line 5: seed is 'on', expected int"),
        (["seed: !!python/name:os.system"], "line 4: not YAML: could not determine a constructor"),
        (["seed: 7\0"], "line 4: not YAML: special characters are not allowed"),
        (["seed: " + "[" * 9999], "too many values within values"),
        (["seed: " + "x" * 999], "seed is 'x{50,199}[.]{3}x*', expected int"),
        (["seed: null"], "seed is None, expected int"),
        (["model_config: [1]"], r"model_config is \[1\]"),
        (["seed: {a: 1}"], "seed is {'a': 1}, expected int"),
        (["seed: 'open"], "not YAML"),
        (["bf16: maybe"], "bf16 is 'maybe', expected yes, no or auto"),
        (["label_scheme: IOB1"], "label_scheme is 'IOB1', expected BIO or BIOES"),
        (["label_smoothing_factor: 0.1"], "label_smoothing_factor is 0.1, expected 0"),
        (["remove_unused_columns: true"], "remove_unused_columns must stay off"),
        (["train_sampling_strategy: sorted"], "expected group_by_length or random"),
        (["lora: true"], "lora adapts a saved model, .* expected model_name_or_path"),
        (["lora_rank: 0"], "lora_rank is 0, expected at least 1"),
        (["hub_strategy: checkpoint"], "hub_strategy is 'checkpoint', expected nothing"),
        (["hub_revision: dev"], "hub_revision is 'dev', expected nothing"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_file(recipe, lines, message):
    argv = recipe(*lines)
    with pytest.raises(RecipeError, match=message) as error:
        read_recipe(argv)
    assert re.match(rf"{re.escape(argv[0])}(, line [4-6])?: ", str(error.value))
    assert "\n" not in str(error.value)


def test_two_gpus_and_no_launcher_are_refused(recipe, monkeypatch):
    """`Trainer` would wrap the model in `torch.nn.DataParallel`."""
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda arguments: 2))
    with pytest.raises(RecipeError, match=r"found 2 GPUs and one process, .*accelerate launch"):
        read_recipe(recipe())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("accelerator_config: gone.json", "No such file or directory: 'gone.json'"),
        ("deepspeed: gone.json", "these arguments are not taken .PackageNotFoundError"),
        (f"model_config: {{a: {'9' * 5000}}}", "not YAML: Exceeds the limit"),
    ],
)
def test_what_transformers_and_yaml_raise_is_one_line_that_names_the_recipe(recipe, line, message):
    with pytest.raises(RecipeError, match=rf"recipe\.yaml: .*{message}"):
        read_recipe(recipe(line))


def test_without_encoders_and_a_saved_model_there_is_nothing_to_train(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("dataset_name: sample\noutput_dir: runs/x\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"text_model .* or model_name_or_path .* found neither"):
        read_recipe([str(path)])


def test_any_recipe_can_go_on_with_a_saved_model(recipe):
    argv = recipe("vision_model: some/encoder", "model_config: {fusion: concat}")
    _, model, _, _ = read_recipe([*argv, "--model_name_or_path", "runs/a", "--lora", "true"])
    assert (model.model_name_or_path, model.lora) == ("runs/a", True)
    assert (model.text_model, model.vision_model, model.model_config) == (None, None, None)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--sed", "1"], "unknown key '--sed', the nearest known one is 'seed'"),
        (["--see", "1"], "unknown key '--see', the nearest known one is 'seed'"),
        (["--learning-rat=1"], "the nearest known one is 'learning_rate'"),
        (["--seed", "often"], "invalid int value: 'often'"),
        (["--model_config", "{"], "model_config is not JSON"),
        (["--model_config", "3"], "model_config is 3, expected a mapping"),
        (["--seed", "x" * 9999], r"invalid int value: '.{100,400}$"),
        (["--bf16", "x" * 9999], r"bf16 is '.{100,400}$"),
        (["--seed", "\x1b[31m"], r"invalid int value: '\\x1b\[31m'$"),
        (["--optim", "none"], "argument --optim: invalid choice: 'none' .{100,400}$"),
    ],
)
def test_a_mistake_on_the_command_line_is_named(recipe, extra, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe([*recipe(), *extra])


def test_a_missing_or_empty_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe"):
        read_recipe([str(tmp_path / "nowhere.yaml")])
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    with pytest.raises(RecipeError, match="found None, expected lines of `key: value`"):
        read_recipe([str(tmp_path / "empty.yaml")])
    with pytest.raises(RecipeError, match=r"required: RECIPE"):
        read_recipe([])


def test_a_recipe_without_data_is_refused(tmp_path):
    (tmp_path / "r.yaml").write_text("text_model: a\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="no data to train on"):
        read_recipe([str(tmp_path / "r.yaml")])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_can_be_read(path):
    saved = ["--model_name_or_path", "runs/2mner", "--train_files", "pt.conllu"]
    needs_a_model = path.stem in ("distill", "new_language")
    _, model, _, training = read_recipe([str(path), *saved * needs_a_model])
    assert model.model_name_or_path if needs_a_model else model.text_model
    assert training.output_dir == f"runs/{path.stem}"


NEW_LANGUAGE = ("new_language: true", "train_files: [pt.conllu]")


@pytest.mark.parametrize("sizes", ["200,50,1000", "50 200 1000", "50,50,200,1000"])
def test_sizes_of_a_learning_curve_ascend(recipe, sizes):
    *_, data, _ = read_recipe([*recipe(*NEW_LANGUAGE), "--learning_curve", sizes])
    assert data.curve_sizes() == [50, 200, 1000]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["replay: 0.1"], "replay is a part of new_language, which is off"),
        (["learning_curve: 50"], "learning_curve is a part of new_language"),
        ([*NEW_LANGUAGE, "learning_curve: many"], "'many', expected sizes such as 50,200,1000"),
        ([*NEW_LANGUAGE, "learning_curve: 0,50"], "expected sizes such as"),
        ([*NEW_LANGUAGE, "replay: -1"], "replay is -1.0, expected a share"),
        ([*NEW_LANGUAGE, "replay_files: [a.txt]"], "replay_files needs replay"),
    ],
)
def test_a_new_language_that_cannot_be_studied_is_refused(recipe, lines, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(recipe(*lines))


def test_the_rate_of_adapters_follows_that_of_the_encoders(recipe):
    *_, training = read_recipe(recipe("learning_rate: 2e-5"))
    assert training.adapter_learning_rate == pytest.approx(2e-4)
    *_, training = read_recipe(recipe("learning_rate: 2e-5", "adapter_learning_rate: 1e-3"))
    assert training.adapter_learning_rate == 1e-3
