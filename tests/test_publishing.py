"""The whole way, in fresh processes with empty caches: train, push, and load by name from the Hub,
without the project; then the same with it, and an adapter in a private repository.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from tests.conftest import run_client
from tests.hub_server import HubServer
from tests.published import MODEL_CODE, PROCESSOR, PROCESSOR_CODE

ROOT = Path(__file__).parents[1]

ROWS = [
    ("Ana lives here", "B-PER O O", "red.png"),
    ("she saw Rome", "O O B-LOC", "blue.png"),
    ("Bo likes Bern", "B-PER O B-LOC", None),
    ("nothing at all", "O O O", "red.png"),
]


def python_blocks(page: Path, heading: str) -> list[str]:
    """The Python examples under a heading of a page."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page.read_text("utf-8"), re.M | re.S)
    return re.findall(r"^```python\n(.*?)^```", section[1], re.M | re.S)


def write_data(folder: Path) -> None:
    """JSON lines in two languages and three parts, and their images."""
    for language in ("en", "fr"):
        place = folder / language
        place.mkdir(parents=True)
        for colour in ("red", "blue"):
            Image.new("RGB", (40, 30), colour).save(place / f"{colour}.png")
        lines = [
            json.dumps(
                {
                    "id": f"{language}-{number}",
                    "tokens": words.split(),
                    "ner_tags": tags.split(),
                    "lang": language,
                    "image": image,
                }
            )
            for number, (words, tags, image) in enumerate(ROWS)
        ]
        for split in ("train", "validation", "test"):
            (place / f"{split}.jsonl").write_text("\n".join(lines))


# What each process runs ---------------------------------------------------------------------------

# Entities and logits as JSON: a float's text has all of its digits.
LOOK = """
import contextlib, json, sys, torch
from PIL import Image
from transformers import AutoModelForTokenClassification, AutoProcessor, pipeline

TEXTS = ["Angela Merkel besucht Paris.", "Ana, Bo et l'Élysée 👩🏽‍🚀"]
RED = Image.new("RGB", (20, 30), "red")

def entities(ner):
    return ner([{"text": TEXTS[0], "image": RED}, TEXTS[1]])

def logits(model, processor):
    with torch.no_grad():
        batch = processor([["Ana", "Bo"], ["Hola"]], images=[RED, None])
        return model.eval()(**batch).logits.tolist()

def tell(**facts):
    print("FACTS", json.dumps(facts))
"""

AUTHOR = """
from training_2mner.run import main as train
from dataset_mmnerd.__main__ import main as dataset
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from training_2mner.push import main as publish

with contextlib.redirect_stdout(sys.stderr):
    train([{recipe!r}, "--push_to_hub", "--hub_model_id", "me/2mner"])
    assert not publish([{metric!r}, "me/mmner"])
    assert dataset(["build", "--source", "jsonl", "--data-dir", {data!r}, "--out", "mmnerd"]) == 0
    assert dataset(["push", "mmnerd", "--repo-id", "me/mmnerd"]) == 0

found = entities(pipeline("multimodal-ner", model={run!r}, trust_remote_code=True))
model = TwoMNERForTokenClassification.from_pretrained({run!r})
processor = TwoMNERProcessor.from_pretrained({run!r})
before = logits(model, processor)
model.push_to_hub("me/by-hand", private=True)
processor.push_to_hub("me/by-hand")

# A newer version, of weights and code.
model.classifier.bias.data += 1
model.save_pretrained({run!r})
with open({run!r} + "/modeling_2mner.py", "a") as code:
    code.write("NEWER = True\\n")
with contextlib.redirect_stdout(sys.stderr):
    assert not publish([{run!r}, "me/2mner"])
tell(entities=found, logits=before, newer=logits(model, processor))
"""

STRANGER = """
try:
    AutoModelForTokenClassification.from_pretrained("me/2mner")
except ValueError as error:
    refusal = str(error)
ran = [name for name in sys.modules if name.startswith("transformers_modules.")]

RED.save("photo.jpg")
{examples}

first = {{"revision": "{first}", "trust_remote_code": True}}
processor = AutoProcessor.from_pretrained("me/2mner", **first)

def look(**versions):
    model = AutoModelForTokenClassification.from_pretrained(
        "me/2mner", **{{"trust_remote_code": True, **versions}}
    )
    return [logits(model, processor), hasattr(sys.modules[type(model).__module__], "NEWER")]

labels = [["B-PER", "O"]]
tell(
    refusal=refusal,
    ran=ran,
    entities=entities(pipeline("multimodal-ner", model="me/2mner", **first)),
    pinned=look(**first),
    newest=look(),
    newest_weights_with_first_code=look(code_revision="{first}"),
    french=list(french)[0]["tokens"],
    f1=mmner.compute(predictions=labels, references=labels)["overall"]["f1"],
)
"""

COLLEAGUE = """
import modeling_2mner
from peft import PeftModel
from training_2mner.run import main as train

model = AutoModelForTokenClassification.from_pretrained("me/2mner", revision="{first}")
processor = AutoProcessor.from_pretrained("me/2mner", revision="{first}")
before = logits(model, processor)
with contextlib.redirect_stdout(sys.stderr):
    train([{recipe!r}, "--push_to_hub", "--hub_model_id", "adapter", "--hub_private_repo"])
base = AutoModelForTokenClassification.from_pretrained("me/2mner")
plain = logits(base, processor)
adapted = PeftModel.from_pretrained(base, {run!r})
tell(logits=before, plain=plain, adapted=logits(adapted, processor))
"""

STRANGER_WITH_TOKEN = """
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError

refused = []
for name, file in (("me/adapter", "adapter_config.json"), ("me/by-hand", "config.json")):
    try:
        hf_hub_download(name, file, token=False)
    except RepositoryNotFoundError:
        refused.append(name)
{examples}
processor = AutoProcessor.from_pretrained("me/adapter", trust_remote_code=True)
tell(
    refused=refused,
    adapted=logits(model, processor),
    entities=entities(pipeline("multimodal-ner", model="me/by-hand", trust_remote_code=True)),
)
"""


# The walk -----------------------------------------------------------------------------------------


@dataclass
class Walk:
    """The Hub at the end of the way, and what each process told."""

    hub: HubServer
    runs: Path
    author: dict
    stranger: dict
    colleague: dict
    stranger_with_token: dict


def facts(result: subprocess.CompletedProcess[str]) -> dict:
    """What a process told of what it saw."""
    return json.loads(re.search(r"FACTS (.*)$", result.stdout, re.MULTILINE)[1])


def write_recipe(path: Path, data: Path, run: Path, **more: str) -> str:
    """Two steps on that data."""
    files = {
        f"{split}_files": [str(data / language / f"{split}.jsonl") for language in ("en", "fr")]
        for split in ("train", "validation", "test")
    }
    settings = {"max_steps": 2, "eval_strategy": "no", "save_strategy": "no", "bf16": "no"}
    settings |= {"load_best_model_at_end": False, "use_cpu": True, "disable_tqdm": True}
    settings |= {"learning_rate": 1e-4, "output_dir": str(run)}
    path.write_text(json.dumps(files | settings | more))  # JSON is YAML, too
    return str(path)


@pytest.fixture(scope="module")
def walk(text_encoder, vision_encoder, tmp_path_factory) -> Walk:
    root = tmp_path_factory.mktemp("walk")
    data, runs = root / "data", root / "runs"
    write_data(data)
    encoders = {"text_model": text_encoder(), "vision_model": vision_encoder()}
    recipe = write_recipe(root / "recipe.yaml", data, runs / "model", **encoders)
    saved = {"model_name_or_path": "me/2mner", "lora": True}
    adapt = write_recipe(root / "adapt.yaml", data, runs / "adapter", **saved)
    usage, publishing = ROOT / "docs" / "usage.md", ROOT / "docs" / "publishing.md"
    places = [(usage, "The pipeline"), (usage, "By hand"), (publishing, "Load")]
    *examples, adapter_example = [block for place in places for block in python_blocks(*place)]
    with HubServer(root / "hub", tokens={"hf_me": "me"}) as hub:
        paths = {"recipe": recipe, "data": str(data), "run": str(runs / "model")}
        code = AUTHOR.format(metric=str(ROOT / "metrics" / "mmner"), **paths)
        author = run_client(hub, root, LOOK, code, token="hf_me", home="author")
        first = list(hub.repository("models", "me/2mner").resolve("main").history())[1].oid

        code = STRANGER.format(examples="\n".join(examples), first=first)
        stranger = run_client(hub, root, LOOK, code, home="stranger", stranger=True)

        code = COLLEAGUE.format(recipe=adapt, run=str(runs / "adapter"), first=first)
        colleague = run_client(hub, root, LOOK, code, token="hf_me", home="colleague")

        code = STRANGER_WITH_TOKEN.format(examples=adapter_example)
        with_token = {"token": "hf_me", "home": "stranger with token", "stranger": True}
        last = run_client(hub, root, LOOK, code, **with_token)
        yield Walk(hub, runs, *map(facts, (author, stranger, colleague, last)))


def nearly(facts: object) -> object:
    """The same, numbers equal but for rounding: processes lay out their memory differently."""
    if isinstance(facts, list):
        return [nearly(each) for each in facts]
    if isinstance(facts, dict):
        return {key: nearly(value) for key, value in facts.items()}
    return pytest.approx(facts, rel=1e-4, abs=1e-5) if isinstance(facts, float) else facts


def listing(walk: Walk, kind: str, name: str) -> list[str]:
    """The files of a repository, but for the one that the Hub itself puts there."""
    return sorted(set(walk.hub.repository(kind, name).resolve("main").files) - {".gitattributes"})


def titles(walk: Walk, kind: str, name: str) -> list[str]:
    """Its commits after the first one, which creates it."""
    return [commit.title for commit in walk.hub.repository(kind, name).resolve("main").history()][
        -2::-1
    ]


def test_the_entities_are_those_before_the_push(walk):
    assert any(walk.author["entities"])
    assert walk.stranger["entities"] == nearly(walk.author["entities"])


def test_each_repository_holds_what_is_needed_file_by_file(walk):
    weights = ["README.md", "config.json", "model.safetensors"]
    pushed = [*weights, "handler.py"]
    assert listing(walk, "models", "me/2mner") == sorted(pushed + MODEL_CODE + PROCESSOR)
    assert listing(walk, "models", "me/by-hand") == sorted(weights + MODEL_CODE + PROCESSOR)
    adapter = ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert listing(walk, "models", "me/adapter") == sorted(adapter + PROCESSOR_CODE + PROCESSOR)
    assert listing(walk, "spaces", "me/mmner") == [
        "README.md",
        "labels_2mner.py",
        "metrics.py",
        "mmner.py",
    ]


def test_each_push_is_one_commit(walk):
    assert titles(walk, "models", "me/2mner") == ["Publish model", "Publish model"]
    assert titles(walk, "models", "me/adapter") == ["Publish adapter"]
    assert titles(walk, "models", "me/by-hand") == [
        "Upload TwoMNERForTokenClassification",
        "Upload processor",
    ]
    assert titles(walk, "spaces", "me/mmner") == ["Publish mmner"]
    assert titles(walk, "datasets", "me/mmnerd") == ["Publish the data set"]


def test_without_trust_nothing_of_the_repository_runs(walk):
    assert "trust_remote_code=True" in walk.stranger["refusal"]
    assert walk.stranger["ran"] == []


def test_a_revision_pins_weights_and_code_and_a_code_revision_the_code(walk):
    old, new = walk.author["logits"], walk.author["newer"]
    assert old != nearly(new)
    assert walk.stranger["pinned"] == nearly([old, False])
    assert walk.stranger["newest"] == nearly([new, True])
    assert walk.stranger["newest_weights_with_first_code"] == nearly([new, False])


def test_the_data_set_and_the_metric_load_by_name(walk):
    assert walk.stranger["french"] == ROWS[0][0].split()
    assert walk.stranger["f1"] == 1.0


def test_with_the_project_installed_no_remote_code_is_needed(walk):
    assert walk.colleague["logits"] == nearly(walk.author["logits"])


def test_an_adapter_loads_on_its_base_and_gives_what_it_gave_where_it_was_trained(walk):
    assert walk.colleague["plain"] == nearly(walk.author["newer"])
    assert walk.colleague["adapted"] != nearly(walk.colleague["plain"])
    assert walk.stranger_with_token["adapted"] == nearly(walk.colleague["adapted"])
    settings = json.loads((walk.runs / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "me/2mner"


def test_private_repositories_load_with_the_token_and_are_not_there_without(walk):
    assert walk.hub.repository("models", "me/adapter").private
    assert walk.stranger_with_token["refused"] == ["me/adapter", "me/by-hand"]
    assert walk.stranger_with_token["entities"] == nearly(walk.author["entities"])


def test_the_cards_on_the_hub_are_the_runs_own(walk):
    for name, run in (("me/2mner", "model"), ("me/adapter", "adapter")):
        files = walk.hub.repository("models", name).resolve("main").files
        card = walk.hub.content(files["README.md"]).read_text("utf-8")
        assert f'\nname = "{name}"\n' in card
        figures = json.loads((walk.runs / run / "metrics.json").read_text())
        (model,) = ModelCard(card).data.to_dict()["model-index"]
        shown = {row["type"]: row["value"] for row in model["results"][0]["metrics"]}
        assert shown == {key: figures["test"]["overall"][key] for key in shown}


def test_a_push_without_a_token_ends_before_the_training_in_one_line(
    hub, client, text_encoder, tmp_path
):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"text_model: {text_encoder()}\ndataset_name: sample\noutput_dir: {tmp_path}/run\n"
    )
    code = f"""
        import runpy, sys
        sys.argv = ["train.py", {str(recipe)!r}, "--push_to_hub"]
        runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
    """
    result = client(code, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "2mner train: there is no token for the Hub: log in with `hf auth login`, "
        "or set HF_TOKEN to a token that may write"
    )
    assert not (tmp_path / "run").exists()
