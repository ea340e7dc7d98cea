"""What the words of an input attended to: the attention over the patches of its image."""

import io
import json

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPImageProcessorPil, ConvNextImageProcessorPil

from modeling_2mner import (
    MultimodalNERPipeline,
    TwoMNERForTokenClassification,
    TwoMNERProcessor,
)
from modeling_2mner.attention_2mner import MOST_WORDS, patch_grid

TEXT = "Angela Merkel's visit: Paris."
RED, BLUE = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))


def build(text_encoder, vision, image_processor=None):
    torch.manual_seed(1)
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder(), *vision)
    torch.nn.init.normal_(model.classifier.weight, std=0.4)
    for collaboration in model.model.collaborations:  # weights that differ from patch to patch
        torch.nn.init.normal_(collaboration.attention.q_proj.weight, std=2.0)
        torch.nn.init.normal_(collaboration.attention.k_proj.weight, std=2.0)
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), *vision[:1])
    if image_processor is not None:
        processor.image_processor = image_processor
    return MultimodalNERPipeline(model=model, processor=processor)


@pytest.fixture(scope="module")
def ner(text_encoder, vision_encoder):
    return build(text_encoder, [vision_encoder("clip")])


def read(ner, given, **options):
    return ner(given, attention=True, return_details=True, **options)


def noise(width=64, height=64):
    torch.manual_seed(5)
    return Image.fromarray((torch.rand(height, width, 3) * 255).byte().numpy())


def close(one, two):
    return torch.allclose(*(values_of(found) for found in (one, two)), atol=2e-5)


def values_of(attention):
    return torch.tensor([word["patches"] for word in attention["words"]])


def test_every_word_has_its_characters_and_a_grid(ner):
    found = read(ner, {"text": TEXT, "image": noise()})["attention"]
    words = ["Angela", "Merkel", "'s", "visit", ":", "Paris", "."]
    assert [word["word"] for word in found["words"]] == words
    assert [TEXT[word["start"] : word["end"]] for word in found["words"]] == words
    assert values_of(found).shape == (7, 2, 2)
    assert json.loads(json.dumps(found)) == found
    assert read(ner, {"words": ["Ana", "ok"], "image": RED})["attention"]["words"][1]["start"] == 4


@pytest.mark.parametrize(
    ("vision", "grid", "special"),
    [
        ("clip", (2, 2), 1),
        ("siglip", (2, 2), 0),
        ("vit", (2, 2), 1),
        ("dinov2", (2, 2), 1),
        ("resnet", (4, 4), 0),
        ("efficientnet", (1, 1), 0),
        ("clip resnet", (2, 2), 1),
    ],
)
def test_the_grid_is_the_mean_over_heads_without_special_patches(
    text_encoder, vision_encoder, vision, grid, special
):
    """That of the first encoder: the second one gives one vector for the image."""
    ner = build(text_encoder, [vision_encoder(kind) for kind in vision.split()])
    image = noise()
    found = read(ner, {"words": ["Ana", "lives"], "image": image})["attention"]
    batch = ner.processor(["Ana", "lives"], images=image)
    with torch.no_grad():
        weights = ner.model(**batch, output_attentions=True).patch_attentions[0]
    expected = weights[0].mean(0)[:, special:].unflatten(-1, grid)
    torch.testing.assert_close(values_of(found), expected, atol=2e-6, rtol=0)


def test_it_changes_no_other_answer(ner):
    inputs = [{"text": TEXT, "image": noise()}, TEXT]
    for given in (*inputs, inputs):
        with_attention, plain = read(ner, given), ner(given, return_details=True)
        for answer in with_attention if isinstance(given, list) else [with_attention]:
            del answer["attention"]
        assert with_attention == plain


def test_without_an_image_there_is_none(ner, text_encoder):
    alone, unreadable = read(ner, [TEXT, {"text": TEXT, "image": b"none"}])
    assert alone["attention"] is unreadable["attention"] is None
    assert "attention" not in ner(TEXT, return_details=True)
    text_only = build(text_encoder, [])
    assert read(text_only, {"text": TEXT, "image": RED})["attention"] is None
    assert read(ner, {"text": " ", "image": RED})["attention"]["words"] == []


def test_batch_mates_and_windows_change_nothing(ner):
    long = " ".join(f"w{number}" for number in range(60))
    inputs = [
        {"text": TEXT, "image": noise()},
        {"text": long, "image": noise()},
        TEXT,
        {"text": "Ana", "image": BLUE},
    ]
    together = read(ner, inputs)
    assert together[1]["windows"] > 1
    assert len(together[1]["attention"]["words"]) == 60
    for given, found in zip(inputs, together, strict=True):
        alone = read(ner, given, max_tokens=64)
        if found["attention"] is None:
            assert alone["attention"] is None
        else:
            assert close(found["attention"], alone["attention"])
            assert found["attention"]["box"] == alone["attention"]["box"]


def test_a_long_text_has_the_attention_of_its_first_words(ner):
    text = " ".join(f"w{number}" for number in range(MOST_WORDS + 50))
    found = read(ner, {"text": text, "image": noise()})["attention"]
    assert len(found["words"]) == MOST_WORDS
    start = read(ner, {"text": text[:100], "image": noise()})["attention"]
    assert [word["end"] for word in start["words"][:5]] == [
        word["end"] for word in found["words"][:5]
    ]


def test_words_in_place_of_entities_have_it_too(ner):
    found = read(ner, {"text": TEXT, "image": noise()}, aggregation_strategy="none")
    assert len(found["attention"]["words"]) == 7


def test_it_is_refused_where_it_has_no_place(ner):
    with pytest.raises(ValueError, match="attention was given without return_details"):
        ner(TEXT, attention=True)
    with pytest.raises(TypeError, match=r"attention is 3 \(int\), expected True or False"):
        ner(TEXT, attention=3, return_details=True)


# The part of the image


SQUARE = {"height": 32, "width": 32}
WHOLE = CLIPImageProcessorPil(size=SQUARE, crop_size=SQUARE, do_center_crop=False)
CROPPED = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
INNER = CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size=SQUARE)
UNRESIZED = CLIPImageProcessorPil(do_resize=False, crop_size=SQUARE)
ZOOMED = ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.5)


@pytest.mark.parametrize(
    ("images", "size", "box"),
    [
        (WHOLE, (300, 200), (0, 0, 1, 1)),
        (CROPPED, (300, 200), (1 / 6, 0, 5 / 6, 1)),
        (CROPPED, (200, 400), (0, 0.25, 1, 0.75)),
        (INNER, (200, 200), (0.25, 0.25, 0.75, 0.75)),
        (UNRESIZED, (64, 320), (0.25, 0.45, 0.75, 0.55)),
        (UNRESIZED, (16, 320), (-0.5, 0.45, 1.5, 0.55)),
        (ZOOMED, (200, 200), (0.25, 0.25, 0.75, 0.75)),
        (WHOLE, (6400, 100), (0.25, 0, 0.75, 1)),
        (WHOLE, (1, 1), (0, 0, 1, 1)),
    ],
    ids=["whole", "wide", "high", "inner", "unresized", "padded", "zoomed", "strip", "one pixel"],
)
def test_the_box_is_the_part_of_the_image_that_is_seen(
    text_encoder, vision_encoder, images, size, box
):
    ner = build(text_encoder, [vision_encoder("clip")], images)
    found = read(ner, {"text": "Ana", "image": Image.new("RGB", size, "red")})["attention"]["box"]
    assert found == pytest.approx(box, abs=0.01)


def test_the_box_is_of_the_upright_image(text_encoder, vision_encoder):
    """A photo that a camera stored on its side, 300 x 200, is 200 x 300."""
    ner = build(text_encoder, [vision_encoder("clip")], CROPPED)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(file, "jpeg", exif=exif)
    found = read(ner, {"text": "Ana", "image": file.getvalue()})["attention"]["box"]
    assert found == pytest.approx((0, 1 / 6, 1, 5 / 6), abs=0.01)


def test_a_white_quarter_of_the_image_is_that_quarter_of_the_grid(text_encoder, vision_encoder):
    """With patches that hold nothing but the brightness of their pixels, the patch that is attended
    to as no other is the white one. The outer quarters of a wide image are not seen.
    """
    ner = build(text_encoder, [vision_encoder("resnet")], CROPPED)

    def brightness(module, arguments, given, outputs):
        bright = F.avg_pool2d(given["pixel_values"].mean(1, keepdim=True), 16)
        outputs.last_hidden_state = bright.expand(-1, 24, -1, -1)
        return outputs

    ner.model.model.vision_model.register_forward_hook(brightness, with_kwargs=True)
    for number, (left, top) in enumerate(((100, 0), (200, 0), (100, 100), (200, 100))):
        image = Image.new("RGB", (400, 200))
        image.paste("white", (left, top, left + 100, top + 100))
        found = read(ner, {"text": "Ana", "image": image})["attention"]
        assert found["box"] == pytest.approx((0.25, 0, 0.75, 1), abs=0.01)
        grid = values_of(found)[0].flatten()
        assert (grid - grid.median()).abs().argmax() == number


@pytest.mark.parametrize(
    ("patch_size", "count", "size", "expected"),
    [
        (16, 197, (224, 224), (1, 14, 14)),
        (16, 201, (224, 224), (5, 14, 14)),
        ((16, 16), 98, (112, 224), (0, 7, 14)),
        (4, 49, (224, 224), (0, 7, 7)),
        (None, 49, (224, 224), (0, 7, 7)),
        (None, 70, (200, 320), (0, 7, 10)),
        (None, 1, (32, 32), (0, 1, 1)),
    ],
)
def test_the_grid_of_the_patches(patch_size, count, size, expected):
    """Special patches come first; a hierarchical encoder has fewer than its patch size tells."""
    assert patch_grid(patch_size, count, *size) == expected
