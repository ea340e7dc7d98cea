"""The command line from a recipe to a folder that loads, and every mistake on the way to one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
from PIL import Image

from dataset_mmnerd.readers import MalformedLineError, dataset_from_files
from dataset_mmnerd.schema import bio_labels
from training_2mner import run as run_module
from training_2mner.arguments import DataArguments, RecipeError
from training_2mner.building import check_context, load_model
from training_2mner.data import label_names, load_data
from training_2mner.recipes import read_recipe
from training_2mner.run import main as train

ROOT = Path(__file__).parents[1]
SENTENCES = """\
IMGID:red
Ana\tB-PER
lives\tO
in\tO
Rome\tB-LOC

IMGID:missing
nothing\tO
here\tO

IMGID:blue
Bern\tI-LOC
is\tO
far\tO
"""


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder of sentences in two languages with two images."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train_en.txt", "train_de.txt", "dev_en.txt", "test_en.txt", "test_de.txt"):
        (folder / name).write_text(SENTENCES, encoding="utf-8")
    for colour in ("red", "blue"):
        Image.new("RGB", (30, 20), colour).save(folder / f"{colour}.png")
    return folder


@pytest.fixture
def recipe(tmp_path, files, text_encoder, vision_encoder) -> list[str]:
    """A recipe of tiny encoders on those sentences, as one would type it."""
    path = tmp_path / "tiny.yaml"
    keys = {
        "output_dir": tmp_path / "run",
        "text_model": text_encoder("xlm-roberta"),
        "vision_model": vision_encoder("clip"),
        "model_config": {"collaboration_heads": 4},
        "train_files": [f"{files}/train_en.txt", f"{files}/train_de.txt"],
        "validation_files": [f"{files}/dev_en.txt"],
        "test_files": [f"{files}/test_en.txt", f"{files}/test_de.txt"],
        "num_train_epochs": 1,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "use_cpu": "true",
        "bf16": "no",
    }
    # JSON is YAML, but for the words that a recipe writes without quotes.
    lines = [f"{key}: {json.dumps(value, default=str)}" for key, value in keys.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return [str(path)]


def run(argv: list[str], **environment: str) -> subprocess.CompletedProcess:
    """`python train.py ...` as a user runs it."""
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *argv],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_recipe_ends_in_a_table_and_a_folder_that_loads(recipe, tmp_path):
    finished = run([*recipe, "--seed", "3"])
    assert finished.returncode == 0, finished.stderr
    assert "overall" in finished.stdout
    assert "another's image" in finished.stdout
    assert "train: 6 sentences (3 de, 3 en)" in finished.stderr
    assert "1 process(es) (NO)" in finished.stderr
    for file in ("train_en.txt", "train_de.txt"):
        assert f"{file}: in 1 sentences an I- label continues nothing" in finished.stderr

    folder = tmp_path / "run"
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert metrics["seed"] == 3
    assert metrics["recipe"]["file"] == recipe[0]
    assert metrics["recipe"]["training"]["seed"] == 3
    assert metrics["data"]["train"] == {
        "sentences": 6,
        "by_language": {"de": 3, "en": 3},
        "with_image": 4,
        "with_context": 0,
    }
    assert metrics["training"]["steps"] == metrics["training"]["kept_step"] == 3
    assert "eval_f1" in metrics["training"]["validation"]
    assert set(metrics["test"]["by_language"]) == {"de", "en"}
    assert metrics["controls"]["real"] == metrics["test"]
    assert metrics["controls"]["none"] == metrics["text_view"]
    assert "text view F1" in finished.stdout
    assert metrics["test"]["images"] == {"given": 4, "read": 4, "unreadable": 0}
    assert {"torch", "transformers", "python"} <= set(metrics["versions"])

    lines = (folder / "predictions.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["tokens"][0] for record in records] == ["Ana", "nothing", "Bern"] * 2
    assert [record["lang"] for record in records] == ["en"] * 3 + ["de"] * 3
    assert not (folder / "training_args.bin").exists()

    script = (
        "import sys\n"
        "from transformers import AutoModelForTokenClassification, AutoProcessor\n"
        "model = AutoModelForTokenClassification.from_pretrained(sys.argv[1], "
        "trust_remote_code=True)\n"
        "processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "assert 'modeling_2mner' not in sys.modules\n"
        "print(model(**processor(['Ana', 'lives'])).logits.shape)\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-c", script, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path / "home")},
    )
    assert "torch.Size([1, 2, 5])" in loaded.stdout, loaded.stderr


@pytest.fixture
def with_context(files) -> Path:
    """The same sentences as JSON lines, with what was made of their images."""
    for part in ("train", "dev", "test"):
        rows = dataset_from_files(files / f"{part}_en.txt", files).to_list()
        names = dataset_from_files(files / f"{part}_en.txt").features["ner_tags"].feature.names
        lines = [
            json.dumps(
                {
                    "tokens": row["tokens"],
                    "ner_tags": [names[tag] for tag in row["ner_tags"]],
                    "lang": "en",
                    "image": row["image"] and Path(row["image"]["path"]).name,
                    "objects": row["image"] and ["flag", "tower"],
                }
            )
            for row in rows
        ]
        (files / f"{part}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return files


@pytest.mark.parametrize("name", ["ita", "ita_offline", "2mner_ita", "2mner_ita_offline"])
def test_a_recipe_that_reads_context_trains_and_reports_both_views(
    name, with_context, text_encoder, vision_encoder, tmp_path, capsys
):
    path = ROOT / "configs" / f"{name}.yaml"
    encoders = ["--text_model", text_encoder("xlm-roberta")]
    encoders += ["--vision_model", vision_encoder("clip")] if "2mner" in name else []
    files = [f"--{part}_files={with_context}/{part}.jsonl" for part in ("train", "test")]
    files.append(f"--validation_files={with_context}/dev.jsonl")
    budget = ["--processor_config", '{"context_budget": 16}']
    switches = {"cross_view_weight": 0.5, "word_dropout": 0.1, "collaboration_heads": 4}
    tiny = ["--model_config", json.dumps(switches), "--freeze", "text_model.embeddings"]
    tiny += ["vision_model"] if "2mner" in name else []
    output = ["--output_dir", str(tmp_path / "run"), "--use_cpu", "true", "--bf16", "no"]
    train([str(path), *encoders, *files, *budget, *tiny, *output, "--max_steps", "1"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["data"]["train"]["with_context"] == 2
    assert metrics["controls"]["none"] == metrics["text_view"]
    assert metrics["test"]["images"] == {"given": 2, "read": 2, "unreadable": 0}
    assert {"eval_f1_text_view", "eval_f1_both_views"} <= set(metrics["training"]["validation"])
    assert "text view F1" in capsys.readouterr().out
    card = (tmp_path / "run" / "README.md").read_text("utf-8")
    assert '"objects": ["tower"]' in card
    assert ("BIOES" in card) is (name == "ita")


def test_a_mistake_is_one_line_and_no_traceback(recipe):
    finished = run([*recipe, "--lerning_rate", "1"])
    assert finished.returncode == 2
    message = "unknown key '--lerning_rate', the nearest known one is 'learning_rate'"
    assert finished.stderr.splitlines()[-1] == f"2mner train: command line: {message}"
    assert "Traceback" not in finished.stderr


def test_a_saved_model_goes_on_learning(recipe, tmp_path):
    first = tmp_path / "first"
    train([*recipe, "--output_dir", str(first), "--controls", "no"])
    lines = Path(recipe[0]).read_text("utf-8").splitlines()
    encoders = ("text_model", "vision_model", "model_config")
    onward = tmp_path / "onward.yaml"
    kept = [line for line in lines if not line.startswith(encoders)]
    onward.write_text("\n".join([*kept, f"model_name_or_path: {first}"]), encoding="utf-8")
    train([str(onward)])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["recipe"]["model"]["model_name_or_path"] == str(first)
    assert set(metrics["controls"]) == {"real", "none", "shuffled", "blank"}


def test_without_test_or_validation_files_there_is_still_a_model(recipe, tmp_path, files):
    lines = Path(recipe[0]).read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("test_files", "validation_files"))]
    kept += ["eval_strategy: no", "load_best_model_at_end: no", "label_scheme: BIOES"]
    Path(recipe[0]).write_text("\n".join(kept), encoding="utf-8")
    train(recipe)
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "predictions.jsonl").read_text("utf-8") == ""
    config = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    assert "S-LOC" in config["label2id"]


def test_a_folder_of_parquet_trains_too(recipe, tmp_path, files):
    rows = dataset_from_files([files / "train_en.txt", files / "train_de.txt"], files)
    for split in ("train", "validation", "test"):
        (tmp_path / "mmnerd").mkdir(exist_ok=True)
        rows.to_parquet(tmp_path / "mmnerd" / f"{split}.parquet")
    lines = Path(recipe[0]).read_text("utf-8").splitlines()
    kept = [line for line in lines if "_files" not in line]
    kept += [f"dataset_name: {tmp_path / 'mmnerd'}", "languages: [de]"]
    Path(recipe[0]).write_text("\n".join(kept), encoding="utf-8")
    train(recipe)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["data"]["test"]["by_language"] == {"de": 3}
    assert metrics["data"]["test"]["with_image"] == 2


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--languages", "fr"], "train: no sentence in fr; there are de, en"),
        (["--model_config", '{"fusoin": "gated"}'], "'fusoin', the nearest known one is 'fusion'"),
        (["--model_config", '{"alpha": "1:30"}'], "model_config: .*'alpha'.*'1:30'.* float"),
        (["--model_config", '{"alpha": 2}'], "model_config: .*alpha"),
        (["--processor_config", '{"context_bugdet": 1}'], "the nearest known one is 'context_bu"),
        (["--processor_config", '{"context_fields": ["objcts"]}'], "context_fields has 'objcts'"),
        (["--processor_config", '{"context_budget": 9}'], "no sentence has visual context .*fill"),
        (["--freeze", "text_encoder"], "freeze: 'text_encoder' matches no parameter"),
        (["--vision_model", "no/such/encoder"], "an encoder cannot be loaded.*no/such/encoder"),
        (["--model_name_or_path", "no/model"], "model no/model cannot be loaded, neither folder"),
    ],
)
def test_a_recipe_that_does_not_fit_its_data_or_model_is_refused(recipe, extra, message):
    with pytest.raises(RecipeError, match=message):
        train([*recipe, *extra])


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("no/set", None, "data set no/set cannot be loaded, neither folder nor Hub: "),
        ("{files}", "fr", "data set .* cannot be loaded.*'fr' not found"),
    ],
)
def test_a_data_set_that_cannot_be_loaded_is_named(files, name, config, message):
    arguments = DataArguments(dataset_name=name.format(files=files), dataset_config=config)
    with pytest.raises(RecipeError, match=message):
        load_data(arguments, None)


def test_a_label_outside_the_models_set_is_named_with_its_line(recipe, files):
    (files / "test_de.txt").write_text("IMGID:red\nBosch\tB-ORG\n", encoding="utf-8")
    with pytest.raises(MalformedLineError, match=r"test_de\.txt, line 2: found label 'B-ORG'"):
        train(recipe)


@pytest.mark.parametrize(
    ("types", "known", "learned"),
    [
        (None, None, ["PER", "LOC"]),  # of the data
        (None, ["PER", "LOC", "ORG"], ["PER", "LOC", "ORG"]),  # of the model, which has them all
        (None, ["LOC", "ORG"], ["PER", "LOC"]),  # of the data: PER is new to the model
        (["LOC", "PER", "DRUG"], ["LOC", "ORG"], ["LOC", "PER", "DRUG"]),  # as it is told
    ],
)
def test_which_labels_are_learned(files, types, known, learned):
    files = [str(files / "train_en.txt")]
    arguments = DataArguments(train_files=files, test_files=files, entity_types=types)
    known = known and bio_labels(known)
    for rows in load_data(arguments, known).values():
        assert label_names(rows) == bio_labels(learned)


def test_a_label_outside_the_named_types_is_named_with_its_line(files):
    arguments = DataArguments(train_files=[str(files / "train_en.txt")], entity_types=["LOC"])
    with pytest.raises(MalformedLineError, match="line 2: found label 'B-PER'"):
        load_data(arguments)


def test_a_missing_file_is_named(recipe, files):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        train([*recipe, "--train_files", str(files / "nowhere.txt")])


@pytest.mark.parametrize("content", ["", "nothing\tO\n"])
def test_nothing_to_learn_is_refused(recipe, files, content):
    (files / "train_en.txt").write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"no entity to learn in .*train_en\.txt"):
        train([*recipe, "--train_files", str(files / "train_en.txt")])


def test_a_data_set_without_a_train_part_is_refused(tmp_path, files):
    rows = dataset_from_files(files / "train_en.txt")
    (tmp_path / "mmnerd").mkdir()
    rows.to_parquet(tmp_path / "mmnerd" / "test.parquet")
    with pytest.raises(RecipeError, match="no sentence to train on"):
        load_data(DataArguments(dataset_name=str(tmp_path / "mmnerd")), None)


def test_no_validation_part_to_choose_by_is_refused(recipe):
    lines = Path(recipe[0]).read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("validation_files")]
    Path(recipe[0]).write_text("\n".join(kept), encoding="utf-8")
    with pytest.raises(RecipeError, match="no validation part"):
        train(recipe)


def test_a_run_that_is_told_to_stop_says_how_it_goes_on(recipe, tmp_path):
    endless = ["--num_train_epochs", "100000", "--eval_strategy", "no", "--save_strategy", "no"]
    running = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "train.py"),
            *recipe,
            *endless,
            "--load_best_model_at_end",
            "no",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert any("loss_nll" in line for line in running.stdout)
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=120)
    assert running.returncode == 128 + signal.SIGTERM
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    assert f"saved {checkpoint}; the same command with --resume_from_checkpoint last" in output
    assert "Traceback" not in output


def test_a_second_training_in_one_folder_is_refused_until_the_first_is_killed(recipe, tmp_path):
    endless = ["--num_train_epochs", "100000", "--eval_strategy", "no", "--save_strategy", "no"]
    endless += ["--load_best_model_at_end", "no"]
    running = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *recipe, *endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert any("loss_nll" in line for line in running.stdout)
    with pytest.raises(RecipeError, match=rf"another training .*\(process {running.pid} on "):
        train(recipe)
    running.kill()
    running.communicate()
    train([*recipe, "--controls", "no"])
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize("folder", ["/sys/2mner", "/dev/null/2mner"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(recipe, folder):
    with pytest.raises(OSError, match=folder.rpartition("/")[0]):
        train([*recipe, "--output_dir", folder, "--train_files", "nowhere.txt"])


def test_a_run_that_is_over_resumes_to_its_end(recipe, tmp_path):
    """Killed after its training, while it was scored, for instance."""
    train([*recipe, "--controls", "no"])
    figures = [json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))]
    train([*recipe, "--controls", "no", "--resume_from_checkpoint", "last"])
    figures.append(json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8")))
    assert figures[0]["test"] == figures[1]["test"]
    assert figures[0]["training"]["kept_step"] == figures[1]["training"]["kept_step"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--model_config", '{"collaboration_heads": 2}'], "collaboration_heads 4, now it is 2"),
        (["--entity_types", "LOC", "PER"], r"entity_types the default, now it is \['LOC', 'PER'\]"),
        (["--languages", "de"], r"languages the default, now it is \['de'\]"),
    ],
)
def test_a_run_does_not_go_on_from_another_recipes_checkpoint(recipe, tmp_path, extra, message):
    train([*recipe, "--controls", "no"])
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(RecipeError, match=f"checkpoint-3 is of a run with {message}; name another"):
        train([*recipe, *extra, "--resume_from_checkpoint", "last"])
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def test_a_run_goes_on_for_longer_and_from_a_checkpoint_that_is_named(
    recipe, files, tmp_path, caplog
):
    train([*recipe, "--controls", "no"])
    onward = [*recipe, "--num_train_epochs", "2", "--logging_steps", "2", "--save_strategy", "no"]
    onward += ["--load_best_model_at_end", "no", "--test_files", str(files / "test_en.txt")]
    train([*onward, "--resume_from_checkpoint", "last"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["training"]["steps"] == 6
    assert "is of a run with" not in caplog.text
    named = str(tmp_path / "run" / "checkpoint-3")
    train([*onward, "--languages", "en", "--resume_from_checkpoint", named])
    assert "checkpoint-3 is of a run with languages the default, now it is ['en']" in caplog.text


def test_without_evaluations_no_patience_is_lost(recipe, tmp_path):
    """The recipes have one; who switches evaluation off need not know."""
    off = ["--eval_strategy", "no", "--load_best_model_at_end", "no", "--controls", "no"]
    train([*recipe, "--max_steps", "1", "--early_stopping_patience", "3", *off])
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_frozen_encoders_run_once(recipe, tmp_path):
    train([*recipe, "--freeze", "vision_model", "--cache_vision_features"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["test"]["images"] == {"given": 4, "read": 4, "unreadable": 0}
    assert set(metrics["controls"]) == {"real", "none", "shuffled", "blank"}
    assert len(list((tmp_path / "run" / "vision_features").glob("*/*.arrow"))) == 1


@pytest.fixture
def streamed(recipe, tmp_path, files, monkeypatch) -> list[str]:
    """The recipe on a data set of three Parquet files, streamed."""
    # `datasets` sleeps after each pass over several files, lest the process end before its threads.
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)
    for split in ("train", "validation", "test"):
        rows = dataset_from_files([files / "train_en.txt", files / "train_de.txt"])
        for shard in range(3 if split == "train" else 1):
            part = rows.shard(3, shard) if split == "train" else rows
            (tmp_path / "mmnerd").mkdir(exist_ok=True)
            part.to_parquet(tmp_path / "mmnerd" / f"{split}-{shard}.parquet")
    lines = Path(recipe[0]).read_text("utf-8").splitlines()
    kept = [line for line in lines if "_files" not in line]
    kept += [f"dataset_name: {tmp_path / 'mmnerd'}", "streaming: true", "controls: no"]
    Path(recipe[0]).write_text("\n".join(kept), encoding="utf-8")
    return recipe


def test_a_streamed_data_set_trains_and_goes_on(streamed, tmp_path):
    steps = ["--max_steps", "8", "--shuffle_buffer", "2", "--metric_for_best_model", "loss"]
    often = ["--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "5"]
    often += ["--save_steps", "5", "--save_total_limit", "3", "--load_best_model_at_end", "no"]
    run_of = [*streamed, *steps, *often]
    train(run_of)
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    checkpoint = tmp_path / "run" / "checkpoint-5"
    train([*run_of, "--resume_from_checkpoint", str(checkpoint)])
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert metrics["training"]["steps"] == 8
    assert metrics["data"]["train"]["sentences"] == "streamed"
    assert metrics["data"]["test"]["sentences"] == 6


def test_a_stream_gives_valid_labels_in_the_languages_that_were_asked_for(streamed):
    _, _, data, _ = read_recipe([*streamed, "--languages", "de"])
    rows = list(load_data(data)["train"])
    assert sorted(row["tokens"][0] for row in rows) == ["Ana", "Bern", "nothing"]
    assert {row["lang"] for row in rows} == {"de"}
    names = load_data(data)["train"].features["ner_tags"].feature.names
    (bern,) = (row for row in rows if row["tokens"][0] == "Bern")
    assert names[bern["ner_tags"][0]] == "B-LOC"  # the file says I-LOC
    _, _, data, _ = read_recipe([*streamed, "--entity_types", "ORG", "LOC", "PER"])
    rows = load_data(data)["train"]
    names = rows.features["ner_tags"].feature.names
    found = {names[tag] for row in rows for tag in row["ner_tags"]}
    assert found == {"O", "B-PER", "B-LOC"}
    assert names.index("B-ORG") < names.index("B-LOC")


def test_a_stream_that_begins_without_visual_context_is_said(streamed, caplog):
    reading = ["--processor_config", '{"context_budget": 9}']
    _, model, data, _ = read_recipe([*streamed, *reading])
    parts = load_data(data)
    _, processor = load_model(model, None, label_names(parts["train"]))
    empty = parts["train"]
    check_context(processor, parts, model)
    assert "train: none of the first 256 sentences has visual context" in caplog.text
    caplog.clear()
    parts["train"] = empty.map(
        lambda row: {"ocr": ["Bar"] if row["tokens"][0] == "Bern" else None},
        features=empty.features,
    )
    check_context(processor, parts, model)
    assert not caplog.text
    parts["train"] = empty.remove_columns(["objects", "captions", "ocr"])
    with pytest.raises(RecipeError, match="no sentence has visual context"):
        check_context(processor, parts, model)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "expected max_steps, found num_train_epochs 1"),
        (["--max_steps", "2", "--cache_vision_features"], "would have to read the whole stream"),
        (
            ["--max_steps", "2", "--dataloader_num_workers", "2"],
            "dataloader_num_workers 0, found 2",
        ),
        (["--dataset_name", "sample"], "streaming reads a data set"),
        (["--new_language"], "new_language counts sentences, which a stream does not"),
    ],
)
def test_what_a_stream_cannot_feed_is_refused(streamed, extra, message):
    with pytest.raises(RecipeError, match=message):
        train([*streamed, *extra])


def test_processes_that_would_train_apart_are_refused(recipe, monkeypatch):
    """`accelerate launch` can start several processes that each see a world of one."""
    _, _, _, arguments = read_recipe(recipe)
    run_module.refuse_separate_trainings(arguments)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="the launcher started 2 processes"):
        run_module.refuse_separate_trainings(arguments)


# New languages ------------------------------------------------------------------------------------


@pytest.fixture
def base(recipe, tmp_path) -> Path:
    """The run of a model that a new language is added to."""
    folder = tmp_path / "base"
    train([*recipe, "--output_dir", str(folder), "--controls", "no"])
    return folder


@pytest.fixture
def portuguese(base, tmp_path) -> list[str]:
    """`configs/new_language.yaml` on a file of Portuguese, as one would type it."""
    sentences = [f"Ana\tB-PER\nmora\tO\nem\tO\nFaro{n}\tB-LOC\n" for n in range(20)]
    (tmp_path / "pt.txt").write_text("\n".join(sentences), encoding="utf-8")
    options = {
        "model_name_or_path": base,
        "train_files": tmp_path / "pt.txt",
        "output_dir": tmp_path / "pt",
        "min_steps": 3,
        "num_train_epochs": 1,
        "bf16": "no",
        "use_cpu": "true",
    }
    argv = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return [str(ROOT / "configs" / "new_language.yaml"), *argv]


def test_a_new_language_says_what_was_gained_and_what_forgotten(portuguese, base, tmp_path):
    finished = run([*portuguese, "--lora", "--replay", "0.25", "--learning_curve", "4,8,100"])
    assert finished.returncode == 0, finished.stderr
    assert "no test part was given: 1 in 10 of the training sentences (2)" in finished.stderr
    assert "forgetting is measured on 6 sentences of " in finished.stderr
    assert "100 sentences were asked for, there are 18" in finished.stderr
    for name in ("new: pt", "old: de", "old: en"):
        assert name in finished.stdout

    metrics = json.loads((tmp_path / "pt" / "metrics.json").read_text("utf-8"))
    transfer = metrics["transfer"]
    assert transfer["base"] == str(base)
    assert transfer["sentences"] == 18
    assert transfer["replay"]["sentences"] == 4
    assert metrics["data"]["train"]["sentences"] == 22
    for part in ("new", "old"):
        before, after = (transfer[part][when]["overall"]["f1"] for when in ("before", "after"))
        assert transfer[part]["change"] == after - before
    assert transfer["new"]["after"]["overall"] == metrics["test"]["overall"]
    old = json.loads((base / "metrics.json").read_text("utf-8"))["test"]
    assert transfer["old"]["before"]["overall"] == old["overall"]
    assert (tmp_path / "pt" / "adapter_model.safetensors").is_file()
    assert not list((tmp_path / "pt").glob("learning_curve_*"))
    assert (tmp_path / "pt" / "learning_curve.png").is_file()

    file = tmp_path / "pt" / "learning_curve.json"
    curve = json.loads(file.read_text("utf-8"))
    assert [point["sentences"] for point in curve["points"]] == [0, 4, 8, 18]
    assert [point["steps"] for point in curve["points"]] == [0, 3, 3, 3]
    assert curve["points"][0]["new"] == transfer["new"]["before"]
    assert curve["points"][-1]["old"] == transfer["old"]["after"]


def test_an_interrupted_curve_goes_on_with_the_sizes_that_are_missing(
    portuguese, tmp_path, monkeypatch
):
    argv = [*portuguese, "--learning_curve", "4,8,16"]
    train(argv)
    file = tmp_path / "pt" / "learning_curve.json"
    whole = json.loads(file.read_text("utf-8"))
    rest = {**whole, "points": [p for p in whole["points"] if p["sentences"] in (0, 4)]}
    file.write_text(json.dumps(rest), encoding="utf-8")

    taught = []
    build = run_module.new_trainer

    def new_trainer(model, processor, data, arguments):
        taught.append(len(data["train"]))
        return build(model, processor, data, arguments)

    monkeypatch.setattr(run_module, "new_trainer", new_trainer)
    train(argv)
    assert taught == [8, 16]
    again = json.loads(file.read_text("utf-8"))
    for one, other in zip(whole["points"], again["points"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    with pytest.raises(RecipeError, match=r"learning_rate the default, now it is 0\.002"):
        train([*argv, "--learning_rate", "2e-3"])


def test_the_sizes_of_a_curve_share_what_frozen_encoders_gave(portuguese, files, caplog):
    new = ["--train_files", str(files / "train_de.txt"), "--learning_curve", "1,2"]
    new += ["--test_files", str(files / "test_de.txt")]
    train([*portuguese, *new, "--freeze", "vision_model", "--cache_vision_features"])
    said = [line for line in caplog.messages if "images read" in line]
    assert [line.split()[0] for line in said] == ["3", "0"]  # red, blue and the grey one


def test_a_new_language_with_new_types_keeps_what_the_model_knows(portuguese, tmp_path, caplog):
    text = (tmp_path / "pt.txt").read_text("utf-8").replace("em\tO", "em\tB-DRUG")
    (tmp_path / "pt.txt").write_text(text.replace("B-PER", "O"), encoding="utf-8")
    train(portuguese)
    assert "kept O, B-LOC, I-LOC; new B-DRUG, I-DRUG; dropped B-PER, I-PER" in caplog.text
    assert "before and after score the types of both: LOC" in caplog.text
    metrics = json.loads((tmp_path / "pt" / "metrics.json").read_text("utf-8"))
    assert metrics["transfer"]["types"] == ["LOC"]
    assert set(metrics["transfer"]["old"]["before"]["by_type"]) <= {"LOC"}
    assert "DRUG" in metrics["test"]["by_type"]
    labels = ["O", "B-LOC", "I-LOC", "B-DRUG", "I-DRUG"]
    config = json.loads((tmp_path / "pt" / "config.json").read_text("utf-8"))
    assert list(config["id2label"].values()) == labels
    processor = json.loads((tmp_path / "pt" / "processor_config.json").read_text("utf-8"))
    assert processor["labels"] == labels


def test_what_is_old_can_be_named_and_is_needed_only_for_replay(
    portuguese, base, files, tmp_path, caplog
):
    (base / "metrics.json").unlink()
    with pytest.raises(RecipeError, match=r"replay: .* does not say what it was trained on"):
        train([*portuguese, "--replay", "0.1"])
    train(portuguese)
    assert "forgetting is not measured: " in caplog.text
    metrics = json.loads((tmp_path / "pt" / "metrics.json").read_text("utf-8"))
    assert metrics["transfer"]["old"]["change"] is None
    old = str(files / "test_de.txt")
    train([*portuguese, "--old_test_files", old, "--replay", "0.1", "--replay_files", old])
    metrics = json.loads((tmp_path / "pt" / "metrics.json").read_text("utf-8"))
    assert set(metrics["transfer"]["old"]["after"]["by_language"]) == {"de"}
    with pytest.raises(FileNotFoundError):
        train([*portuguese, "--old_test_files", "nowhere.txt"])


def test_a_new_language_needs_a_saved_model(recipe):
    with pytest.raises(RecipeError, match="new_language teaches a saved model"):
        train([*recipe, "--new_language"])
