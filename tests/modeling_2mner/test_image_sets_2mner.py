"""Several images of a sentence: processor, models, and pipeline."""

import pytest
import torch
from PIL import Image

from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)
from modeling_2mner.alignment_2mner import differ

SENTENCES = [["Angela", "Merkel", "."], ["Paris"], ["Hola", "Ana"]]


def image(seed):
    pixels = torch.randint(0, 255, (40, 30, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.numpy().astype("uint8"))


A, B, C = (image(seed) for seed in range(3))


@pytest.fixture(scope="module")
def build(text_encoder, vision_encoder):
    """From fields of the configuration to a model in evaluation mode and its processor."""

    def build(global_vision=None, **config):
        torch.manual_seed(0)
        names = text_encoder(), vision_encoder()
        other = global_vision and vision_encoder(global_vision)
        model = TwoMNERForTokenClassification.from_text_vision_pretrained(*names, other, **config)
        torch.nn.init.normal_(model.classifier.weight)
        return model.eval(), TwoMNERProcessor.from_text_vision_pretrained(*names)

    return build


@pytest.fixture(scope="module")
def pair(build):
    return build()


def run(model, batch, **options):
    with torch.no_grad():
        return model(**batch, **options)


def close(one, two):
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_a_list_of_one_image_is_that_image(pair):
    model, processor = pair
    plain = processor(SENTENCES, images=[A, None, B])
    listed = processor(SENTENCES, images=[[A], [], [B]])
    assert plain["pixel_values"].shape == (3, 3, 32, 32)
    assert plain["image_mask"].tolist() == [True, False, True]
    for name, values in plain.items():
        assert torch.equal(values, listed[name])
    assert torch.equal(run(model, plain).logits, run(model, listed).logits)


def test_several_images_have_a_place_each(pair):
    _, processor = pair
    batch = processor(SENTENCES, images=[[A, B, C], A, None])
    assert batch["pixel_values"].shape == (3, 3, 3, 32, 32)
    assert batch["image_mask"].tolist() == [[True] * 3, [True, False, False], [False] * 3]
    alone = processor(SENTENCES[0], images=[A, B])
    assert torch.equal(alone["pixel_values"][0], batch["pixel_values"][0, :2])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"fusion": "concat", "global_vision": "resnet"},
        {"attn_implementation": "eager", "alignment_level": "entity"},
        {"collaboration": "mean", "fusion": "add"},
    ],
    ids=str,
)
def test_the_order_of_images_and_the_batch_change_nothing(build, config):
    model, processor = build(**config)
    labels = [["B-PER", "I-PER", "O"], ["B-LOC"], ["O", "B-PER"]]
    one = run(model, processor(SENTENCES, [[A, B, C], C, None], labels))
    two = run(model, processor(SENTENCES, [[C, A, B], [None, C], None], labels))
    for name in ("logits", "marginals", "text_embeds", "image_embeds"):
        close(getattr(one, name), getattr(two, name))
    for name, loss in one.losses.items():
        close(loss, two.losses[name])
    for row, images in enumerate(([[A, B, C]], [C], [None])):
        alone = run(model, processor(SENTENCES[row : row + 1], images))
        close(one.logits[row, : len(SENTENCES[row])], alone.logits[0])
        if images[0] is not None:
            close(one.image_embeds[row], alone.image_embeds[0])
    fewer = run(model, processor(SENTENCES, [[A, B], C, None], labels))
    assert not torch.allclose(one.logits[0], fewer.logits[0], atol=1e-4)
    close(one.logits[1:], fewer.logits[1:])


def test_the_image_vector_is_the_mean_and_a_place_without_an_image_holds_anything(pair):
    model, processor = pair
    batch = processor(SENTENCES[:2], images=[[A, B, None], C])
    expected = run(model, batch)
    batch["pixel_values"][0, 2] = batch["pixel_values"][1, 1] = float("nan")
    found = run(model, batch)
    assert torch.equal(found.logits, expected.logits)
    vectors = [model.model.read_images(batch["pixel_values"][:1, place]) for place in (0, 1)]
    mean = (vectors[0]["image_vectors"] + vectors[1]["image_vectors"]) / 2
    close(found.image_embeds[:1], model.model.alignment.embed_image(mean))


def test_kept_features_and_a_long_sentence_in_parts_give_the_same(build):
    model, processor = build(global_vision="resnet")
    words = [[f"w{number}" for number in range(60)]]
    batch = processor(words, images=[[A, None, B]])
    expected = run(model, batch).logits
    assert len(batch["input_ids"]) > 2
    close(run(model, batch, max_tokens=64).logits, expected)
    images, image_mask = batch["pixel_values"], batch["image_mask"]
    with torch.no_grad():
        features = model.model.read_present_images(images, image_mask)
    assert features["global_vectors"].shape[:2] == (1, 3)
    kept = {**batch, "pixel_values": None, "vision_features": features}
    close(run(model, kept).logits, expected)


def test_every_parameter_has_a_gradient_and_both_views_are_trained(build):
    model, processor = build(cross_view_weight=1.0, global_vision="resnet")
    labels = [["B-PER", "I-PER", "O"], ["B-LOC"], ["O", "B-PER"]]
    losses = model.train()(**processor(SENTENCES, [[A, B], C, None], labels))
    losses.loss.backward()
    assert losses.losses["cross_view"] > 0
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.parameters())


def test_words_attend_to_the_images_that_are_there(pair):
    model, processor = pair
    batch = processor(SENTENCES[:2], images=[[A, None, B], C])
    (weights,) = run(model, batch, output_attentions=True).patch_attentions
    shares = weights.unflatten(-1, (3, -1)).sum(-1)  # [B, heads, W, I]
    close(shares.sum(-1), torch.ones_like(shares[..., 0]))
    assert (shares[0, :, :, 1] == 0).all()
    assert (shares[1, :, :, 1:] == 0).all()


def test_an_image_that_cannot_be_read_costs_itself_alone(pair, caplog):
    model, processor = pair
    broken = {"bytes": b"no image", "path": "a.jpg"}
    batch = processor(SENTENCES[:1], images=[[A, broken, B]])
    assert batch["image_mask"].tolist() == [[True, False, True]]
    assert "Read without its image: a.jpg: found" in caplog.text
    ner = MultimodalNERPipeline(model=model, processor=processor)
    text = {"text": "Angela Merkel .", "image": [A, broken, B]}
    details = ner(text, return_details=True)
    assert details["image"] == "read"
    assert details["image_error"].startswith("a.jpg: found")
    assert "Read without one of its images: a.jpg" in caplog.text
    assert details["entities"] == ner({**text, "image": [A, B]})
    with pytest.raises(ValueError, match=r"^a\.jpg: found"):
        ner({**text, "image": [broken, broken]})


def test_the_pipeline_tells_which_image_a_word_attends_to(pair):
    model, processor = pair
    ner = MultimodalNERPipeline(model=model, processor=processor)
    inputs = [{"text": "Angela Merkel in Paris", "image": [A, B]}, {"text": "Ana", "image": C}]
    options = {"return_details": True, "attention": True, "explain": True}
    several, one = ner(inputs, **options)
    assert several["entities"]
    assert len(several["attention"]["boxes"]) == 2
    for word in several["attention"]["words"]:
        assert sum(word["images"]) == pytest.approx(1, abs=1e-4)
        assert len(word["patches"]) == 2
    first = several["entities"][0]
    words = [
        word["images"]
        for word in several["attention"]["words"]
        if first["start"] <= word["start"] < first["end"]
    ]
    assert first["images"] == pytest.approx(torch.tensor(words).mean(0).tolist(), abs=1e-5)
    assert one == ner(inputs[1], **options) | {"entities": one["entities"]}
    assert set(one["attention"]) == {"box", "words"}
    assert all("images" not in entity for entity in one["entities"])


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([[A] * 9, None, None], ValueError, r"images\[0\]: found 9 images, expected at most 8"),
        ([None, [[A, B]], None], TypeError, r"images\[1\]\[0\]: found list, expected an image"),
        ([[A, 7], None, None], TypeError, r"images\[0\]\[1\]: found int, expected a path, bytes"),
    ],
)
def test_what_is_no_list_of_images_is_refused(pair, images, error, message):
    with pytest.raises(error, match=message):
        pair[1](SENTENCES, images=images)


def test_the_most_images_are_a_setting_that_is_saved(pair, tmp_path):
    model, processor = pair
    processor.save_pretrained(tmp_path)
    again = TwoMNERProcessor.from_pretrained(tmp_path)
    assert again.max_images == 8
    again.max_images = 2
    with pytest.raises(ValueError, match=r"^'image': found 3 images, expected at most 2$"):
        MultimodalNERPipeline(model=model, processor=again)({"text": "a", "image": [A, B, C]})


def test_images_that_do_not_fit_their_mask_are_refused(pair):
    model, processor = pair
    batch = processor(SENTENCES, images=[[A, B], C, None])
    with pytest.raises(ValueError, match=r"pixel_values has the shape .* expected those of image_"):
        run(model, {**batch, "image_mask": batch["image_mask"][:, 0]})


def test_sentences_that_share_an_image_are_not_each_others_negatives():
    ids = torch.tensor([[7, 8, 0], [9, 7, 0], [9, 0, 0], [0, 0, 0]])
    shared = {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)}
    expected = [[(row, other) not in shared for other in range(4)] for row in range(4)]
    assert differ(ids).tolist() == expected


@pytest.mark.parametrize("level", ["sentence", "entity"])
def test_an_image_in_common_is_found_by_its_content(build, level):
    model, processor = build(alignment_level=level)
    labels = [["B-PER", "I-PER", "O"], ["B-LOC"]]

    def loss(*images):
        return run(model, processor(SENTENCES[:2], images, labels)).losses["alignment"]

    assert loss([A, B], [C, A]) == 0
    assert loss([A, B], A) == 0
    assert loss([A, B], C) > 0
