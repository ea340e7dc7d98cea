"""A push is whole or not at all, and what goes wrong is said in one line with what to do."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import save_file

from cli_2mner import main
from modeling_2mner import LinearChainCRF, TwoMNERConfig
from modeling_2mner.crf_2mner import fingerprint_of
from training_2mner.push import PublishError, prepare_repository, publish

ROOT = Path(__file__).parents[2]
CARD = '---\ntags: [ner]\n---\n# demo\n\nname = "demo"\npipeline(model=name)\n'


@pytest.fixture
def run(tmp_path):
    """A run's folder, as far as its names go."""
    folder = tmp_path / "runs" / "demo"
    (folder / "checkpoint-2").mkdir(parents=True)
    for name in ("metrics.json", "predictions.jsonl", "config.json", "processor_config.json"):
        (folder / name).write_text("{}")
    (folder / "thresholds.json").write_text("{}")
    for name in ("tokenizer.json", "tokenizer_config.json", "checkpoint-2/config.json"):
        (folder / name).write_text("{}")
    (folder / "modeling_2mner.py").write_text("# code\n")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text(CARD)
    return folder


def files(hub, kind: str = "models", name: str = "me/demo") -> dict[str, str]:
    commit = hub.repository(kind, name).resolve("main")
    contents = {path: hub.content(file).read_bytes() for path, file in commit.files.items()}
    del contents[".gitattributes"]
    return {path: content.decode() for path, content in contents.items()}


def commits(hub, name: str = "me/demo") -> list[str]:
    history = hub.repository("models", name).resolve("main").history()
    return [commit.title for commit in history]


def test_a_run_is_sent_in_one_commit_without_what_no_loading_needs(online, run):
    address = publish(run, "me/demo")
    assert sorted(files(online)) == [
        "README.md",
        "config.json",
        "handler.py",
        "model.safetensors",
        "modeling_2mner.py",
        "processor_config.json",
        "thresholds.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert commits(online) == ["Publish demo", "initial commit"]
    assert address.startswith(f"{online.url}/me/demo/commit/")


def test_evaluation_results_go_along_and_those_of_others_stay(online, run):
    (run / ".eval_results").mkdir()
    (run / ".eval_results" / "2mner.yaml").write_text("- value: 1\n")
    (run / ".eval_results" / "other.yaml").write_text("not sent")
    publish(run, "me/demo")
    assert files(online)[".eval_results/2mner.yaml"] == "- value: 1\n"
    assert ".eval_results/other.yaml" not in files(online)
    HfApi(token="hf_me").upload_file(
        path_or_fileobj=b"- value: 2\n",
        path_in_repo=".eval_results/benchmark.yaml",
        repo_id="me/demo",
    )
    (run / ".eval_results" / "2mner.yaml").unlink()
    publish(run, "me/demo")
    names = [name for name in files(online) if name.startswith(".eval_results/")]
    assert names == [".eval_results/benchmark.yaml"]


def test_the_cards_example_names_the_repository(online, run):
    publish(run, "demo")
    assert files(online)["README.md"] == CARD.replace('"demo"', '"me/demo"')
    assert (run / "README.md").read_text() == CARD


def test_nothing_of_an_earlier_version_lingers_and_what_others_added_stays(online, run):
    (run / "model-00001-of-00002.safetensors").write_bytes(b"part")
    (run / "old_2mner.py").write_text("# old\n")
    publish(run, "me/demo")
    (run / "model-00001-of-00002.safetensors").unlink()
    (run / "old_2mner.py").unlink()
    (run / "LICENSE").write_text("not sent")
    publish(run, "me/demo")
    assert {"old_2mner.py", "model-00001-of-00002.safetensors"}.isdisjoint(files(online))
    assert commits(online)[0] == "Publish demo"


@pytest.mark.parametrize(("method", "address"), [("PUT", "^/lfs/"), ("POST", "/commit/main$")])
def test_a_push_that_breaks_off_leaves_nothing_and_a_second_one_completes_it(
    online, run, method, address
):
    online.fail(method, address)
    message = (
        r"me/demo: the Hub answered 507 \(.*\); nothing was changed there; "
        rf"to try again: 2mner push {run} me/demo"
    )
    with pytest.raises(PublishError, match=message):
        publish(run, "me/demo")
    assert files(online) == {}
    publish(run, "me/demo")
    assert "model.safetensors" in files(online)
    assert len(commits(online)) == 2


def test_a_repository_that_exists_gets_a_new_commit_and_its_past_is_named(online, run, caplog):
    publish(run, "me/demo")
    before = online.repository("models", "me/demo").resolve("main").oid
    (run / "config.json").write_text('{"a": 1}')
    with caplog.at_level("INFO"):
        publish(run, "me/demo")
    assert f"me/demo exists; what is in it now stays at revision {before}" in caplog.text
    assert files(online)["config.json"] == '{"a": 1}'


def test_sub_folders_of_the_repository_are_not_touched(online, run):
    publish(run, "me/demo")
    repository = online.repository("models", "me/demo")
    there = repository.resolve("main").files
    more = {"onnx/model.safetensors": there["model.safetensors"], "b/README.md": there["README.md"]}
    repository.commit("main", "me", "more", "", {**there, **more})
    publish(run, "me/demo")
    assert more.keys() <= files(online).keys()


def test_a_link_that_leaves_the_folder_is_never_sent(online, run, tmp_path):
    (tmp_path / "private.json").write_text("mine")
    (run / "tokenizer.json").unlink()
    (run / "tokenizer.json").symlink_to(tmp_path / "private.json")
    message = r"tokenizer\.json: found a link that leaves .*demo, expected a file inside it"
    with pytest.raises(PublishError, match=message):
        publish(run, "me/demo")
    (run / "tokenizer.json").unlink()
    (run / "tokenizer.json").symlink_to("config.json")
    (run / "more.safetensors").mkdir()
    publish(run, "me/demo")
    assert files(online)["tokenizer.json"] == "{}"
    assert "more.safetensors" not in files(online)


def test_the_metrics_own_links_to_the_models_code_are_sent(online):
    publish(ROOT / "metrics" / "mmner", "me/mmner")
    assert "labels_2mner.py" in files(online, "spaces", "me/mmner")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"base_model_name_or_path": 5}', "\xff"])
def test_a_damaged_adapter_config_is_one_line_that_names_it(run, content, capsys):
    (run / "adapter_config.json").write_bytes(content.encode("latin-1"))
    assert main(["push", str(run), "me/demo"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"2mner push: {run / 'adapter_config.json'}: found ")
    assert line.endswith('expected a JSON object with "base_model_name_or_path"\n')
    assert line.count("\n") == 1


def test_a_repository_that_holds_something_else_is_left_alone(online, run):
    publish(run, "me/demo")
    repository = online.repository("models", "me/demo")
    alien = {"pytorch_model.bin": repository.resolve("main").files["config.json"]}
    repository.commit("main", "me", "alien", "", alien)
    message = r"me/demo exists and holds something else \(pytorch_model\.bin\): name another"
    with pytest.raises(PublishError, match=message):
        prepare_repository("me/demo")


def test_what_should_be_private_never_goes_to_a_public_repository(online, run):
    publish(run, "me/secret", private=True)
    assert online.repository("models", "me/secret").private
    publish(run, "me/demo")
    with pytest.raises(PublishError, match="me/demo exists and is public: make it private in"):
        publish(run, "me/demo", private=True)


def test_an_adapter_of_a_folder_is_of_use_to_nobody(online, run, monkeypatch):
    monkeypatch.chdir(run.parents[1])
    for base in (str(run), "runs/demo"):
        settings = {"base_model_name_or_path": base}
        (run / "adapter_config.json").write_text(json.dumps(settings))
        with pytest.raises(PublishError, match=f"base {base} is a folder that nobody else has"):
            publish(run, "me/adapter")


def test_a_metric_goes_to_a_space_of_its_own_name(online, tmp_path):
    folder = tmp_path / "agreement"
    folder.mkdir()
    for name in ("agreement.py", "labels_2mner.py"):
        (folder / name).write_text("# code\n")
    (folder / "README.md").write_text(CARD)
    (folder / "notes.txt").write_text("not sent")
    with pytest.raises(PublishError, match=r"me/other: `evaluate\.load` looks for a file of the"):
        publish(folder, "me/other")
    publish(folder, "me/agreement")
    assert sorted(files(online, "spaces", "me/agreement")) == [
        "README.md",
        "agreement.py",
        "labels_2mner.py",
    ]


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(PublishError, match=r"found neither config\.json nor adapter_config\.json"):
        publish(tmp_path, "me/demo")


def test_the_command_tells_the_address_or_why_not(online, run, capsys):
    assert main(["push", str(run), "me/demo", "--private"]) == 0
    assert capsys.readouterr().out.startswith(f"{online.url}/me/demo/commit/")
    assert main(["push", str(run), "you/demo"]) == 1
    line = "2mner push: you/demo: your token may not write there"
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)


# Exported models ----------------------------------------------------------------------------------

ONNX = {"onnx/tagger.json", "onnx/text.onnx", "onnx/tagger.py"}


def trained(folder, seed: int):
    """Other weights in a run's folder; their fingerprint."""
    torch.manual_seed(seed)
    crf = LinearChainCRF(TwoMNERConfig().labels)
    TwoMNERConfig().save_pretrained(folder)
    save_file(
        {f"crf.{name}": value for name, value in crf.state_dict().items()}, weights_of(folder)
    )
    return fingerprint_of(crf)


def weights_of(folder) -> Path:
    return folder / "model.safetensors"


def export_of(weights: str, folder: Path) -> Path:
    """An export's folder, as far as its names and its fingerprint go."""
    folder.mkdir(exist_ok=True)
    for name in ("text.onnx", "tagger.py", "notes.txt"):
        (folder / name).write_text(weights, encoding="utf-8")
    (folder / "tagger.json").write_text(json.dumps({"weights": weights}), encoding="utf-8")
    return folder


def names(hub) -> set[str]:
    return set(hub.repository("models", "me/demo").resolve("main").files)


def test_an_export_is_sent_with_its_model_in_one_commit(online, run, tmp_path):
    exported = export_of(trained(run, 0), tmp_path / "exported")
    assert main(["push", str(run), "me/demo", "--onnx", str(exported)]) == 0
    assert {name for name in names(online) if "onnx" in name} == ONNX
    assert commits(online) == ["Publish demo", "initial commit"]


def test_a_push_of_the_same_weights_keeps_the_export_and_other_weights_delete_it(
    online, run, tmp_path, caplog
):
    exported = export_of(trained(run, 0), tmp_path / "exported")
    publish(run, "me/demo", onnx=exported)
    publish(run, "me/demo")
    assert names(online) > ONNX
    trained(run, 1)
    publish(run, "me/demo")
    assert not names(online) & ONNX
    assert "me/demo: onnx/ is deleted, as it holds other weights: `2mner export" in caplog.text
    exported = export_of(trained(run, 2), exported)
    publish(run, "me/demo", onnx=exported)
    assert names(online) > ONNX


def test_an_export_of_another_model_is_not_sent(online, run, tmp_path, capsys):
    trained(run, 0)
    exported = export_of("other", tmp_path / "exported")
    assert main(["push", str(run), "me/demo", "--onnx", str(exported)]) == 1
    assert f"{exported}: found an export of other weights, expected what" in capsys.readouterr().err
    (exported / "tagger.json").unlink()
    assert main(["push", str(run), "me/demo", "--onnx", str(exported)]) == 1
    assert f"{exported}: found no tagger.json, expected what" in capsys.readouterr().err
    weights_of(run).write_bytes(b"broken")
    with pytest.raises(PublishError, match="found no weights"):
        publish(run, "me/demo", onnx=export_of("other", exported))
    (run / "config.json").rename(run / "adapter_config.json")
    (run / "adapter_config.json").write_text('{"base_model_name_or_path": "me/base"}')
    with pytest.raises(PublishError, match=r"--onnx was given with .*, expected a model's folder"):
        publish(run, "me/demo", onnx=exported)
    assert not online.repositories
