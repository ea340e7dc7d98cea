"""The model card: a run's `README.md`, written from the files in its folder.

    write_card(Path("runs/demo"))

Every figure is one of `metrics.json`. Unknown figures, such as carbon emissions that were not
measured, are left out. The card says whether the images help.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
)

from dataset_mmnerd.files import write_text
from dataset_mmnerd.labels import is_bioes, split_label
from dataset_mmnerd.markdown import code, escaped, listed, longest_backticks, table
from dataset_mmnerd.schema import LANGUAGES

from .image_gain import ImageGain, image_gain
from .pages import p_in_words, signed
from .runs import (
    CONTROL_NAMES,
    is_tested_on_sample,
    percent,
    read_run,
    recipe_as_yaml,
    short_path,
    source_of,
    training_in_words,
    with_present_names,
)
from .statistics import LEVEL
from .tables import TEXT_VIEW
from .yaml12 import written_as_yaml

__all__ = ["EVAL_RESULTS", "eval_result_entries", "model_card", "write_card"]

TEMPLATE = Path(__file__).with_name("card_template.md")
EVAL_RESULTS = ".eval_results/2mner.yaml"
"""The file of a model repository with which the Hub shows scores at the model and its data set."""

TASK = {"task_type": "token-classification", "task_name": "Named entity recognition"}
FIGURES = {"precision": "Precision", "recall": "Recall", "f1": "F1"}


def write_card(run: Path) -> None:
    """Write the card of a run into its folder.

    Args:
        run: the folder, with `metrics.json`, `predictions.jsonl` and the saved processor; with
            `adapter_config.json` if it holds an adapter, and with `emissions.csv` if codecarbon
            measured it.
    """
    finished = read_run(run)
    results = finished.results
    processor = with_present_names(json.loads((run / "processor_config.json").read_text("utf-8")))
    adapter = run / "adapter_config.json"
    base = None
    if adapter.is_file():
        base = json.loads(adapter.read_text("utf-8"))["base_model_name_or_path"]
    card = model_card(
        results,
        run.resolve().name,
        processor["labels"],
        reads_images=processor.get("reads_images", True),
        reads_context=processor.get("context_budget", 0) > 0,
        base=base,
        emissions=_emissions(run, results),
        gain=image_gain(finished.records),
    )
    write_text(run / "README.md", str(card))
    entries = eval_result_entries(results)
    path = run / EVAL_RESULTS
    path.unlink(missing_ok=True)
    if entries:
        path.parent.mkdir(exist_ok=True)
        write_text(path, f"{written_as_yaml(eval_result_entries_to_yaml(entries))}\n")


def model_card(
    results: dict[str, Any],
    name: str,
    labels: Sequence[str],
    *,
    reads_images: bool,
    reads_context: bool = False,
    base: str | None = None,
    emissions: float | None = None,
    gain: ImageGain | None = None,
) -> ModelCard:
    """The card of a run.

    Args:
        results: what is in `metrics.json`.
        name: of the model.
        labels: of the model.
        reads_images: whether the model reads images.
        reads_context: whether it reads visual context.
        base: the model that an adapter adapts; None for a whole model.
        emissions: of the training, in kg of CO2; None if they were not measured.
        gain: what the images are worth; None without image controls.
    """
    recipe = results["recipe"]
    yaml_recipe = recipe_as_yaml(recipe)
    types = list(dict.fromkeys(split_label(label)[1] for label in labels if label != "O"))
    languages = [code for code in results["data"]["train"]["by_language"] if code != "und"]
    metadata = ModelCardData(
        language=[code for code in languages if re.fullmatch("[a-z]{2,3}", code)] or None,
        library_name="transformers" if base is None else "peft",
        pipeline_tag="token-classification",
        tags=[
            "2mner",
            "named-entity-recognition",
            "multimodal",
            *([] if base is None else ["lora"]),
        ],
        datasets=_on_the_hub([recipe["data"]["dataset_name"]]),
        base_model=_on_the_hub([base] if base else _encoders(recipe)),
        metrics=list(FIGURES),
        model_name=name,
        eval_results=_eval_results(results),
        co2_eq_emissions=_carbon(results, emissions),
    )
    return ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        name=json.dumps(name),
        title=escaped(name),
        base=base and code(short_path(base)),
        python_base=json.dumps(base and short_path(base)),
        reads_images=reads_images,
        reads_context=reads_context,
        made_up=recipe["data"]["dataset_name"] == "sample",
        tested_on_made_up=is_tested_on_sample(recipe["data"]),
        types=escaped(", ".join(types)),
        labels=len(labels),
        scheme="BIOES" if is_bioes(labels) else "BIO",
        languages=listed([LANGUAGES.get(code, escaped(code)) for code in languages]),
        scores=_scores(results.get("test"), results.get("text_view")),
        controls=_controls(results.get("controls"), gain),
        source=escaped(source_of(recipe["data"])),
        data=_data(results["data"]),
        training=escaped(training_in_words(results, emissions)),
        recipe=yaml_recipe,
        fence="`" * max(3, longest_backticks(yaml_recipe) + 1),
    )


# Metadata -----------------------------------------------------------------------------------------


def _on_the_hub(names: Iterable[str | None]) -> list[str] | None:
    """Those that are names on the Hub and not folders of this machine."""
    return [
        name
        for name in names
        if name and re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not Path(name).exists()
        if name != "sample"
    ] or None


def _encoders(recipe: dict[str, Any]) -> list[str | None]:
    keys = ("text_model", "vision_model", "global_vision_model", "model_name_or_path")
    return [recipe["model"][key] for key in keys]


def _eval_results(results: dict[str, Any]) -> list[EvalResult] | None:
    """The scores of the test part in the form that the Hub reads and shows."""
    if "test" not in results:
        return None
    data = results["recipe"]["data"]
    name = source_of(data)
    part = {
        **TASK,
        "dataset_type": (_on_the_hub([data["dataset_name"]]) or ["other"])[0],
        "dataset_name": name,
        "dataset_split": "test",
        "dataset_config": data["dataset_config"],
    }
    test = results["test"]
    found = [
        EvalResult(**part, metric_type=key, metric_name=title, metric_value=test["overall"][key])
        for key, title in FIGURES.items()
    ]
    if "text_view" in results:
        alone = results["text_view"]["overall"]["f1"]
        found.append(
            EvalResult(**part, metric_type="f1", metric_name=TEXT_VIEW, metric_value=alone)
        )
    if len(test["by_language"]) > 1:
        for language, figures in test["by_language"].items():
            part |= {"dataset_name": f"{name} ({language})", "dataset_config": language}
            found.append(
                EvalResult(**part, metric_type="f1", metric_name="F1", metric_value=figures["f1"])
            )
    return found


def eval_result_entries(results: dict[str, Any]) -> list[EvalResultEntry]:
    """The F1 of the test part for `.eval_results/`: one entry, or none if the test part is not of a
    data set on the Hub.

    Args:
        results: what is in `metrics.json`.
    """
    data = results["recipe"]["data"]
    names = _on_the_hub([data["dataset_name"]])
    if "test" not in results or data["train_files"] is not None or names is None:
        return []
    languages = ", ".join(results["test"]["by_language"])
    return [
        EvalResultEntry(
            dataset_id=names[0],
            task_id=data["dataset_config"] or "default",
            value=results["test"]["overall"]["f1"],
            notes=f"entity F1 (exact span and type), test split, languages: {languages}",
        )
    ]


def _emissions(run: Path, results: dict[str, Any]) -> float | None:
    """The emissions in kg of CO2 that codecarbon measured (the last line of its file), if any."""
    if "codecarbon" not in results["recipe"]["training"].get("report_to", []):
        return None
    with (run / "emissions.csv").open(encoding="utf-8", newline="") as file:
        *_, last = csv.DictReader(file)
    return float(last["emissions"])


def _carbon(results: dict[str, Any], emissions: float | None) -> dict[str, Any] | None:
    """The emissions in grams, as the Hub's metadata expects them."""
    if emissions is None:
        return None
    device = results["training"]["device"]
    return {
        "emissions": emissions * 1000,
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "hardware_used": device,
    }


# Figures ------------------------------------------------------------------------------------------


def _scores(test: dict[str, Any] | None, text_view: dict[str, Any] | None) -> str | None:
    """The scores of the test part in one view or both; None if there was no such part."""
    if test is None:
        return None
    views = [_groups(test)] + ([] if text_view is None else [_groups(text_view)])
    rows = [
        (
            name,
            *(percent(figures[key]) for key in FIGURES),
            *(percent(view[index].get(name, {"f1": 0.0})["f1"]) for view in views[1:]),
            str(figures.get("gold", "")),
        )
        for index, group in enumerate(views[0])
        for name, figures in group.items()
    ]
    head = ["", *FIGURES.values(), *([TEXT_VIEW] if text_view else []), "entities"]
    text = table(head, rows)
    if "image_decided" in test:
        decided = test["image_decided"]
        text += (
            f"\n\nOf {decided['entities']} entities whose type only the image tells, "
            f"{percent(decided['accuracy'])} % were found and typed right."
        )
    return text


def _groups(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """The scores that the table shows, by the names of its rows."""
    groups = [{"all": scores["overall"], "boundaries alone": scores["boundaries"]}]
    if len(scores["by_language"]) > 1:
        mean = {"mean over languages": scores["mean_over_languages"]}
        groups.append({**scores["by_language"], **mean})
    groups.append(scores["by_type"])
    if "by_image" in scores and len(scores["by_image"]) > 1:
        groups.append({f"{key} image": value for key, value in scores["by_image"].items()})
    return groups


def _controls(scores: dict[str, Any] | None, gain: ImageGain | None) -> str | None:
    """The verdict and the table of the image controls; None without images."""
    if scores is None:
        return None
    decided = "image_decided" in scores["real"]
    rows = [
        (
            CONTROL_NAMES[name],
            percent(figures["overall"]["f1"]),
            percent(figures["by_image"]["with"]["f1"]),
            *([percent(figures["image_decided"]["accuracy"])] if decided else []),
        )
        for name, figures in scores.items()
    ]
    head = ["each sentence with", "F1", "F1 where there is an image"]
    head += ["type told by the image alone"] if decided else []
    return f"{'' if gain is None else _verdict(gain)}{table(head, rows)}"


VERDICTS = {
    "yes": "**Yes.**",
    "no": "**No, the images do not help this model.**",
    "not settled": "**That is not settled.**",
}


def _verdict(gain: ImageGain) -> str:
    """Whether the images help, and the figures by which that was decided."""
    change = gain.comparison
    low, high = signed(change.difference.low), signed(change.difference.high)
    return (
        f"{VERDICTS[gain.verdict]} On the {gain.sentences:,} test sentences that have an image, F1 "
        f"is {percent(gain.score.values[0])} with their own image and "
        f"{percent(max(gain.score.values[1:]))} with {CONTROL_NAMES[gain.best]}, the best of the "
        f"other ways: a difference of {signed(change.difference.value)} points ({low} to {high} in "
        f"{LEVEL:.0%} of resamples; paired bootstrap over sentences, "
        f"{p_in_words(change.p)}).\n\n"
    )


def _data(parts: dict[str, Any]) -> str:
    rows = [
        (
            split,
            str(part["sentences"]),
            ", ".join(f"{count} {code}" for code, count in part["by_language"].items()),
            str(part["with_image"]),
        )
        for split, part in parts.items()
    ]
    return table(("part", "sentences", "languages", "with an image"), rows)
