"""A tiny model that reads images, and a few rows for it."""

import io

import pytest
import torch
from datasets import Dataset, Image
from PIL import Image as PILImage

from dataset_mmnerd.schema import bio_labels, features
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from tests.published import SAVED
from training_2mner.arguments import TwoMNERTrainingArguments
from training_2mner.batching import WordCollator
from training_2mner.study.trained import Trained
from training_2mner.trainer import TwoMNERTrainer

LABELS = bio_labels(("PER", "LOC"))


def png(colour: str) -> dict:
    """An image of one colour, as `datasets` gives it undecoded."""
    buffer = io.BytesIO()
    PILImage.new("RGB", (40, 30), colour).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": None}


ROWS = [
    # words, labels, language, image
    ("Ana lives here", "B-PER O O", "en", png("red")),
    ("she saw Rome and Bern today", "O O B-LOC O B-LOC O", "en", png("blue")),
    ("Rom", "B-LOC", "de", png("green")),
    ("Ana Bo wohnt in Rom , nicht in Bern", "B-PER I-PER O O B-LOC O O O B-LOC", "de", None),
    ("nichts", "O", "de", png("red")),
    ("Bo", "B-PER", "en", {"bytes": b"not an image", "path": "broken.png"}),
]


@pytest.fixture
def labels() -> list[str]:
    """The labels of `rows`, in the order of their ids."""
    return LABELS


@pytest.fixture
def rows() -> Dataset:
    """Six sentences in two languages: three images (one twice), a broken one, none."""
    table = {
        "id": [f"row-{index}" for index in range(len(ROWS))],
        "tokens": [words.split() for words, *_ in ROWS],
        "ner_tags": [[LABELS.index(label) for label in row[1].split()] for row in ROWS],
        "lang": [row[2] for row in ROWS],
        "image": [row[3] for row in ROWS],
        **{key: [None] * len(ROWS) for key in ("image_id", "objects", "captions", "ocr")},
        "decidable_from_text": [True, True, False, True, True, False],
        "object_box": [None] * len(ROWS),
    }
    dataset = Dataset.from_dict(table, features=features(LABELS, sample=True))
    return dataset.cast_column("image", Image(decode=False))


@pytest.fixture
def context_rows(rows) -> Dataset:
    """The same with visual context: of two images, of the broken one, and of one that is not
    there."""
    columns = {
        "objects": [["lake", "dog"], ["tower"], None, ["stage"], ["lake", "dog"], []],
        "ocr": [None, None, None, [], None, ["Bo sings"]],
    }
    for name, column in columns.items():
        feature = rows.features[name]
        rows = rows.remove_columns(name).add_column(name, column, feature=feature)
    return rows


@pytest.fixture
def encoders(text_encoder, vision_encoder) -> tuple[str, str]:
    return text_encoder("xlm-roberta"), vision_encoder("clip")


@pytest.fixture
def trainer_of(rows, tmp_path):
    """A function that builds a trainer of a model; its other arguments are training arguments."""

    def build(model, processor, train=rows, evaluation=rows, **arguments) -> TwoMNERTrainer:
        usual = {
            "output_dir": str(tmp_path / "run"),
            "use_cpu": True,
            "bf16": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
            "load_best_model_at_end": False,
            "per_device_train_batch_size": 2,
        }
        return TwoMNERTrainer(
            model=model,
            args=TwoMNERTrainingArguments(**usual | arguments),
            data_collator=WordCollator(processor, LABELS),
            train_dataset=train,
            eval_dataset=evaluation,
            processing_class=processor,
        )

    return build


@pytest.fixture
def trainer_for(text_encoder, vision_encoder, trainer_of):
    """The same of a tiny model that is built from encoders."""

    def build(
        model_config=None, vision="clip", context_budget=0, fields=("objects", "ocr"), **arguments
    ) -> TwoMNERTrainer:
        text = text_encoder("xlm-roberta")
        image = vision_encoder(vision) if vision else None
        torch.manual_seed(0)
        switches = {"collaboration_heads": 4, **(model_config or {})}
        model = TwoMNERForTokenClassification.from_text_vision_pretrained(
            text, image, labels=LABELS, **switches
        )
        processor = TwoMNERProcessor.from_text_vision_pretrained(
            text, image, labels=LABELS, context_budget=context_budget, context_fields=fields
        )
        return trainer_of(model, processor, **arguments)

    return build


@pytest.fixture
def rows_of_files(rows, tmp_path):
    """Six sentences with six files of two contents, one of them beside a file that is not there."""
    contents = [row["image"]["bytes"] for row in rows.select([0, 1])]
    images = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        if number < 5:
            path.write_bytes(contents[number % 2])
        images.append({"bytes": None, "path": str(path)})
    feature = rows.features["image"]
    return rows.remove_columns("image").add_column("image", images, feature=feature)


@pytest.fixture
def saved(tmp_path, monkeypatch) -> Trained:
    """The run that version 0.1 saved, with its files where its recipe names them."""
    monkeypatch.chdir(tmp_path)
    run, images = tmp_path / "run", tmp_path / "images"
    run.mkdir()
    images.mkdir()
    for path in SAVED.iterdir():
        (images if path.suffix == ".png" else run).joinpath(path.name).write_bytes(
            path.read_bytes()
        )
    for name in ("train.jsonl", "valid.jsonl", "test.jsonl"):
        (tmp_path / name).write_bytes((SAVED / "test.jsonl").read_bytes())
    return Trained(run)
