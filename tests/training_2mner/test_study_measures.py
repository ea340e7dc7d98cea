"""Measures of a trained model, on figures that are known beforehand."""

import io
import math
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import List, Value
from PIL import Image

from dataset_mmnerd.sample import load_sample
from modeling_2mner.attention_2mner import patch_grid
from modeling_2mner.collaboration_2mner import ConcatFusion
from modeling_2mner.images_2mner import load_image
from reporting_2mner.statistics import f1
from training_2mner.arguments import RecipeError
from training_2mner.controls import controls
from training_2mner.data import gold_spans, image_keys
from training_2mner.study import attention, contrastive, corruption, selection, transfer
from training_2mner.study.corruptions import DAMAGES, LEVELS, DamagedImages, damage, exchanged


@pytest.fixture(scope="module")
def drawings():
    """Sixteen drawn images of the sample, and two rows without one."""
    rows = load_sample(sentences=60, languages=["en"])["test"]
    chosen = [row for row, image in enumerate(rows["image"]) if image is not None][:6]
    missing = [row for row, image in enumerate(rows["image"]) if image is None][:2]
    data = rows.select([*chosen[:3], *missing, *chosen[3:]])
    return data.cast_column("image", type(data.features["image"])(decode=False))


# Alignment ----------------------------------------------------------------------------------------


def test_vectors_that_match_are_found_and_vectors_that_tell_nothing_are_found_by_chance():
    languages = ["en"] * 6 + ["de"] * 4
    perfect = contrastive.measure_pairs(torch.eye(10), torch.eye(10), languages)
    for name in ("image_at_1", "text_at_1", "image_at_5", "text_at_5"):
        assert perfect[name] == [1] * 10
    assert (perfect["matched"], perfect["mismatched"]) == ([1] * 10, [0] * 10)
    assert perfect["candidates"] == [6] * 6 + [4] * 4
    equal = torch.ones(10, 4) / 2
    nothing = contrastive.measure_pairs(equal, equal, languages)
    assert nothing["image_at_1"] == nothing["text_at_1"] == pytest.approx([1 / 6] * 6 + [1 / 4] * 4)
    assert nothing["image_at_5"] == pytest.approx([5 / 6] * 6 + [1] * 4)
    torch.manual_seed(0)
    text, image = torch.nn.functional.normalize(torch.randn(2, 900, 8), dim=-1)
    found = contrastive.measure_pairs(text, image, ["en"] * 900)
    for cut in (1, 5):
        hits, chance = np.mean(found[f"image_at_{cut}"]), cut / 900
        assert abs(hits - chance) < 4 * math.sqrt(chance / 900)
    # The own image is among the first five, and not the first.
    closer = torch.tensor([[1.0, 0.0], [0.9, math.sqrt(0.19)]])
    second = contrastive.measure_pairs(closer[:1].repeat(2, 1), closer.flip(0), ["en", "en"])
    assert (second["image_at_1"], second["image_at_5"]) == ([0, 1], [1, 1])


def test_each_image_of_the_test_part_is_taken_once(saved):
    found = contrastive.measure(saved, {})
    keys = [key for key in image_keys(saved.rows) if key is not None]
    assert len(found["id"]) == len(set(keys)) == 2 < len(keys)
    first = saved.rows.select([saved.rows["id"][:].index(found["id"][0])])
    ((_, outputs),) = saved.outputs(first)
    own = float(outputs.text_embeds[0] @ outputs.image_embeds[0])
    assert found["matched"][0] == pytest.approx(own, abs=1e-5)
    saved.model.config.alignment_level = "none"
    with pytest.raises(RecipeError, match="has no alignment of sentence and image: expected"):
        contrastive.measure(saved, {})


# Corruption ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damage_grows_with_its_strength_and_its_seed_repeats_it(kind, drawings):
    image = load_image(drawings[0]["image"])

    def damaged(strength: int, seed: int = 0) -> np.ndarray:
        found = damage(image, kind, strength, np.random.default_rng(seed))
        assert found.size == image.size
        return np.asarray(found, dtype=float)

    original = np.asarray(image, dtype=float)
    changes = [np.abs(damaged(level + 1) - original).mean() for level in range(LEVELS)]
    assert changes[0] > 0
    assert changes == sorted(set(changes))
    assert (damaged(3) == damaged(3)).all()
    assert (damaged(3) == damaged(3, 1)).all() == (kind not in ("noise", "occlusion"))
    if kind == "grey":
        assert np.ptp(damaged(LEVELS), axis=2).max() <= 1
    if kind == "occlusion":
        covered = (damaged(LEVELS) == 128).all(axis=2).mean()
        assert covered == pytest.approx(0.9, abs=0.02)


def test_images_are_damaged_where_they_are_read_and_can_be(drawings):
    rows = drawings.remove_columns("image")
    broken = {"bytes": b"no image", "path": None}
    large = io.BytesIO()
    Image.new("RGB", (1500, 900)).save(large, "PNG")
    images = [*drawings["image"][:5], broken, {"bytes": large.getvalue(), "path": None}]
    images += drawings["image"][7:]
    rows = rows.add_column("image", images, feature=drawings.features["image"])
    damaged = DamagedImages(rows, "noise", 2, seed=1)
    assert len(damaged) == len(rows)
    assert damaged[3]["image"] is None
    assert damaged[5]["image"] == broken
    assert damaged[6]["image"].size == (512, 307)
    first, again = damaged[0], DamagedImages(rows, "noise", 2, seed=1)[0]
    assert first["image"].tobytes() == again["image"].tobytes()
    assert first["tokens"] == rows[0]["tokens"]
    assert damaged[1]["image"].tobytes() != load_image(rows[1]["image"]).tobytes()


def test_a_share_of_the_images_is_exchanged(drawings):
    keys = image_keys(drawings)
    other = [exchanged(drawings, keys, share / 6, seed=3) for share in range(7)]
    changed = [
        {row for row in range(8) if one[row]["image"] != drawings[row]["image"]} for one in other
    ]
    assert [len(rows) for rows in changed] == list(range(7))
    assert all(fewer < more for fewer, more in pairwise(changed))
    shuffled = controls(drawings, keys, seed=3)["shuffled"]
    assert [row["image"] for row in other[-1]] == [row["image"] for row in shuffled]


def test_without_exchange_all_is_as_it_is_and_the_gate_is_read(saved):
    rows, keys = saved.rows, image_keys(saved.rows)
    score = partial(corruption._score, saved, gold_spans(rows))
    real = score(rows)
    assert score(exchanged(rows, keys, 0.0, seed=0)) == real
    own = float(f1(np.array(real["counts"]).sum(axis=0)))
    assert own == pytest.approx(1.0)  # as the run's metrics say
    for entities, others, key in zip(real["gate_entities"], real["gate_others"], keys, strict=True):
        assert (entities is None and others is None) == (key is None)
    for gate in saved.model.model.fusion.gates:
        torch.nn.init.zeros_(gate.weight)
        torch.nn.init.constant_(gate.bias, 1.5)
        assert not gate._forward_hooks
    read = [value for value in score(rows)["gate_entities"] if value is not None]
    assert read == pytest.approx([1 / (1 + math.exp(-1.5))] * len(read), abs=1e-5)


def test_every_kind_and_strength_is_scored(saved):
    options = {**corruption.OPTIONS, "kinds": ["grey", "exchange"], "strengths": 2}
    assert corruption.prepare_options(options, Path()) == options
    found = corruption.measure(saved, options)
    conditions = [(one["kind"], one["strength"], one["amount"]) for one in found["conditions"]]
    assert conditions == [
        ("grey", 2, "40 % of the colour"),
        ("grey", 5, "100 % of the colour"),
        ("exchange", 2, "40 %"),
        ("exchange", 5, "100 %"),
    ]
    assert len(found["text_view"]["counts"]) == 12
    assert "gate_entities" not in found["text_view"]
    assert [len(one["gate_others"]) for one in found["conditions"]] == [12] * 4
    saved.model.model.fusion = ConcatFusion(saved.model.config.hidden_size, 1)
    assert "gate_entities" not in corruption.measure(saved, {**options, "strengths": 1})["real"]
    saved.processor.reads_images, saved.processor.context_budget = False, 0
    with pytest.raises(RecipeError, match="reads no images, expected one that does"):
        corruption.measure(saved, options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": ["fog"]}, "kinds is .*'fog'.*, expected some of noise, blur, jpeg"),
        ({"strengths": 6}, "strengths is '?6'?, expected 1 to 5"),
        ({"seed": -1}, "seed is '?-1'?, expected a whole number"),
    ],
)
def test_a_wrong_option_is_named(change, message):
    with pytest.raises(RecipeError, match=message):
        corruption.prepare_options({**corruption.OPTIONS, **change}, Path())


# Attention ----------------------------------------------------------------------------------------


def test_a_box_covers_parts_of_patches():
    whole = attention.covered_patches((0, 0, 1, 1), (0, 0, 1, 1), (2, 3))
    assert whole == pytest.approx(np.ones(6))
    left_half = attention.covered_patches((0, 0, 0.5, 1), (0, 0, 1, 1), (2, 3))
    assert left_half == pytest.approx([1, 0.5, 0, 1, 0.5, 0])
    # Only the middle half of the image's width is seen; a margin is added above and below.
    seen = attention.covered_patches((0, 0.25, 0.5, 0.75), (0.25, -0.5, 0.75, 1.5), (4, 2))
    assert seen == pytest.approx([0, 0, 0.5, 0, 0.5, 0, 0, 0])


def test_words_are_measured_by_group():
    covered = np.array([1.0, 0.5, 0, 0])
    weights = np.array([[0.25] * 4, [1, 0, 0, 0], [0, 0.5, 0.5, 0]])
    inside, outside = attention.measure_words(weights, covered, [(1, 3, "PER")])
    assert outside == {"entropy": 1.0, "mass": 0.375, "area": 0.375}
    assert inside == pytest.approx({"entropy": 0.25, "mass": 0.625, "area": 0.375})
    assert attention.measure_words(weights, None, [])[0] is None
    assert attention.measure_words(weights, None, [])[1]["mass"] is None


def two_colours() -> dict:
    """An image that is red on the left and blue on the right."""
    image, content = Image.new("RGB", (60, 40), "red"), io.BytesIO()
    image.paste((0, 0, 255), (30, 0, 60, 40))
    image.save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def test_the_attention_on_a_box_is_that_of_its_patches(saved):
    rows = saved.rows.select([0]).remove_columns("image")
    feature = List(Value("float64"))
    rows = rows.add_column("image", [two_colours()], feature=saved.rows.features["image"])
    saved.data["test"] = rows
    (without,) = attention.measure(saved, {})["entities"]
    assert without["mass"] is without["area"] is None
    saved.data["test"] = rows.add_column("object_box", [[0.0, 0.0, 0.5, 1.0]], feature=feature)
    (found,) = attention.measure(saved, {})["entities"]
    assert found["entropy"] == without["entropy"] < 0.999

    ((_, outputs),) = saved.outputs(rows, attention=True)
    assert rows["tokens"][0] == ["Lyon", "!"]  # the first is the entity
    special, lines, columns = patch_grid(16, outputs.patch_attentions[0].shape[-1], 32, 32)
    weights = outputs.patch_attentions[0][0, :, 0, special:].mean(0)
    left = weights.view(lines, columns)[:, : columns // 2].sum() / weights.sum()
    assert found["mass"] == pytest.approx(float(left), abs=0.01)
    assert found["area"] == pytest.approx(0.5, abs=0.01)
    assert found["mass"] != pytest.approx(0.5, abs=0.01)

    torch.nn.init.zeros_(saved.model.model.collaborations[0].attention.q_proj.weight)
    torch.nn.init.zeros_(saved.model.model.collaborations[0].attention.q_proj.bias)
    (equal,) = attention.measure(saved, {})["entities"]
    assert equal["entropy"] == pytest.approx(1)
    assert equal["mass"] == pytest.approx(equal["area"], abs=1e-5)


def test_several_images_of_a_sentence_are_measured_together(saved):
    rows = saved.rows.select([0, 0, 0]).remove_columns("image")
    red, both = saved.rows[0]["image"], two_colours()
    images = List(saved.rows.features["image"])
    rows = rows.add_column("image", [[red, both], [both], []], feature=images)
    saved.data["test"] = rows
    found = attention.measure(saved, {})
    assert len(found["entities"]) == 2
    ((_, outputs),) = saved.outputs(rows, attention=True)
    weights = outputs.patch_attentions[0][0, :, 0].mean(0)  # of the entity, to both images
    weights = weights.view(2, -1)[:, 1:].flatten()  # without the class token of each
    weights /= weights.sum()
    entropy = -(weights * weights.log()).sum() / math.log(8)
    assert found["entities"][0]["entropy"] == pytest.approx(float(entropy), abs=1e-5)
    assert DamagedImages(rows, "grey", 5, 0)[2]["image"] == []
    first = DamagedImages(rows, "grey", 5, 0)[0]["image"]
    assert [np.ptp(np.asarray(image), axis=2).max() for image in first] == [0, 0]
    assert len(contrastive.measure(saved, {})["id"]) == 2
    gates = corruption._score(saved, gold_spans(rows), rows)["gate_entities"]
    assert [gate is None for gate in gates] == [False, False, True]


def test_a_sentence_without_words_attends_to_nothing(saved):
    rows = saved.rows.select([0, 0])
    features = rows.features
    for name in ("tokens", "ner_tags"):
        column = [[], rows[name][0]]
        rows = rows.remove_columns(name).add_column(name, column, feature=features[name])
    saved.data["test"] = rows
    assert len(attention.measure(saved, {})["entities"]) == 1


# Transfer -----------------------------------------------------------------------------------------


def test_other_content_of_a_file_is_another_option(tmp_path):
    def options() -> dict:
        return transfer.prepare_options({"data": {"news": {"files": ["news.txt"]}}}, tmp_path)

    file = tmp_path / "news.txt"
    file.write_text("Ana\tB-PER\n", "utf-8")
    before = options()
    assert options() == before
    file.write_text("Bo\tB-PER\n", "utf-8")
    assert options() != before


def test_a_model_without_a_test_part_is_scored_elsewhere(saved, tmp_path):
    other = tmp_path / "test.jsonl"
    del saved.data["test"]
    found = transfer.measure(saved, {"data": {"other": {"files": [str(other)]}}})
    assert len(found["other"]["records"]) == 12


# Selection ----------------------------------------------------------------------------------------


def test_the_threshold_has_the_best_score_and_reads_the_fewest_images():
    right, wrong = [1, 1, 1], [0, 1, 1]
    confidence = np.array([0.9, 0.2, 0.5, 0.2, 0.1])
    has_image = np.array([True, True, True, True, False])
    choose = partial(selection.choose_threshold, confidence, has_image)
    # Reading helps sentences 1 and 2, and harms sentence 0.
    text = np.array([right, wrong, wrong, right, wrong])
    image = np.array([wrong, right, right, right, right])
    assert 0.5 < choose(text, image) < 0.51
    assert choose(text, text) == 0  # it changes nothing
    assert choose(image[[1] * 5], text[[1] * 5]) == 0  # it harms
    # Sentences 1 and 3 are as sure: one is won and one lost.
    assert (
        choose(
            np.array([right, wrong, right, right, right]),
            np.array([right, right, right, wrong, right]),
        )
        == 0
    )


def test_the_gate_reads_where_the_words_leave_doubt(saved):
    found = selection.measure(saved, {})
    has_image = [key is not None for key in image_keys(saved.rows)]
    assert sum(found["has_image"]) == sum(has_image)
    assert set(found) == {"text", "image", "gate", "has_image", "read", "threshold"}
    for place, read in enumerate(found["read"]):
        assert found["has_image"][place] or not read
        way = "image" if read else "text"
        assert found["gate"]["counts"][place] == found[way]["counts"][place]
        assert found["gate"]["entities"][place] == found[way]["entities"][place]
        right, predicted, _ = found["gate"]["counts"][place]
        assert (right, predicted) == (
            sum(one[1] for one in found["gate"]["entities"][place]),
            len(found["gate"]["entities"][place]),
        )
    # The validation part is the test part here, so that the gate is at least as good as both.
    scores = {
        way: f1(np.array(found[way]["counts"]).sum(axis=0)) for way in ("text", "image", "gate")
    }
    assert scores["gate"] >= max(scores["text"], scores["image"])
    assert sum(found["read"]) > 0
    saved.processor.reads_images, saved.processor.context_budget = False, 0
    assert set(selection.measure(saved, {})) == {"text"}
