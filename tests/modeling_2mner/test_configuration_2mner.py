"""Bounds of the configuration: one error that names the field, before anything is built."""

import json
import math
from pathlib import Path

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig

from modeling_2mner import TwoMNERConfig, TwoMNERForTokenClassification, configuration_2mner
from modeling_2mner.checks_2mner import check_sizes
from modeling_2mner.quoting_2mner import quoted, shorten

HUGE = 10**18
REFUSED = (StrictDataclassError, ValueError)
ENCODERS = ("text_config", "vision_config", "global_vision_config")
VISION = {"model_type": "clip_vision_model"}


def test_the_librarys_own_keys_are_known(monkeypatch):
    """All that `from_dict` takes and `to_dict` writes; and a key of old releases."""
    logged = []
    monkeypatch.setattr(configuration_2mner.logger, "warning_once", logged.append)
    config = TwoMNERConfig(quantization_config={"bits": 8})
    options = {
        "attn_implementation": "eager",
        "experts_implementation": None,
        "name_or_path": "somewhere",
        "num_labels": 9,
        "output_attentions": False,
        "torch_dtype": "float32",
    }
    TwoMNERConfig.from_dict({**config.to_dict(), "tie_word_embeddings": True, **options})
    assert logged == []


@pytest.mark.parametrize("key", ["telepathy", "temperature", "hidden_dropout"])
def test_a_key_that_does_nothing_is_named(monkeypatch, key):
    logged = []
    monkeypatch.setattr(configuration_2mner.logger, "warning_once", logged.append)
    TwoMNERConfig(**{key: 0.5})
    (message,) = logged
    assert message.endswith(f"they are kept and do nothing: {key}")


@pytest.mark.parametrize("value", [HUGE, 10**400, 0, -1, 2.0, "8", True, [HUGE], None])
@pytest.mark.parametrize("field", ["collaboration_heads", "alignment_size"])
def test_a_size_of_our_own_is_refused_by_name(field, value):
    with pytest.raises(REFUSED, match=field):
        TwoMNERConfig(**{field: value})


@pytest.mark.parametrize("value", [HUGE, 10**400, 0, -1, 12.0, "12", True])
@pytest.mark.parametrize(
    "field",
    [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
    ],
)
def test_a_size_of_the_text_encoder_is_refused_by_name(field, value):
    if field == "max_position_embeddings" and value == -1:
        value = -2  # -1 is XLNet's way of saying any number
    with pytest.raises(REFUSED, match=field):
        TwoMNERConfig(text_config={"model_type": "xlm-roberta", field: value})


@pytest.mark.parametrize("value", [HUGE, 0, -1, 16.0, "16"])
@pytest.mark.parametrize(
    "field", ["image_size", "patch_size", "num_channels", "num_hidden_layers", "hidden_size"]
)
def test_a_size_of_the_vision_encoder_is_refused_by_name(field, value):
    with pytest.raises(REFUSED, match=field):
        TwoMNERConfig(vision_config={**VISION, field: value})


@pytest.mark.parametrize(
    ("model_type", "fields", "message"),
    [
        ("distilbert", {"n_layers": HUGE}, "text_config.n_layers is 10000"),
        ("distilbert", {"n_layers": 0}, "text_config.n_layers is 0, expected a whole number from"),
        ("modernbert", {"num_hidden_layers": HUGE}, "text_config.num_hidden_layers is 10000"),
        ("xlm-roberta", {"type_vocab_size": HUGE}, "text_config.type_vocab_size"),
        (
            "xlm-roberta",
            {"vocab_size": 2**24, "hidden_size": 2**17, "num_hidden_layers": 512},
            r"text_config: vocab_size 16777216, .* parameters, expected at most",
        ),
    ],
)
def test_the_families_names_of_a_size_are_known(model_type, fields, message):
    with pytest.raises(REFUSED, match=message):
        TwoMNERConfig(text_config={"model_type": model_type, **fields})


@pytest.mark.parametrize(
    ("model_type", "fields", "message"),
    [
        ("resnet", {"depths": [3, HUGE]}, "global_vision_config.depths is 10000"),
        ("resnet", {"depths": [1] * 10**5}, "global_vision_config.depths has 100000 values"),
        ("resnet", {"hidden_sizes": [8, 0]}, "global_vision_config.hidden_sizes is 0"),
        ("resnet", {"embedding_size": HUGE}, "global_vision_config.embedding_size"),
        ("efficientnet", {"depth_coefficient": 1e18}, "global_vision_config.depth_coefficient"),
        ("efficientnet", {"width_coefficient": math.inf}, "width_coefficient is inf"),
        ("efficientnet", {"hidden_dim": HUGE}, "global_vision_config.hidden_dim"),
    ],
)
def test_sizes_of_convolutional_encoders_are_refused_by_name(model_type, fields, message):
    with pytest.raises(REFUSED, match=message):
        TwoMNERConfig(
            vision_config=VISION, global_vision_config={"model_type": model_type, **fields}
        )


@pytest.mark.parametrize("part", ENCODERS)
def test_a_ready_configuration_is_held_against_the_same_bounds(part):
    config = CONFIG_MAPPING["vit"](num_hidden_layers=HUGE)
    parts = {"text_config": {"model_type": "xlm-roberta"}, "vision_config": VISION, part: config}
    with pytest.raises(REFUSED, match=f"{part}.num_hidden_layers is 1000000000000000000"):
        TwoMNERConfig(**parts)


@pytest.mark.parametrize(
    "model_type",
    [
        "albert",
        "bert",
        "camembert",
        "deberta-v2",
        "distilbert",
        "electra",
        "modernbert",
        "mpnet",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xlnet",
        "xmod",
        "clip_text_model",
        "beit",
        "clip_vision_model",
        "convnext",
        "convnextv2",
        "dinov2",
        "dinov3_vit",
        "efficientnet",
        "resnet",
        "siglip_vision_model",
        "siglip2_vision_model",
        "swin",
        "vit",
    ],
)
def test_encoders_as_they_are_published_are_within_the_bounds(model_type):
    config = CONFIG_MAPPING[model_type]()
    check_sizes("config", config.to_dict(), config.attribute_map)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("collaboration_dropout", 1),
        ("word_dropout", -0.1),
        ("classifier_dropout", math.nan),
        ("alpha", math.nan),
        ("alpha", 1.5),
        ("alignment_temperature", math.nan),
        ("alignment_temperature", math.inf),
        ("cross_view_temperature", -1),
        ("cross_view_weight", math.nan),
        ("cross_view_weight", 10**400),
        ("initializer_range", math.inf),
        ("image_mean", [0.5, 0.5]),
        ("image_std", [0.5, 0.0, 0.5]),
        ("image_std", [0.5, math.nan, 0.5]),
        ("global_image_mean", [0.5, 0.5, 0.5]),
    ],
)
def test_a_number_out_of_its_bounds_is_refused_by_name(field, value):
    with pytest.raises(REFUSED, match=field.replace("mean", "(mean|std)")):
        TwoMNERConfig(**{field: value})


# Labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["B-PER", "I-PER"], r"labels lack 'O', .* found \['B-PER', 'I-PER'\]"),
        ([], "labels lack 'O'"),
        (["O", "B-PER", "B-PER"], "labels must differ from one another, found B-PER more"),
        (["O", "O"], "labels must differ from one another, found O more than once"),
        (["O", ""], "labels: '' is not a label"),
        (["O", "PER"], "labels: 'PER' is not a label"),
        (["O", "B-"], "labels: 'B-' is not a label"),
        (["O", "-PER"], "labels: '-PER' is not a label"),
        (["O", "o"], "labels: 'o' is not a label"),
        (["O", 5], "labels has 5, expected strings"),
        (["O", None], "labels has None, expected strings"),
        (["O", ["B-PER"]], r"labels has \['B-PER'\], expected strings"),
        ("O", "labels is 'O', expected a list"),
        (7, "labels is 7, expected a list"),
        (["O", *(f"B-T{number}" for number in range(5000))], "there are 5001 labels, expected at"),
    ],
)
def test_labels_that_are_none_are_refused_by_name(labels, message):
    with pytest.raises(REFUSED, match=message):
        TwoMNERConfig(labels=labels)
    if isinstance(labels, list) and labels:
        with pytest.raises(REFUSED, match=message):
            TwoMNERConfig(id2label=dict(enumerate(labels)))


@pytest.mark.parametrize("id2label", [{"one": "O"}, {1: "O"}, ["O"], "O", {0: "O", 2: "B-PER"}])
def test_an_id2label_that_numbers_nothing_is_refused(id2label):
    with pytest.raises(REFUSED, match="id2label"):
        TwoMNERConfig(id2label=id2label)


@pytest.mark.parametrize("labels", [["B-PER", "I-PER"], [], ["O", 5], "O"])
def test_a_model_does_not_take_such_labels_later(text_encoder, labels):
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder())
    with pytest.raises(ValueError, match="labels"):
        model.resize_labels(labels)
    assert len(model.config.labels) == 9


# The file


@pytest.fixture
def folder(tmp_path) -> Path:
    TwoMNERConfig().save_pretrained(tmp_path)
    return tmp_path


BROKEN_JSON = {
    "empty": b"",
    "cut": b"{",
    "list": b"[]",
    "number": b"5",
    "string": b'"x"',
    "null": b"null",
    "binary": b"\xff\xfe\x00",
    "deep": b"[" * 10**5,
    "long number": b'{"a": 1' + b"0" * 9999 + b"}",
}


@pytest.mark.parametrize("content", BROKEN_JSON.values(), ids=BROKEN_JSON)
def test_a_broken_configuration_is_one_error_that_names_the_file(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(OSError, match=r"config\.json"):
        TwoMNERConfig.from_pretrained(folder)
    with pytest.raises(OSError, match=r"config\.json"):
        TwoMNERForTokenClassification.from_pretrained(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("text_config", {"model_type": "xlm-roberta", "hidden_size": "x"}, "hidden_size"),
        ("text_config", {"model_type": "xlm-roberta", "num_hidden_layers": HUGE}, "hidden_layers"),
        ("text_config", {"model_type": "telepathy"}, "telepathy"),
        ("text_config", {"model_type": ["bert"]}, "config.json"),
        ("text_config", "bert", "text_config"),
        ("alpha", None, "alpha"),
        ("alpha", {"deep": "x" * 10**6}, "alpha"),
        ("id2label", {"0": "B-PER"}, "labels lack 'O'"),
        ("id2label", 5, "id2label"),
        ("dtype", "telepathic", "config.json"),
    ],
)
@pytest.mark.parametrize("route", [TwoMNERConfig, AutoConfig])
def test_a_broken_field_is_one_line_that_names_file_and_field(folder, field, value, message, route):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match=message) as error:
        route.from_pretrained(folder)
    text = str(error.value)
    assert "config.json: " in text and "\n" not in text and len(text) < 1000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("two\nlines", r"'two\nlines'"),
        ([1] * 10**6, "[1, 1, 1, 1, 1, 1, ...]"),
        (10**5000, "a int that is too long to be written"),
    ],
    ids=["lines", "list", "number"],
)
def test_a_message_quotes_one_short_line(value, expected):
    assert quoted(value) == expected


def test_a_message_shows_no_control_characters():
    assert shorten("a\x1b[31m \u202e\ud800 ü 👩") == r"a\x1b[31m \u202e\ud800 ü 👩"
