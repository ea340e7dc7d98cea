"""Text from images: real Tesseract, real pipelines with tiny models, each image read once."""

import io
import os
import struct
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from transformers import (
    AutoTokenizer,
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessorPil,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessorPil,
    OwlViTProcessor,
    ResNetConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from dataset_mmnerd import audit_hashes
from dataset_mmnerd.context_store import decoded, visual_context
from dataset_mmnerd.extractors import (
    Captioner,
    ContextError,
    ObjectTagger,
    TesseractReader,
)
from dataset_mmnerd.images import MAX_BYTES, ImageError
from modeling_2mner import TwoMNERProcessor

from .conftest import enormous_png, image_bytes


def board(*lines: str, paper: str = "white", format: str = "PNG") -> bytes:
    """An image with something written on it, large and level."""
    image = Image.new("RGB", (320, 60 * len(lines) + 40), paper)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        middle = (160, 50 + 60 * row)
        draw.text(middle, line, fill="black", font=ImageFont.load_default(36), anchor="mm")
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
TEXT = {**VISION, "vocab_size": 18, "max_position_embeddings": 64}
TEXT |= {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
SIZE = {"height": 32, "width": 32}


def tokenizer(*more: str) -> BertTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *more]
    words = [*special, *(f"word{letter}" for letter in "abcdefghijkl")]
    tokens = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)})
    tokens.add_special_tokens({"additional_special_tokens": list(more)})
    tokens.bos_token, tokens.eos_token = "[CLS]", "[SEP]"
    return tokens


def classifier(folder):
    names = ["lakeside, lakeshore", "box / carton", "kite (bird of prey)", "dog", "cat"]
    ids = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: n for n, name in enumerate(names)},
    }
    ViTForImageClassification(ViTConfig(**VISION, **ids)).save_pretrained(folder)
    ViTImageProcessorPil(size=SIZE).save_pretrained(folder)


def detector(folder):
    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4)
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=16,
        **dict.fromkeys(("encoder_layers", "decoder_layers"), 1),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 16),
        num_queries=5,
        id2label={0: "red car", 1: "cat"},
        label2id={"red car": 0, "cat": 1},
    )
    DetrForObjectDetection(config).save_pretrained(folder)
    size = {"shortest_edge": 32, "longest_edge": 64}
    DetrImageProcessorPil(size=size).save_pretrained(folder)


def zero_shot_detector(folder):
    config = OwlViTConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    OwlViTForObjectDetection(config).save_pretrained(folder)
    OwlViTProcessor(OwlViTImageProcessorPil(size=SIZE), tokenizer()).save_pretrained(folder)


def captioner(folder):
    text = TEXT | {"encoder_hidden_size": 16, "sep_token_id": 3}
    config = BlipConfig(text_config=text, vision_config=VISION, projection_dim=8)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessorPil(size=SIZE), tokenizer()).save_pretrained(folder)


def encoder_decoder(folder):
    decoder = GPT2Config(
        vocab_size=18,
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=64,
        bos_token_id=2,
        eos_token_id=3,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VISION), decoder)
    model = VisionEncoderDecoderModel(config)
    model.generation_config.update(decoder_start_token_id=2, pad_token_id=0, eos_token_id=3)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size=SIZE).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def chatting_model(folder):
    text = LlamaConfig(**{**TEXT, "num_key_value_heads": 2})
    config = LlavaConfig(vision_config=CLIPVisionConfig(**VISION), text_config=text)
    config.image_token_index = config.image_token_id = 5
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    template = (
        "{% for turn in messages %}{% for part in turn.content %}"
        "{{ '<image>' if part.type == 'image' else part.text }} {% endfor %}{% endfor %}"
    )
    images = CLIPImageProcessorPil(size=SIZE, crop_size=SIZE)
    tokens = tokenizer("<image>")
    strategy = {"patch_size": 16, "vision_feature_select_strategy": "default"}
    processor = LlavaProcessor(images, tokens, **strategy, chat_template=template)
    processor.num_additional_image_tokens = 1
    processor.save_pretrained(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """`model(write)`: the folder of a tiny model with random weights, written once."""
    folders = {}

    def make(write) -> str:
        if write not in folders:
            folders[write] = tmp_path_factory.mktemp(write.__name__)
            torch.manual_seed(0)
            write(folders[write])
        return str(folders[write])

    return make


IMAGES = [Image.new("RGB", (60, 40), "red"), Image.new("RGB", (40, 50), "blue")]


class Sizes:
    """An extractor that says how wide an image is, and counts what it is given."""

    column, name, batch_size, by_language = "objects", "sizes", 3, False

    def __init__(self, **settings) -> None:
        self.__dict__ |= settings
        self.key = f"{self.column} {self.name}"
        self.batches: list[int] = []
        self.seen: Counter[tuple] = Counter()

    def read(self, images, lang="und"):
        self.batches.append(len(images))
        self.seen.update((image.size, lang) for image in images)
        return [[f"{image.width} wide", lang] for image in images]


@pytest.mark.tesseract
def test_tesseract_reads_what_is_written_line_by_line():
    reader = TesseractReader(["en"])
    images = [decoded(board("WELCOME TO", "Valdora")), decoded(image_bytes())]
    assert reader.read(images, "en") == [["WELCOME TO", "Valdora"], []]


@pytest.mark.tesseract
def test_tesseract_reads_what_is_written_in_16_bit_greyscale():
    grey = Image.open(io.BytesIO(board("WELCOME TO", "Valdora"))).convert("L")
    file = io.BytesIO()
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(file, "PNG")
    assert TesseractReader(["en"]).read([decoded(file.getvalue())], "en") == [
        ["WELCOME TO", "Valdora"]
    ]


class Seen(Sizes):
    """Keeps the images that it is given."""

    def read(self, images, lang="und"):
        self.images = list(images)
        return super().read(images, lang)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "P", "LA", "1", "CMYK", "16 bits", "turned"])
def test_extractors_audit_and_model_see_the_same_pixels(kind, text_encoder):
    image = Image.open(io.BytesIO(image_bytes(4, size=(32, 32)))).convert("RGB")
    options = {}
    if kind == "16 bits":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif kind == "turned":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    else:
        if kind in ("RGBA", "LA"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image = image.convert(kind)
    file = io.BytesIO()
    image.save(file, "TIFF" if kind == "CMYK" else "PNG", **options)
    extractor = Seen()
    visual_context([file.getvalue()], ["en"], [extractor])
    (seen,) = extractor.images
    raw = CLIPImageProcessorPil(
        do_resize=False, do_center_crop=False, rescale_factor=1.0, do_normalize=False
    )
    tokenizer = AutoTokenizer.from_pretrained(text_encoder(), add_prefix_space=True)
    (model_sees,) = TwoMNERProcessor(raw, tokenizer)(["a"], images=file.getvalue())["pixel_values"]
    assert np.array_equal(model_sees.permute(1, 2, 0), np.asarray(seen))
    audited = audit_hashes.Images()
    audited.read(0, "train", {"image": {"bytes": file.getvalue()}, "image_id": "a"})
    assert list(audited.look.values()) == [audit_hashes.perceptual_hash(seen)]


@pytest.mark.tesseract
def test_tesseract_reads_an_image_in_the_language_of_its_sentence():
    font = ImageFont.load_default(48)
    image = Image.new("RGB", (420, 120), "white")
    draw = ImageDraw.Draw(image)
    draw.text((30, 90), "SCHONE GRUSSE", fill="black", font=font, anchor="ls")
    for before in ("SCH", "SCHONE GR"):  # Pillow's own font has no umlauts: their dots
        left = 30 + font.getlength(before)
        for x in (left + 12, left + 27):
            draw.ellipse([x - 4, 42, x + 4, 50], fill="black")
    reader = TesseractReader(["de", "en"])
    assert reader.read([image], "de") == [["SCHÖNE GRÜSSE"]]
    assert reader.read([image], "en") != [["SCHÖNE GRÜSSE"]]


def test_a_missing_tesseract_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ContextError, match=r"found no program tesseract.*: install tesseract-ocr$"):
        TesseractReader()


@pytest.mark.tesseract
def test_a_missing_language_says_what_to_install():
    with pytest.raises(ContextError, match=r"'th' need.*: install tesseract-ocr-tha$"):
        TesseractReader(["en", "th"])


def test_each_distinct_image_is_read_once_in_batches():
    distinct = [image_bytes(seed, size=(40 + seed, 30)) for seed in range(4)]
    extractor = Sizes()
    images = [*distinct, None, {"bytes": distinct[0], "path": None}, *distinct[::-1]]
    columns = visual_context(images, ["en", "de"] * 5, extractors=[extractor])
    assert extractor.batches == [3, 1]
    assert set(extractor.seen.values()) == {1}
    widths = [value and value[0] for value in columns["objects"]]
    assert widths[:5] == ["40 wide", "41 wide", "42 wide", "43 wide", None]
    assert widths[5:] == ["40 wide", "43 wide", "42 wide", "41 wide", "40 wide"]


def test_what_depends_on_the_language_is_read_once_a_language(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(image_bytes())
    extractor = Sizes(by_language=True)
    columns = visual_context([path] * 5, ["en", "de", "en", "de", "en"], [extractor])
    assert [value[1] for value in columns["objects"]] == ["en", "de", "en", "de", "en"]
    assert sorted(extractor.batches) == [1, 1]


def test_a_broken_or_enormous_image_is_logged_and_gives_nothing(caplog, tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    fifo = tmp_path / "fifo.png"
    os.mkfifo(fifo)
    missing = {"bytes": None, "path": str(tmp_path / "missing.png")}
    images = [image_bytes(), b"no image", enormous_png(), path, fifo, missing]
    columns = visual_context(images, ["en"] * 6, [Sizes()])
    assert columns["objects"] == [["64 wide", "und"], *[None] * 5]
    assert "5 images cannot be read, the first: row 1: found an unknown or " in caplog.text


def test_an_image_with_a_broken_part_behind_its_header_is_broken():
    notes = struct.pack("<IHHHIIHHIHHIII", 8, 2, 0x010E, 5, 1, 38, 0x0112, 3, 1, 6, 0, 0, 1, 2)
    file = io.BytesIO()
    with Image.open(io.BytesIO(image_bytes())) as image:
        image.save(file, "JPEG", exif=b"Exif\0\0II*\0" + notes)  # a title that is no text
    with pytest.raises(ImageError, match="expected a whole image file of JPEG"):
        decoded(file.getvalue())


def test_a_classifier_gives_its_likeliest_names_in_short_form(model):
    tagger = ObjectTagger(model(classifier), threshold=0)
    for names in tagger.read(IMAGES):
        assert sorted(names) == ["box", "cat", "dog", "kite", "lakeside"]
    all_scores = tagger._pipeline(IMAGES[0], top_k=5)
    likeliest = [found["label"].split(",")[0].split(" (")[0].split(" /")[0] for found in all_scores]
    assert tagger.read(IMAGES)[0] == likeliest
    assert ObjectTagger(model(classifier), count=2).read(IMAGES)[0] == likeliest[:2]
    assert ObjectTagger(model(classifier), threshold=0.9).read(IMAGES) == [[], []]


def test_a_detector_reads_images_of_different_shapes_and_names_each_object_once(model):
    names = ObjectTagger(model(detector), threshold=0.0).read(IMAGES)
    assert len(names) == 2
    for each in names:
        assert each and len(each) == len(set(each)) and set(each) <= {"red car", "cat"}


def test_a_zero_shot_detector_looks_for_the_names_it_is_told(model):
    tagger = ObjectTagger(model(zero_shot_detector), threshold=0.0, names=["dog", "red cat"])
    assert [set(each) for each in tagger.read(IMAGES)] == [{"dog", "red cat"}] * 2


@pytest.mark.parametrize("write", [captioner, encoder_decoder, chatting_model])
def test_a_captioning_model_gives_several_different_captions_an_image(model, write):
    reader = Captioner(model(write), count=3, max_new_tokens=6)
    captions = reader.read(IMAGES)
    assert len(captions) == 2
    for each in captions:
        assert 1 < len(each) == len(set(each)) <= 3
        assert all(0 < len(caption.split()) <= 6 for caption in each)
    assert captions == [reader.read([image])[0] for image in IMAGES]


def test_settings_and_weights_are_part_of_what_a_reading_is_kept_under(model):
    folder = model(classifier)
    assert ObjectTagger(folder).key == ObjectTagger(folder).key
    assert ObjectTagger(folder).key != ObjectTagger(folder, count=3).key


@pytest.mark.parametrize("extractor", [ObjectTagger, Captioner])
def test_a_missing_model_is_one_line_that_says_what_was_expected(extractor, tmp_path):
    with pytest.raises(ContextError, match=r"nowhere.*expected a folder or a model") as e:
        extractor(tmp_path / "nowhere")
    assert "\n" not in str(e.value)


def test_a_model_for_something_else_is_refused(model):
    with pytest.raises(ContextError, match="found BlipForConditionalGeneration, expected a model"):
        ObjectTagger(model(captioner))
    with pytest.raises(ContextError, match="expected a folder or a model"):
        Captioner(model(classifier))


def test_pickled_weights_are_not_read(model, tmp_path):
    ViTForImageClassification(ViTConfig(**VISION)).config.save_pretrained(tmp_path)
    ViTImageProcessorPil(size=SIZE).save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    config = (tmp_path / "config.json").read_text()
    name = '"architectures": ["ViTForImageClassification"],'
    (tmp_path / "config.json").write_text(config.replace("{", "{" + name, 1))
    with pytest.raises(ContextError, match="safetensors"):
        ObjectTagger(tmp_path)
