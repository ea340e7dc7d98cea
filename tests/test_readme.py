"""What the README says works. (Its section "Use it" is run by `test_publishing.py`.)"""

import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "benchmarks/README.md",
    "docs/data.md",
    "docs/publishing.md",
    "docs/new_language.md",
]


def test_fine_tuning_in_code(text_tower, vision_tower, tmp_path, monkeypatch):
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Fine-tune, in code")[1]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    code = code.replace('"xlm-roberta-base"', repr(text_tower()))
    code = code.replace('"openai/clip-vit-base-patch32"', repr(vision_tower()))
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "red").save("packet.jpg")
    Path("snippet.py").write_text(code, encoding="utf-8")
    names = runpy.run_path("snippet.py")
    assert names["loss"] > 0
    assert names["batch"]["image_mask"].tolist() == [True, False]
    assert names["model"].config.labels == names["labels"]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_every_recipe_is_in_the_table():
    table = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "configs").iterdir() if path.name not in table] == []
