"""What the README says works. (Its section "Use it" is run by `test_publishing.py`.)"""

import json
import re
import runpy
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from training_2mner.run import main as train

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "benchmarks/README.md",
    "docs/data.md",
    "docs/publishing.md",
    "docs/new_language.md",
]


@pytest.fixture
def fine_tuning(tmp_path, monkeypatch) -> str:
    """The README's section, beside a data set of the form that it tells of."""
    monkeypatch.chdir(tmp_path)
    images = [Path("red.png"), Path("blue.png"), None, None]
    for path in images[:2]:
        Image.new("RGB", (40, 30), path.stem).save(path)
    table = {
        "words": [["Ana", "canta"], ["Lima", "!"], ["ok"], ["Rio"]],
        "tags": [[1, 0], [3, 0], [0], [4]],
        "photo": [image and {"bytes": image.read_bytes(), "path": None} for image in images],
    }
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    features = {
        "words": List(Value("string")),
        "tags": List(ClassLabel(names=names)),
        "photo": ImageFeature(),
    }
    rows = Dataset.from_dict(table, features=Features(features))
    Path("tweets").mkdir()
    for split in ("train", "validation", "test"):
        rows.to_parquet(Path("tweets") / f"{split}.parquet")
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Fine-tune on your own")[1]
    return section.split("\n## ")[0].replace("me/tweets", "tweets")


def test_fine_tuning_by_a_command(fine_tuning, text_encoder, vision_encoder, tmp_path):
    (command,) = re.findall(r"^    python train\.py configs/2mner\.yaml (.*)$", fine_tuning, re.M)
    encoders = ["--text_model", text_encoder(), "--vision_model", vision_encoder()]
    tiny = ["--model_config", '{"collaboration_heads": 4}', "--max_steps", "1", "--use_cpu", "true"]
    run = ["--output_dir", "run", "--controls", "no", "--bf16", "no"]
    train([str(ROOT / "configs" / "2mner.yaml"), *command.split(), *encoders, *tiny, *run])
    metrics = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))
    assert metrics["data"]["train"]["by_language"] == {"pt": 4}
    assert metrics["data"]["train"]["with_image"] == 2
    assert metrics["test"]["overall"]["gold"] == 3


def test_fine_tuning_in_code(fine_tuning, text_encoder, vision_encoder):
    code = re.search(r"```python\n(.*?)```", fine_tuning, re.DOTALL)[1]
    code = code.replace('"xlm-roberta-base"', repr(text_encoder()))
    code = code.replace('"openai/clip-vit-base-patch32"', repr(vision_encoder()))
    Path("snippet.py").write_text(code, encoding="utf-8")
    names = runpy.run_path("snippet.py")
    assert names["loss"] > 0
    assert names["batch"]["image_mask"].tolist() == [True, True, False, False]
    assert names["model"].config.labels == names["labels"]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_recipe_is_in_the_table():
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "configs").iterdir() if path.name not in table] == []
