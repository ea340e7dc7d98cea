"""The card says what the run's figures say, in the form that the Hub reads, and no more."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from reporting_2mner.image_gain import image_gain
from reporting_2mner.model_card import eval_result_entries, model_card, write_card
from reporting_2mner.pages import signed
from training_2mner.recipes import read_recipe

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def figures(f1: float, gold: int = 400) -> dict:
    counts = {"correct": int(f1 * gold), "predicted": gold, "gold": gold}
    return {"precision": f1 - 0.01, "recall": f1 + 0.01, "f1": f1, **counts}


def scores(f1: float, gold: int = 400) -> dict:
    return {
        "overall": figures(f1, 2 * gold),
        "by_language": {"de": figures(f1 - 0.05), "pt": figures(f1 + 0.05)},
        "mean_over_languages": figures(f1),
        "by_type": {"LOC": figures(f1), "PER": figures(f1)},
        "boundaries": figures(f1 + 0.04),
        "by_image": {"with": figures(f1, gold), "without": figures(0.5, gold)},
        "images": {"given": 300, "read": 300, "unreadable": 0},
    }


def ways(real: float, other: float, gold: int = 400) -> dict:
    others = {name: scores(other - 0.01, gold) for name in ("none", "blank")}
    return {"real": scores(real, gold), **others, "shuffled": scores(other, gold)}


PART = {"sentences": 1000, "by_language": {"de": 600, "pt": 400}, "with_image": 300}
RESULTS = {
    "test": scores(0.8123456789),
    "controls": ways(0.8123456789, 0.7),
    "recipe": {
        "file": "configs/2mner.yaml",
        "model": {
            "text_model": "FacebookAI/xlm-roberta-base",
            "vision_model": "openai/clip-vit-base-patch32",
            "global_vision_model": None,
            "model_name_or_path": None,
            "model_config": {"fusion": "concat", "alpha": 0.9},
            "label_scheme": "BIO",
        },
        "data": {
            "dataset_name": "me/mmnerd",
            "dataset_config": None,
            "train_files": None,
            "validation_files": None,
            "test_files": None,
            "image_dir": None,
            "languages": ["de", "pt"],
        },
        "training": {
            "output_dir": "/home/ana/secret/runs/2mner",
            "learning_rate": 5e-06,
            "bf16": False,
            "freeze": ["text_model.embeddings"],
            "push_to_hub": True,
            "hub_model_id": "me/2mner",
            "hub_token": "<HUB_TOKEN>",
        },
    },
    "seed": 19,
    "data": {"train": PART, "validation": PART, "test": PART},
    "training": {
        "steps": 1200,
        "epochs": 8.0,
        "seconds": 3725.4,
        "kept_step": 900,
        "validation": {"eval_f1": 0.7654},
        "parameters": {"all": 400_000_000, "trained": 200_000_000},
        "processes": 2,
        "device": "cuda:0",
    },
    "seconds": 4000.0,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
}


def card_of(results: dict, **options) -> ModelCard:
    options = {"labels": LABELS, "reads_images": True} | options
    return model_card(results, "tagger", **options)


def changed(path: str, value) -> dict:
    """The results with something else at a dotted path; None removes it."""
    results = deepcopy(RESULTS)
    *parents, last = path.split(".")
    place = results
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return results


def test_the_hub_reads_the_scores_of_metrics_json_off_it():
    data = ModelCard(str(card_of(RESULTS))).data
    test = RESULTS["test"]
    found = [
        (result.dataset_config, result.metric_type, result.metric_value)
        for result in data.eval_results
    ]
    assert found == [
        (None, "precision", test["overall"]["precision"]),
        (None, "recall", test["overall"]["recall"]),
        (None, "f1", 0.8123456789),
        ("de", "f1", test["by_language"]["de"]["f1"]),
        ("pt", "f1", test["by_language"]["pt"]["f1"]),
    ]
    assert {result.dataset_type for result in data.eval_results} == {"me/mmnerd"}
    assert {result.dataset_split for result in data.eval_results} == {"test"}
    assert data.model_name == "tagger"


def test_its_metadata_names_languages_data_encoders_and_task():
    data = ModelCard(str(card_of(RESULTS))).data
    assert data.language == ["de", "pt"]
    assert data.datasets == ["me/mmnerd"]
    assert data.base_model == ["FacebookAI/xlm-roberta-base", "openai/clip-vit-base-patch32"]
    assert (data.pipeline_tag, data.library_name) == ("token-classification", "transformers")
    assert data.to_dict().get("co2_eq_emissions") is None


def test_folders_of_this_machine_are_no_names_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "backbones" / "text").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    results = changed("recipe.model.text_model", "backbones/text")
    results["recipe"]["model"]["vision_model"] = "/home/ana/encoders/vision"
    results["recipe"]["data"]["dataset_name"] = "sample"
    card = card_of(results)
    assert card.data.base_model is None
    assert card.data.datasets is None
    assert "/home/ana" not in str(card)


def test_its_tables_show_the_figures():
    text = card_of(RESULTS).text
    assert "| all | 80.2 | 82.2 | 81.2 | 800 |" in text
    assert "| de | 75.2 | 77.2 | 76.2 | 400 |" in text
    assert "| train | 1000 | 600 de, 400 pt | 300 |" in text
    assert "1200 steps (epochs: 8) in 1 h 2 min on 2 x cuda:0; 200,000,000 of 400,000,000" in text
    assert "The checkpoint of step 900 was kept, with an F1 of 76.5" in text
    assert "PER, LOC: 5 labels in BIO" in text
    assert "sentences in German and Portuguese, with the image" in text


def records(own: int, shuffled: int, sentences: int) -> list[dict]:
    """Sentences of one entity and an image; how many are right with it, and with another's."""
    entity = {"start": 0, "end": 1, "label": "PER", "text": "Ana"}

    def said(right: bool) -> list[dict]:
        return [{**entity, "score": 0.9, "label": "PER" if right else "LOC"}]

    return [
        {
            "id": str(row),
            "lang": "de",
            "tokens": ["Ana"],
            "gold": [entity],
            "predicted": said(row < own),
            "controls": {"none": said(False), "shuffled": said(row < shuffled)},
        }
        for row in range(sentences)
    ]


@pytest.mark.parametrize(
    ("own", "shuffled", "sentences", "verdict"),
    [
        (80, 70, 100, "**Yes.** On the 100 test sentences that have an image, F1 is 80.0"),
        (71, 70, 100, "**That is not settled.** On the 100"),
        (3, 2, 5, "**That is not settled.** On the 5"),
        (70, 70, 100, "**No, the images do not help this model.** On the 100"),
        (60, 70, 100, "**No, the images do not help this model.** On the 100"),
    ],
)
def test_it_says_plainly_whether_the_images_help(own, shuffled, sentences, verdict):
    """By the rule that the report follows: a paired bootstrap over the sentences."""
    gain = image_gain(records(own, shuffled, sentences))
    text = card_of(RESULTS, gain=gain).text
    assert verdict in text
    assert f"and {100 * shuffled / sentences:.1f} with another's image, the best of" in text
    assert f"a difference of {signed((own - shuffled) / sentences)} points" in text
    assert "| another's image | 70.0 | 70.0 |" in text


def test_images_are_compared_on_the_sentences_that_have_one():
    without = {key: value for key, value in records(0, 0, 1)[0].items() if key != "controls"}
    gain = image_gain([*records(8, 2, 10), *[without] * 30])
    assert (gain.sentences, gain.best, gain.verdict) == (10, "shuffled", "yes")
    assert gain.score.values.tolist() == [0.8, 0.0, 0.2]
    assert image_gain([without] * 3) is None


def test_it_shows_both_views(tmp_path):
    card = card_of(changed("text_view", scores(0.7)))
    assert "| all | 80.2 | 82.2 | 81.2 | 70.0 | 800 |" in card.text
    assert "In the text view the same model reads the words alone." in card.text
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found["text view F1"] == 0.7
    kept = changed("training.validation.eval_f1_text_view", 0.5)
    assert "with an F1 of 76.5 on the validation part, 50.0 in the text view." in card_of(kept).text


def test_a_model_that_reads_context_alone_shows_how_to_give_it():
    text = card_of(RESULTS, reads_images=False, reads_context=True).text
    assert "with text that was made from its image" in text
    assert 'ner({"text": "Angela Merkel besucht Paris.", "objects": ["tower"]' in text
    assert "may be left out. This model reads no images;" in text
    assert "from their words alone" not in text


def test_without_images_it_says_nothing_of_controls():
    text = card_of(changed("controls", None), reads_images=False).text
    assert "Do the images help" not in text
    assert "another's image" not in text
    assert "from their words alone" in text
    assert 'ner("Angela Merkel besucht Paris.")' in text


def test_without_a_test_part_it_claims_no_scores():
    results = changed("test", None)
    del results["controls"]
    card = card_of(results)
    assert card.data.eval_results is None
    assert "None: its recipe names no test part." in card.text


def test_the_sample_is_called_made_up():
    assert "made up" not in card_of(RESULTS).text
    results = changed("recipe.data.dataset_name", "sample")
    assert "**What it learned from is made up**" in card_of(results).text
    assert "say nothing about real text" in card_of(results).text


def test_a_model_of_the_sample_may_be_tested_on_real_text():
    results = changed("recipe.data.dataset_name", "sample")
    results["recipe"]["data"]["test_files"] = ["posts.conll"]
    assert "**What it learned from is made up**" in card_of(results).text
    assert "say nothing about real text" not in card_of(results).text


def test_its_recipe_can_be_followed(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", card_of(RESULTS).text, re.DOTALL)[1]
    path = tmp_path / "recipe.yaml"
    path.write_text(block)
    _, model, data, training = read_recipe([str(path)])
    assert model.model_config == {"fusion": "concat", "alpha": 0.9}
    assert (data.dataset_name, data.languages) == ("me/mmnerd", ["de", "pt"])
    assert (training.learning_rate, training.bf16) == (5e-06, False)
    assert training.output_dir == "runs/2mner"
    assert training.push_to_hub is False
    assert "hub_token" not in block


def test_an_adapters_card_names_its_base():
    card = card_of(RESULTS, base="me/2mner")
    assert (card.data.base_model, card.data.library_name) == (["me/2mner"], "peft")
    assert "A LoRA adapter of `me/2mner`. Finds" in card.text
    assert 'base = "me/2mner"' in card.text
    assert "PeftModel.from_pretrained(model, name)" in card.text


def test_names_in_the_data_are_no_markup():
    card = card_of(RESULTS, labels=["O", "B-<img src=x>", "B-A|B"])
    assert "<img" not in card.text
    assert r"A\|B" in card.text


def test_it_is_written_into_the_runs_folder_with_the_carbon_that_was_measured(tmp_path):
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps(RESULTS))
    settings = {"labels": LABELS, "reads_images": True}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    (tmp_path / "emissions.csv").write_text("run_id,emissions\na,0.25\nb,0.5\n")
    write_card(tmp_path)
    assert "CO2" not in (tmp_path / "README.md").read_text()  # that is of an earlier run
    metrics.write_text(json.dumps(changed("recipe.training.report_to", ["codecarbon"])))
    write_card(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict()["co2_eq_emissions"]["emissions"] == 500
    assert "it emitted 500 g of CO2" in card.text
    assert f"# {tmp_path.name}".replace("_", r"\_") in card.text


def test_names_of_types_devices_and_bases_are_no_markup():
    results = deepcopy(RESULTS)
    device = "<script>alert(1)</script> | `x` [a](b) **GPU**"
    results["training"]["device"] = device
    results["recipe"]["model"]["model_config"] = {"note": "a\n\n```\n\n# heading\n"}
    hostile = ["<b>", "|", "`x`", "[a](b)", "{{7*7}}"]
    labels = ["O", *(f"{kind}-{name}" for name in hostile for kind in "BI")]
    base = 'me/"+evil+"`'
    card = card_of(results, labels=labels, base=base)
    text = str(card)
    before_recipe, _, recipe = card.text.partition("````yaml\n")
    assert recipe.count("\n````\n") == 1
    assert yaml.safe_load(recipe.partition("\n````\n")[0])["model_config"]["note"].count("```") == 1
    python = before_recipe.partition("```python\n")[2].partition("```")[0]
    assert f"base = {json.dumps(base)}\n" in python
    for raw in ("<script>", "<b>", "[a](b)", "**GPU**"):
        assert raw not in before_recipe.replace(python, "")
    assert "{{7\\*7}}" in before_recipe
    assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "peft"


def test_paths_in_nested_settings_are_cut_short():
    results = deepcopy(RESULTS)
    results["recipe"]["model"]["model_config"] = {"path": "/home/ana/secret/encoders/clip"}
    assert "/home/ana" not in str(card_of(results))


# Evaluation results -------------------------------------------------------------------------------


@pytest.fixture
def run_of(tmp_path):
    """A function that writes a run's folder with some figures and its card."""

    def write(results: dict) -> Path:
        (tmp_path / "metrics.json").write_text(json.dumps(results), "utf-8")
        (tmp_path / "processor_config.json").write_text('{"labels": ["O", "B-PER", "I-PER"]}')
        write_card(tmp_path)
        return tmp_path

    return write


def test_the_hub_reads_the_score_of_a_data_set_on_the_hub(run_of):
    path = run_of(RESULTS) / ".eval_results" / "2mner.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text("utf-8")))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("me/mmnerd", "default", 0.8123456789)
    assert entry.notes == "entity F1 (exact span and type), test split, languages: de, pt"
    (entry,) = eval_result_entries(changed("recipe.data.dataset_config", "de"))
    assert entry.task_id == "de"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipe.data.dataset_name", "sample"),
        ("recipe.data.dataset_name", "/home/ana/set"),
        ("recipe.data.train_files", ["de/train.txt"]),
    ],
)
def test_a_score_on_other_data_is_no_evaluation_result(run_of, path, value):
    folder = run_of(RESULTS)
    assert not (run_of(changed(path, value)) / ".eval_results" / "2mner.yaml").exists()
    assert (folder / "README.md").is_file()
