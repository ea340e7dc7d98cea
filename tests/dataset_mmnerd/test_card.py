"""The data card says what is in the data, guesses nothing, and no sentence becomes markup."""

import io
import json
import re
import warnings

import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from dataset_mmnerd.build import build
from dataset_mmnerd.card import CardFacts
from dataset_mmnerd.card_images import label_chart

from .conftest import conll, image_bytes


@pytest.fixture
def card(mmnerd_folder, tmp_path):
    """Build MMNERD with some facts: its card, and its folder."""

    def make(**facts):
        folder = tmp_path / "mmnerd"
        build("mmnerd", mmnerd_folder, folder, facts=CardFacts("My set", **facts))
        return DatasetCard.load(folder / "README.md"), folder

    return make


def test_its_metadata_makes_configs_splits_and_the_viewer(card):
    data = card(license="cc-by-4.0")[0].data.to_dict()
    assert data["language"] == ["de", "en", "es", "fr"]
    assert data["license"] == "cc-by-4.0"
    assert data["size_categories"] == ["n<1K"]
    names = [config["config_name"] for config in data["configs"]]
    assert names == ["all", "de", "en", "es", "fr"]
    assert [config.get("default", False) for config in data["configs"]] == [True] + [False] * 4
    assert data["configs"][1]["data_files"][0] == {
        "split": "train",
        "path": "data/de/train-*.parquet",
    }
    infos = {info["config_name"]: info for info in data["dataset_info"]}
    sizes = {split["name"]: split["num_examples"] for split in infos["all"]["splits"]}
    assert sizes == {"train": 8, "validation": 8, "test": 8}


def test_licence_and_source_are_never_guessed(card):
    text = card()[0].text
    assert "**Licence:** not stated" in text
    assert "**Source:** not stated" in text


def test_it_counts_and_shows_the_data(card):
    loaded, folder = card(origin="the authors")
    text = loaded.text
    assert "# My set" in text
    assert "24 sentences in\nGerman, English, Spanish and French" in text
    assert "| German, train | 2 | 10 | 4 | 2 |" in text
    assert "| German | 6 | 0 | 6 | 0 |" in text
    assert "**Source:** the authors" in text
    assert 'load_dataset("mmnerd", "de")' in text
    assert "**Le Bal** (MISC)" in text
    with Image.open(folder / "assets" / "examples.png") as strip:
        assert strip.height == 200 and strip.width > 1000
    with Image.open(folder / "assets" / "labels.png") as plot:
        assert len(plot.getcolors(maxcolors=100_000)) > 10


def test_it_says_what_shared_images_save(card):
    text = card()[0].text
    assert "0.0 MiB of images instead of 0.0 MiB" in text


def test_a_set_without_images_shows_none(built):
    text = (built(train=[("Ana", "B-PER")]) / "README.md").read_text()
    assert "examples.png" not in text
    assert "there are none" in text
    assert "No audit was made" in text


def test_words_of_the_data_are_no_markup(tmp_path):
    words = ["<img", "src=x>", "|", "*b*", "[link](x)", "`c`", "&amp;", "Ana"]
    (tmp_path / "a.png").write_bytes(image_bytes())
    (tmp_path / "train_en.txt").write_text(conll(("a", words, ["O"] * 7 + ["B-PER"])))
    build("conll", tmp_path, tmp_path / "out" / "set")
    text = (tmp_path / "out" / "set" / "README.md").read_text()
    assert r"&lt;img src=x&gt; \| \*b\* \[link\](x) \`c\` &amp;amp; **Ana** (PER)" in text


def test_any_number_of_languages_and_types_has_a_chart(tmp_path):
    """MultiCoNER's shape is built, twelve languages with 33 types; a chart shows 60 with 2,000."""
    languages = ("bn", "de", "en", "es", "fa", "fr", "hi", "it", "pt", "sv", "uk", "zh")
    types = [f"Type{number}" for number in range(33)]
    tags = [f"B-{name}" for name in types]
    lines = [json.dumps({"tokens": types, "ner_tags": tags, "lang": lang}) for lang in languages]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    build("jsonl", tmp_path / "train.jsonl", tmp_path / "set", with_audit=False)
    many = {str(lang): {str(name): lang + name for name in range(2000)} for lang in range(60)}
    for chart in (
        (tmp_path / "set" / "assets" / "labels.png").read_bytes(),
        label_chart(many, [str(name) for name in range(2000)]),
    ):
        with Image.open(io.BytesIO(chart)) as image:
            assert image.width == 900 and 500 < image.height < 1200


def test_a_chart_shows_names_of_any_characters():
    names = ["$x^{$", "日本", "a\0b", "x" * 1000, "\\frac"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = label_chart({"de": dict.fromkeys(names, 3)}, names)
    assert first == label_chart({"de": dict.fromkeys(names, 3)}, names)
    assert label_chart({"de": {}}, []).startswith(b"\x89PNG")


def test_a_nul_in_a_token_is_shown_as_it_is(tmp_path):
    (tmp_path / "a.png").write_bytes(image_bytes())
    words, tags = ["\0", "A\0na", "\0x\0"], ["O", "B-PER", "I-PER"]
    (tmp_path / "train_en.txt").write_text(conll(("a", words, tags)))
    build("conll", tmp_path, tmp_path / "out" / "set")
    text = (tmp_path / "out" / "set" / "README.md").read_text()
    assert "(en) \0 **A\0na \0x\0** (PER)" in text
    (path,) = tmp_path.glob("out/set/data/en/*.parquet")
    assert pq.read_table(path)["tokens"].to_pylist() == [words]


HOSTILE = ["<script>", "|", "`x`", "``", "[a](b)", "**b**", "{{7*7}}", "---", "\"'", "$x$"]


def test_names_of_types_and_of_the_set_are_no_markup(tmp_path):
    tags = [f"B-{name}" for name in HOSTILE]
    source = tmp_path / "files"
    source.mkdir()
    (source / "a.png").write_bytes(image_bytes())
    (source / "train_en.txt").write_text(conll(("a", [f"w{n}" for n in range(len(tags))], tags)))
    name = 'a"b`c|<i>'
    facts = CardFacts("T: <b>\n---\nlicense: mit", "x: [", "o|`r`\n# not a heading")
    folder = tmp_path / "out" / name
    build("conll", source, folder, facts=facts)
    card = DatasetCard.load(folder / "README.md")
    assert card.data.to_dict()["license"] == "x: ["
    assert card.data.to_dict()["pretty_name"] == facts.title
    text = card.text
    assert f"load_dataset({json.dumps(name)}, " in text
    code_removed = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", re.sub("(?s)```python.*?```", "", text))
    for raw in ("<script>", "<b>", "<i>", "[a](b)", "**b**", "{{49", " 49"):
        assert raw not in code_removed
    assert "\n# not a heading" not in text
    for line in text.splitlines():
        if line.startswith("| `ner_tags`"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 4
    assert text.count("# T: &lt;b&gt; --- license: mit\n") == 1
