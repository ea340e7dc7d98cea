"""The two views of a sentence: with its image and visual context, and without them."""

import pytest
import torch
from PIL import Image

from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor

SENTENCES = [
    ["Angela", "Merkel", "besucht", "Paris", "."],
    ["Je", "pense", "que", "oui"],
    ["Hola"],
    [f"w{number}" for number in range(40)],  # several windows
]
LABELS = [
    ["B-PER", "I-PER", "O", "B-LOC", "O"],
    ["O", "O", "O", "B-MISC"],
    ["O"],
    ["O"] * 38 + ["B-ORG", "I-ORG"],
]
CONTEXT = [
    {"objects": ["suit", "flag"], "captions": None, "ocr": ["CDU"]},
    None,
    {"ocr": []},
    {"captions": ["two people in front of a house"]},
]
ILLUSTRATED = [True, False, False, True]
IMAGES = [Image.new("RGB", (32, 32), "red"), None, None, Image.new("RGB", (32, 32), "blue")]
TEACHING = {"cross_view_weight": 0.5, "cross_view_temperature": 2}


@pytest.fixture(scope="module")
def family(text_encoder, vision_encoder):
    """Build a model and its processor, with or without a vision encoder."""

    def build(vision=None, budget=16, **config):
        torch.manual_seed(0)
        names = [text_encoder(), vision and vision_encoder(vision)]
        model = TwoMNERForTokenClassification.from_text_vision_pretrained(*names, **config)
        return model, TwoMNERProcessor.from_text_vision_pretrained(*names, context_budget=budget)

    return build


def run(model, batch, **options):
    with torch.no_grad():
        return model(**batch, **options)


def without_chance(model):
    """Put a model into training mode, without dropout."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    model.model.text_model.eval()
    if model.model.vision_model is not None:
        model.model.vision_model.eval()
    return model


# Reading visual context


def test_context_moves_no_word(family):
    _, processor = family()
    bare, full = processor(SENTENCES), processor(SENTENCES, context=CONTEXT)
    for batch in (bare, full):
        length = batch["input_ids"].shape[1]
        batch["row"], batch["position"] = (
            batch["word_index"] // length,
            batch["word_index"] % length,
        )
    for name in ("word_mask", "row", "position"):
        assert torch.equal(bare[name], full[name])
    assert full["context_mask"].any(1).tolist() == [True, False, False] + [True] * (
        len(full["input_ids"]) - 3
    )
    pointed_at = full["context_mask"].flatten()[full["word_index"]]
    assert not pointed_at.any()


def test_context_stands_behind_the_words(family):
    _, processor = family(budget=20)
    batch = processor(SENTENCES[0], context=CONTEXT[0])
    letters = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    text = "".join(letters).replace("▁", " ")
    assert text == "<s> Angela Merkel besucht Paris .</s> suit ; flag ; CDU</s>".replace(
        ";", "<unk>"
    )
    marked = [
        letter for letter, mark in zip(letters, batch["context_mask"][0], strict=True) if mark
    ]
    assert "".join(marked).replace("▁", " ") == " suit <unk> flag <unk> CDU</s>"


def test_order_and_separator_are_a_choice(text_encoder):
    processor = TwoMNERProcessor.from_text_vision_pretrained(
        text_encoder(),
        context_budget=20,
        context_fields=["ocr", "objects"],
        context_separator=" - ",
    )
    context = {"objects": ["b"], "captions": ["not read"], "ocr": ["a", "c"]}
    batch = processor(["x"], context=context)
    letters = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    assert "".join(letters) == "<s>▁x</s>▁a▁-▁c▁-▁b</s>"


def test_context_keeps_its_budget(family):
    _, processor = family(budget=5)
    batch = processor(SENTENCES[0], context={"ocr": ["a" * 100]})
    assert batch["context_mask"].sum() == 5 + 1  # and what closes it


def test_an_image_full_of_text_pushes_no_word_out(family):
    """Whatever the visual context, each word keeps its window and its place."""
    model, processor = family(budget=30)
    for count in range(1, 33):
        words = ["w"] * count
        bare = processor(words)
        flooded = processor(words, context={"ocr": ["all work and no play " * 100] * 100})
        length = flooded["input_ids"].shape[1]
        assert length <= processor.max_length
        assert torch.equal(bare["word_mask"], flooded["word_mask"])
        assert torch.equal(
            bare["input_ids"].flatten()[bare["word_index"]],
            flooded["input_ids"].flatten()[flooded["word_index"]],
        )
        assert len(bare["input_ids"]) == len(flooded["input_ids"])
        assert (run(model, flooded).predictions >= 0).all()


def test_each_window_of_a_long_sentence_carries_the_context(family):
    _, processor = family(budget=8)
    batch = processor([f"w{number}" for number in range(60)], context={"ocr": ["LIVE IN CONCERT"]})
    assert len(batch["input_ids"]) > 2
    assert (batch["context_mask"].sum(1) == 8 + 1).all()


def test_a_text_that_spells_a_special_token_is_only_text(family):
    _, processor = family()
    tokenizer = processor.tokenizer
    batch = processor(["a", "</s>", "<pad>"], context={"ocr": ["<s>", "</s>"]})
    ids = batch["input_ids"][0]
    assert (ids == tokenizer.eos_token_id).sum() == 2
    assert (ids == tokenizer.bos_token_id).sum() == 1
    assert (ids == tokenizer.pad_token_id).sum() == 0


def test_a_model_that_reads_no_context_leaves_it_aside(family):
    _, processor = family(budget=0)
    batch = processor(SENTENCES, context=CONTEXT)
    assert "context_mask" not in batch
    assert torch.equal(batch["input_ids"], processor(SENTENCES)["input_ids"])


def test_the_settings_travel_with_the_processor(family, tmp_path):
    _, processor = family(budget=7)
    processor.save_pretrained(tmp_path)
    loaded = TwoMNERProcessor.from_pretrained(tmp_path)
    expected = processor(SENTENCES, context=CONTEXT)
    for name, values in loaded(SENTENCES, context=CONTEXT).items():
        assert torch.equal(values, expected[name])


@pytest.mark.parametrize(
    ("context", "error", "message"),
    [
        ({"tags": ["a"]}, ValueError, r"context\[0\] has the field 'tags'"),
        ({"ocr": "text"}, TypeError, r"context\[0\]\['ocr'\] is 'text' \(str\)"),
        ([{}, {}], ValueError, "context has 2 items for 1 sentences"),
    ],
)
def test_wrong_context_is_refused(family, context, error, message):
    _, processor = family()
    with pytest.raises(error, match=message):
        processor([["a"]], context=context if isinstance(context, list) else [context])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context_budget": 32}, "context_budget is 32, expected at least 0 and less than half"),
        (
            {"context_fields": ["ocr", "tags"]},
            "context_fields has 'tags', expected some of objects",
        ),
    ],
)
def test_wrong_settings_are_refused(text_encoder, options, message):
    with pytest.raises(ValueError, match=message):
        TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), **options)


# The text view


@pytest.mark.parametrize("vision", [None, "clip"])
@pytest.mark.parametrize("rows", [[0], [1, 2], [0, 1, 2, 3]])
def test_the_text_view_is_what_there_is_without_the_image(family, vision, rows):
    model, processor = family(vision)
    words = [SENTENCES[row] for row in rows]
    images = {"images": [IMAGES[row] for row in rows]}
    full = processor(words, context=[CONTEXT[row] for row in rows], **images)
    expected = run(model, processor(words))
    found = run(model, full, view="text")
    assert torch.equal(found.predictions, expected.predictions)
    for name in ("logits", "marginals", "entity_scores"):
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4)


def test_context_is_read(family):
    model, processor = family()
    batch = processor(SENTENCES, context=CONTEXT)
    one, other = run(model, batch).logits, run(model, batch, view="text").logits
    changed = [
        not torch.allclose(one[row, : len(words)], other[row, : len(words)], atol=1e-5)
        for row, words in enumerate(SENTENCES)
    ]
    assert changed == ILLUSTRATED


def test_the_text_view_of_embeddings(family):
    model, processor = family()
    batch = processor(SENTENCES, context=CONTEXT)
    expected = run(model, batch, view="text").logits
    ids = batch.pop("input_ids")
    embeds = model.get_input_embeddings()(ids).detach()
    # Without ids the encoder numbers positions without regard to padding: it comes last anyway.
    found = run(model, {**batch, "input_ids": None, "inputs_embeds": embeds}, view="text").logits
    torch.testing.assert_close(found[0, :5], expected[0, :5], atol=1e-5, rtol=1e-4)


def test_there_are_two_views(family):
    model, processor = family()
    with pytest.raises(ValueError, match="view is 'image', expected one of image_text, text"):
        model(**processor(SENTENCES), view="image")


# Vision features that were computed before


@pytest.mark.parametrize("second", [None, "resnet"])
def test_features_of_earlier_are_as_good_as_the_images(text_encoder, vision_encoder, second):
    torch.manual_seed(0)
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(
        text_encoder(), vision_encoder("clip"), second and vision_encoder(second)
    )
    processor = TwoMNERProcessor.from_text_vision_pretrained(text_encoder(), vision_encoder("clip"))
    batch = processor(SENTENCES, images=IMAGES)
    expected = run(model, batch, output_attentions=True)
    pixels = batch.pop("pixel_values")
    features = model.model.read_images(pixels)
    assert set(features) == {"patches", "image_vectors"} | ({"global_vectors"} if second else set())
    for states in features.values():
        states[~batch["image_mask"]] = torch.nan  # what stands there does not matter
    found = run(model, batch, vision_features=features, output_attentions=True)
    for name in ("logits", "image_embeds", "text_embeds"):
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4)
    for name in list(features):
        lacking = {key: states for key, states in features.items() if key != name}
        with pytest.raises(ValueError, match=f"vision_features lacks {name}, expected patches, im"):
            run(model, batch, vision_features=lacking)


# Cross-view alignment


@pytest.mark.parametrize(("vision", "budget"), [(None, 16), ("clip", 0), ("clip", 16)])
def test_training_reads_both_views(family, vision, budget):
    """For ITA, for 2M-NER and for both: the losses are those of the two views, each by itself."""
    model, processor = family(vision, budget, **TEACHING)
    batch = processor(SENTENCES, images=IMAGES, context=CONTEXT, labels=LABELS)
    without_chance(model)
    outputs = model(**batch)
    words = processor(SENTENCES, labels=LABELS)
    text = model(**words, view="text")
    model.config.cross_view_weight = 0
    full = model(**batch)
    for name, expected in (("nll", full.losses["nll"]), ("nll_text", text.losses["nll"])):
        torch.testing.assert_close(outputs.losses[name], expected, atol=1e-4, rtol=1e-4)
    mask = batch["word_mask"]
    teacher, student = (
        model.crf.log_marginals(view.logits, mask, temperature=2) for view in (full, text)
    )
    divergence = 4 * (teacher.exp() * (teacher - student)).sum(-1)[mask].sum() / len(SENTENCES)
    torch.testing.assert_close(outputs.losses["cross_view"], divergence, atol=1e-5, rtol=1e-3)
    alignment = outputs.losses.get("alignment")
    nll = (outputs.losses["nll"] + outputs.losses["nll_text"]) / 2
    expected = nll if alignment is None else 0.8 * nll + 0.2 * alignment
    torch.testing.assert_close(outputs.loss, expected + 0.5 * divergence, atol=1e-4, rtol=1e-4)


def test_the_teacher_gets_no_gradient(family):
    """The gradient of the divergence reaches the weights through the text view alone."""
    model, processor = family(**TEACHING)
    without_chance(model)
    batch = processor(SENTENCES[:1], context=CONTEXT[:1], labels=LABELS[:1])
    read = []
    handle = model.classifier.register_forward_hook(lambda *args: read.append(args[2]))
    losses = model(**batch).losses
    handle.remove()
    teacher, student = read
    of_teacher, of_student = torch.autograd.grad(
        losses["cross_view"], [teacher, student], allow_unused=True
    )
    assert of_teacher is None
    assert of_student.abs().sum() > 0


def test_views_that_are_the_same_teach_nothing(family):
    """With a closed gate the views are equal: no divergence, no gradient."""
    model, processor = family("clip", budget=0, **TEACHING)
    without_chance(model)
    with torch.no_grad():
        for gate in model.model.fusion.gates:
            gate.weight.zero_()
            gate.bias.fill_(-torch.inf)
    batch = processor(SENTENCES[:1], images=IMAGES[:1], labels=LABELS[:1])
    outputs = model(**batch)
    assert outputs.losses["cross_view"].item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(outputs.losses["nll"], outputs.losses["nll_text"])
    gradient = torch.autograd.grad(outputs.losses["cross_view"], model.classifier.weight)[0]
    assert gradient.abs().max() < 1e-5


def test_sentences_without_an_image_are_read_once(family):
    model, processor = family("clip", **TEACHING)
    without_chance(model)
    read = []
    model.model.text_model.register_forward_hook(
        lambda module, args, kwargs, output: read.append(len(kwargs["attention_mask"])),
        with_kwargs=True,
    )
    batch = processor(SENTENCES, images=IMAGES, context=CONTEXT, labels=LABELS)
    model(**batch)
    windows = len(batch["input_ids"])
    assert read == [windows, windows - 2]
    read.clear()
    losses = model(**processor(SENTENCES[1:3], images=[None, None], labels=LABELS[1:3])).losses
    assert read == [2]
    assert losses["cross_view"] == 0
    assert losses["nll_text"] == losses["nll"]


def test_with_a_weight_of_zero_only_one_view_is_read(family):
    model, processor = family("clip")
    batch = processor(SENTENCES, images=IMAGES, context=CONTEXT, labels=LABELS)
    assert set(model.train()(**batch).losses) == {"nll", "alignment"}


def test_evaluation_has_the_loss_of_its_view(family):
    model, processor = family(**TEACHING)
    batch = processor(SENTENCES, context=CONTEXT, labels=LABELS)
    assert set(run(model, batch).losses) == {"nll"}
    expected = run(model, processor(SENTENCES, labels=LABELS)).loss
    torch.testing.assert_close(run(model, batch, view="text").loss, expected)


def test_the_student_learns_from_its_teacher(family):
    """Training on the divergence alone makes the text view agree with the other one."""
    model, processor = family(**TEACHING)
    without_chance(model)
    model.classifier.weight.data.mul_(50)
    for parameter in model.model.text_model.parameters():
        if parameter.ndim == 2:  # at its initial size attention is even, and context is not heard
            parameter.data.mul_(20)
    batch = processor(SENTENCES[:1], context=CONTEXT[:1], labels=LABELS[:1])
    optimizer = torch.optim.Adam(model.model.text_model.parameters(), lr=1e-3)
    divergences = []
    for _ in range(15):
        loss = model(**batch).losses["cross_view"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        divergences.append(loss.item())
    assert divergences[0] > 1  # far above rounding: there is something to learn
    assert 0 <= min(divergences) < 0.3 * divergences[0]


def test_both_views_drop_the_same_words(family):
    """And evaluation drops no word."""
    model, processor = family(word_dropout=0.5, **TEACHING)
    batch = processor(SENTENCES, context=CONTEXT, labels=LABELS)
    without_chance(model)
    read = []
    model.model.register_forward_hook(lambda *args: read.append(args[2].word_states))
    torch.manual_seed(0)
    model(**batch)
    both, text = ((words == 0).all(-1) for words in read)
    assert torch.equal(both[torch.tensor(ILLUSTRATED)], text)
    assert 0.3 < both[batch["word_mask"]].float().mean() < 0.7
    run(model.eval(), batch)
    assert not (read[-1] == 0).all(-1).any()
