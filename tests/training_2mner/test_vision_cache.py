"""Encoders run once: the same results, and every image read one time only."""

import os
import signal

import pytest
import torch
from accelerate.utils import send_to_device

from tests.conftest import fork
from training_2mner import vision_cache
from training_2mner.arguments import RecipeError
from training_2mner.batching import WordCollator
from training_2mner.building import cache_vision_features
from training_2mner.controls import blank_image
from training_2mner.evaluation import evaluate
from training_2mner.trainer import freeze_parameters
from training_2mner.vision_cache import (
    VisionCache,
    encoder_digest,
)

FIXED = {"eval_strategy": "no", "max_steps": 3, "logging_steps": 1, "learning_rate": 1e-3}


@pytest.fixture
def frozen(trainer_for):
    """A trainer whose vision encoder is frozen, dropout off."""

    def build(**arguments):
        trainer = trainer_for(**FIXED | arguments)
        freeze_parameters(trainer.model, ["vision_model"])
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return trainer

    return build


def count_images(trainer) -> list[int]:
    """How many images the encoders read at once, each time they do."""
    reads = []
    encoder = trainer.model.model.vision_model
    encoder.register_forward_pre_hook(
        lambda _, args, inputs: reads.append(len(inputs["pixel_values"])), with_kwargs=True
    )
    return reads


@pytest.mark.parametrize("vision", ["clip", "resnet", "efficientnet"])
def test_training_and_scores_are_those_without_a_cache(frozen, rows, vision, monkeypatch):
    """The controls too: shuffled images are in the cache, the grey one is put there."""
    losses, results = [], []
    for cached in (False, True):
        trainer = frozen(vision=vision)
        reads = count_images(trainer)
        if cached:
            features = cache_vision_features(trainer, [rows, rows], [blank_image()])
            trainer.data_collator.features = features
            assert reads == [5]  # red, blue, green, the broken one and the grey one

            def never(*args, **kwargs):
                raise AssertionError("an image was decoded again")

            monkeypatch.setattr("modeling_2mner.processing_2mner.load_image", never)
        trainer.train()
        losses.append([line["loss"] for line in trainer.state.log_history if "loss" in line])
        results.append(evaluate(trainer, rows, True, 1)[0])
        if cached:
            assert reads == [5]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert results[1]["test"]["images"] == results[0]["test"]["images"]
    assert results[1]["controls"].keys() == results[0]["controls"].keys()
    for name, scores in results[0]["controls"].items():
        assert results[1]["controls"][name]["overall"] == scores["overall"], name


def test_a_batch_without_any_image_trains_as_well(frozen, rows):
    trainer = frozen()
    trainer.data_collator.features = cache_vision_features(trainer, [rows])
    batch = trainer.data_collator([rows[3], rows[5]])
    assert not batch["image_mask"].any()
    assert batch["vision_features"]["patches"].dtype == torch.float16
    trainer.model.train()(**batch).loss.backward()
    unused = [
        name
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert unused == []


def test_cached_features_are_moved_to_a_device_with_their_batch(frozen, rows):
    trainer = frozen()
    trainer.data_collator.features = cache_vision_features(trainer, [rows])
    batch = trainer.data_collator([rows[0], rows[3]])
    moved = send_to_device(batch, "meta")
    assert moved["vision_features"].keys() == {"patches", "image_vectors"}
    assert all(values.is_meta for values in moved["vision_features"].values())


def test_a_cache_is_made_once_and_added_to(frozen, rows, caplog):
    trainer = frozen()
    reads = count_images(trainer)
    cache_vision_features(trainer, [rows.select([0, 1])])
    cache_vision_features(trainer, [rows.select([0, 1, 4])])  # row 4 has row 0's image
    assert reads == [2]
    features = cache_vision_features(trainer, [rows])
    assert reads == [2, 2]
    assert len(features) == 4


def test_an_image_that_was_not_read_before_is_read_as_ever(frozen, rows):
    trainer = frozen()
    trainer.data_collator.features = cache_vision_features(trainer, [rows.select([0, 1])])
    plain = WordCollator(trainer.processing_class, trainer.data_collator.label_names)
    batch, expected = (collate([rows[0], rows[2]]) for collate in (trainer.data_collator, plain))
    assert batch.keys() == expected.keys()
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])


def test_a_killed_reading_goes_on_where_it_was(frozen, rows, monkeypatch, tmp_path):
    monkeypatch.setattr(vision_cache, "FILE_IMAGES", 1)
    write = vision_cache._write

    def dies(folder, batches):
        if len(list(folder.glob("*.arrow"))) == 2:
            (folder / ".half.1").write_bytes(b"ARROW1")
            os.kill(os.getpid(), signal.SIGKILL)
        write(folder, batches)

    child = fork()
    if child == 0:
        monkeypatch.setattr(vision_cache, "_write", dies)
        cache_vision_features(frozen(), [rows])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    trainer = frozen()
    reads = count_images(trainer)
    assert len(cache_vision_features(trainer, [rows])) == 4
    assert reads == [1, 1]


def test_processes_share_the_reading(frozen, rows, tmp_path):
    """Each reads its part; together they have read every image once."""
    trainer = frozen()
    reads = count_images(trainer)
    met = []
    for process in range(2):
        features = vision_cache.read_images_once(
            trainer.model.model,
            trainer.processing_class,
            [rows["image"]],
            tmp_path / str(process),
            batch_size=8,
            process=process,
            processes=2,
            wait=lambda: met.append("here"),
            quiet=True,
        )
        assert len(features) == 2
    assert len(met) == 4  # before the first is written, and when all are
    assert reads == [2, 2]


def test_other_encoders_and_other_preparation_have_another_cache(frozen):
    trainer = frozen()
    model, processor = trainer.model.model, trainer.processing_class
    before = encoder_digest(model, processor)
    assert encoder_digest(model, processor) == before
    with torch.no_grad():
        model.text_model.embeddings.word_embeddings.weight[0, 0] += 1
    assert encoder_digest(model, processor) == before
    processor.image_processor.image_mean = [0.0, 0.0, 0.0]
    other = encoder_digest(model, processor)
    with torch.no_grad():
        next(model.vision_model.parameters()).view(-1)[0] += 1
    assert len({before, other, encoder_digest(model, processor)}) == 3


def test_an_encoder_that_is_trained_is_refused(trainer_for, rows):
    with pytest.raises(RecipeError, match=r"vision_model\.\S+ is trained.*freeze"):
        cache_vision_features(trainer_for(**FIXED), [rows])


def test_a_model_without_an_encoder_is_refused(trainer_for, rows):
    with pytest.raises(RecipeError, match="the model has no vision encoder"):
        cache_vision_features(trainer_for(vision=None, **FIXED), [rows])


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "ab.arrow").write_bytes(b"ARROW1 and no more")
    with pytest.raises(RecipeError, match=r"ab\.arrow: broken, delete it"):
        VisionCache(tmp_path)


@pytest.mark.parametrize(("value", "found"), [(1e6, r"\d.*e\+\d+"), (float("nan"), "nan")])
def test_a_feature_that_float16_does_not_hold_is_refused(frozen, rows, value, found):
    trainer = frozen()
    norm = trainer.model.model.vision_model.post_layernorm
    with torch.no_grad():
        norm.weight.fill_(value)
    for layer in trainer.model.model.vision_model.encoder.layers:
        torch.nn.init.constant_(layer.mlp.fc2.bias, value)
    with pytest.raises(
        RecipeError,
        match=rf"cache_vision_features: \w+ has a value of {found}, expected at most float16's "
        "65504; set cache_vision_features to false",
    ):
        cache_vision_features(trainer, [rows])
