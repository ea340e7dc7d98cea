"""Rows with several images: training, cached features, controls, thumbnails."""

import pytest
import torch
from PIL import Image as PILImage

from dataset_mmnerd.image_lists import with_image_lists
from modeling_2mner import TwoMNERForTokenClassification
from reporting_2mner.errors import thumbnail_path, write_thumbnails
from training_2mner.arguments import DataArguments, RecipeError
from training_2mner.batching import WordCollator
from training_2mner.building import cache_vision_features, check_images
from training_2mner.controls import blank_image, controls
from training_2mner.data import have_images, image_keys, label_names, prepare
from training_2mner.evaluation import evaluate
from training_2mner.new_language import mixed
from training_2mner.trainer import freeze_parameters

from .conftest import png


@pytest.fixture
def several(rows):
    """The six rows; two have several images, a third one beside its broken one."""
    rows = with_image_lists(rows)
    images = list(rows["image"])
    images[0] = [png("red"), png("blue"), None]
    images[1] = [png("blue"), png("red")]
    images[5] = [*images[5], png("green")]
    feature = rows.features["image"]
    return rows.remove_columns("image").add_column("image", images, feature=feature)


def test_keys_are_those_of_sets_of_images(several, rows):
    keys, plain = image_keys(several), image_keys(rows)
    assert keys[0] == keys[1] == "\n".join(sorted(plain[:2]))
    assert keys[2:5] == plain[2:5]
    assert have_images(several) == have_images(rows)
    assert prepare(several, "train", DataArguments(dataset_name="x"))["image"] == several["image"]


def test_controls_move_and_replace_all_images_of_a_sentence(several):
    ways = controls(several, image_keys(several), seed=3)
    sizes = sorted(len(row["image"] or ()) for row in several)
    assert sorted(len(row["image"] or ()) for row in ways["shuffled"]) == sizes
    blank = ways["blank"][0]["image"]
    assert [image.getpixel((0, 0)) for image in blank] == [(128, 128, 128)] * 3


def test_training_and_scores_are_those_without_a_cache(trainer_for, several, tmp_path):
    losses, results = [], []
    for cached in (False, True):
        trainer = trainer_for(
            train=several, eval_strategy="no", max_steps=2, logging_steps=1, learning_rate=1e-3
        )
        freeze_parameters(trainer.model, ["vision_model"])
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if cached:
            features = cache_vision_features(trainer, [several], [blank_image()])
            assert len(features) == 5  # red, blue, green, grey and the broken one
            trainer.data_collator.features = features
        trainer.train()
        losses.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
        results.append(evaluate(trainer, several, True, 3)[0])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert results[0]["test"]["images"] == {"given": 5, "read": 5, "unreadable": 0}
    assert results[1]["controls"].keys() == results[0]["controls"].keys()


def test_a_cached_batch_is_that_of_the_processor(trainer_for, several, tmp_path):
    trainer = trainer_for(train=several, eval_strategy="no", max_steps=1)
    freeze_parameters(trainer.model, ["vision_model"])
    features = cache_vision_features(trainer, [several])
    names = label_names(several)
    plain = WordCollator(trainer.processing_class, names)(list(several))
    cached = WordCollator(trainer.processing_class, names, features)(list(several))
    assert torch.equal(cached["image_mask"], plain["image_mask"])
    assert plain["image_mask"].shape == (6, 3)
    model: TwoMNERForTokenClassification = trainer.model.eval()
    with torch.no_grad():
        one, two = model(**plain).logits, model(**cached).logits
    torch.testing.assert_close(one, two, atol=2e-3, rtol=1e-2)


def test_too_many_images_that_are_read_are_an_error_before_training(trainer_for, several):
    trainer = trainer_for(eval_strategy="no", max_steps=1)
    processor = trainer.processing_class
    processor.max_images = 2
    message = "train: found a sentence with 3 images, expected at most 2, the processor's max_im"
    with pytest.raises(RecipeError, match=message):
        check_images(processor, {"train": several})
    check_images(processor, {"train": several.select([1, 3, 5])})
    processor.reads_images = False
    check_images(processor, {"train": several})


def test_rows_with_lists_and_rows_without_are_joined(several, rows):
    joined = mixed(rows, several)
    assert joined[0]["image"] == [rows[0]["image"]]
    assert joined[6]["image"] == several[0]["image"]


def test_a_thumbnail_has_all_images_that_can_be_read(several, tmp_path):
    records = [
        {"predicted": [{"start": 0, "end": 1, "label": "LOC", "score": 0.9}], "gold": []}
        for _ in several
    ]
    write_thumbnails(tmp_path, several, records)
    widths = [PILImage.open(thumbnail_path(tmp_path, row)).width for row in (0, 2, 5)]
    assert widths == [80, 40, 40]
