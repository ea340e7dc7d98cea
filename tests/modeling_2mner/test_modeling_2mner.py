"""The models: invariants, losses, learning, and the interface of a `PreTrainedModel`."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoModel, ResNetConfig, SiglipVisionConfig
from transformers.utils import find_labels

from modeling_2mner import (
    LinearChainCRF,
    TwoMNERConfig,
    TwoMNERForTokenClassification,
    TwoMNERModel,
    TwoMNERProcessor,
)
from modeling_2mner.outputs_2mner import TwoMNERInputs

SENTENCES = [
    ["Angela", "Merkel", "besucht", "Paris", "."],
    ["Je", "pense", "que", "oui"],
    ["Hola"],
    [f"w{number}" for number in range(60)],  # several windows
]
LABELS = [
    ["B-PER", "I-PER", "O", "B-LOC", "O"],
    ["O", "O", "O", "B-MISC"],
    ["O"],
    ["O"] * 58 + ["B-ORG", "I-ORG"],
]


def image(seed):
    pixels = torch.randint(0, 255, (40, 30, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.numpy().astype("uint8"))


IMAGES = [image(0), image(1), None, image(3)]


@pytest.fixture(scope="module")
def encoders(text_encoder, vision_encoder):
    """From the kinds of the encoders to a model in evaluation mode and its processor."""

    def build(text="xlm-roberta", vision="clip", global_vision=None, **config):
        torch.manual_seed(0)
        names = [text_encoder(text), vision and vision_encoder(vision)]
        other = global_vision and vision_encoder(global_vision)
        model = TwoMNERForTokenClassification.from_text_vision_pretrained(
            *names, other, **config
        ).eval()
        labels = {"labels": config["labels"]} if "labels" in config else {}
        return model, TwoMNERProcessor.from_text_vision_pretrained(*names, **labels)

    return build


@pytest.fixture(scope="module")
def pair(encoders):
    return encoders()


def run(model, batch, **options):
    with torch.no_grad():
        return model(**batch, **options)


def outputs_of(model, processor, rows=range(4)):
    """The outputs for some of the sentences, as a batch."""
    rows = list(rows)
    batch = processor([SENTENCES[row] for row in rows], images=[IMAGES[row] for row in rows])
    return run(model, batch)


def close(one, two):
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


# Encoders


@pytest.mark.parametrize("text", ["xlm-roberta", "bert", "distilbert", "deberta-v2"])
def test_any_text_encoder(encoders, text):
    model, processor = encoders(text=text)
    outputs = outputs_of(model, processor)
    assert outputs.logits.shape == (4, 60, 9)
    assert outputs.logits.isfinite().all()


@pytest.mark.parametrize(
    ("vision", "patches"),
    [("clip", 5), ("siglip", 4), ("vit", 5), ("dinov2", 5), ("resnet", 16), ("efficientnet", 1)],
)
def test_any_vision_encoder(encoders, vision, patches):
    """With patches or a feature map; all parameters get gradients."""
    model, processor = encoders(vision=vision)
    batch = processor(SENTENCES, images=IMAGES, labels=LABELS)
    attention = run(model, batch, output_attentions=True).patch_attentions
    assert attention[0].shape == (4, 8, 60, patches)
    close(attention[0].sum(-1), torch.ones(4, 8, 60))

    model.train()
    model(**batch).loss.backward()
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None and "mask_token" not in name  # DINOv2's, for its pretraining
    ]
    assert missing == []


@pytest.mark.parametrize("fusion", ["gated", "add", "concat"])
def test_a_second_global_encoder_is_seen(encoders, fusion):
    model, processor = encoders(vision="clip", global_vision="resnet", fusion=fusion)
    batch = processor(SENTENCES, images=IMAGES)
    outputs = run(model, batch, output_attentions=True)
    assert [weights.shape[-1] for weights in outputs.patch_attentions] == [5, 1]
    with torch.no_grad():
        for parameter in model.model.global_vision_model.parameters():
            parameter.mul_(1.5)
    changed = run(model, batch).logits
    assert not torch.allclose(changed[0, :5], outputs.logits[0, :5])
    close(changed[2, :1], outputs.logits[2, :1])  # the sentence without an image


def test_the_second_encoder_sees_its_own_normalisation(encoders):
    model, _ = encoders(vision="clip", global_vision="resnet")
    model.config.global_image_mean, model.config.global_image_std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    raw = torch.rand(1, 3, 4, 4)

    def normalise(mean, std):
        return (raw - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    first = normalise(model.config.image_mean, model.config.image_std)
    close(model.model._renormalise(first), normalise([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))


def test_without_a_vision_encoder_it_is_the_plain_encoder_and_a_crf(encoders, text_encoder):
    model, processor = encoders(vision=None)
    batch = processor(SENTENCES[:3])
    encoder = AutoModel.from_pretrained(text_encoder(), add_pooling_layer=False).eval()
    with torch.no_grad():
        states = encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    expected = model.classifier(states.flatten(0, 1)[batch["word_index"]])
    close(run(model, batch).logits, expected.detach())
    assert {name.split(".")[0] for name, _ in model.model.named_parameters()} == {"text_model"}


@pytest.mark.parametrize("kind", ["clip", "efficientnet"])
def test_an_encoder_gives_the_patches_that_it_gives_alone(encoders, vision_encoder, kind):
    model, processor = encoders(vision=kind)
    batch = processor(SENTENCES, images=IMAGES)
    with torch.no_grad():
        patches = model.model(**batch).patch_states
        alone = AutoModel.from_pretrained(vision_encoder(kind)).eval()
        alone = alone(batch["pixel_values"]).last_hidden_state
    if alone.ndim == 4:
        alone = alone.flatten(2).transpose(1, 2)
    close(patches[batch["image_mask"]], alone[batch["image_mask"]])


def test_a_full_clip_or_siglip_gives_its_vision_part(tmp_path, text_encoder):
    """`openai/clip-vit-base-patch32` holds two encoders; the vision one is taken."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**tiny, "vocab_size": 99}, vision_config={**tiny, "image_size": 32}
    )
    full = CLIPModel(config)
    full.save_pretrained(tmp_path)
    CLIPImageProcessorPil().save_pretrained(tmp_path)
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder(), str(tmp_path))
    assert model.config.vision_config.model_type == "clip_vision_model"
    kept = dict(full.vision_model.named_parameters())
    assert all(
        torch.equal(parameter, kept[name])
        for name, parameter in model.model.vision_model.named_parameters()
    )


# Invariants


def test_every_word_gets_exactly_one_label(pair):
    predictions = outputs_of(*pair).predictions
    for row, sentence in zip(predictions, SENTENCES, strict=True):
        assert ((row[: len(sentence)] >= 0) & (row[: len(sentence)] < 9)).all()
        assert (row[len(sentence) :] == -100).all()


@pytest.mark.parametrize("fusion", ["gated", "add", "concat"])
def test_a_sentence_scores_the_same_whatever_else_is_in_its_batch(encoders, fusion):
    model, processor = encoders(fusion=fusion)
    together = outputs_of(model, processor)
    for row, sentence in enumerate(SENTENCES):
        alone = outputs_of(model, processor, [row])
        for name in ("logits", "marginals", "entity_scores", "predictions"):
            close(getattr(together, name)[row, : len(sentence)], getattr(alone, name)[0])


@pytest.mark.parametrize("vision", ["resnet", "efficientnet"])
def test_batch_normalisation_never_mixes_images_not_even_in_training(encoders, vision):
    model, processor = encoders(vision=vision)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "drop_rate"):
            module.drop_rate = 0.0
    batch = processor(SENTENCES, images=IMAGES)
    with torch.no_grad():
        together = model.model(**batch).patch_states
        alone = model.model(**processor(SENTENCES[:1], images=IMAGES[:1])).patch_states
    close(together[0], alone[0])
    statistics = [buffer.clone() for _, buffer in model.named_buffers()]
    model(**batch)
    assert all(map(torch.equal, statistics, (buffer for _, buffer in model.named_buffers())))


def test_the_order_of_a_batch_changes_nothing(pair):
    forwards, backwards = outputs_of(*pair), outputs_of(*pair, [3, 2, 1, 0])
    close(forwards.logits, backwards.logits.flip(0))
    close(forwards.entity_scores, backwards.entity_scores.flip(0))


def test_padding_changes_nothing(pair):
    model, processor = pair
    batch = processor(SENTENCES[:2], images=IMAGES[:2])
    length = batch["input_ids"].shape[1]
    rows, places = batch["word_index"] // length, batch["word_index"] % length
    padded = {
        "input_ids": F.pad(batch["input_ids"], (0, 7), value=1),
        "attention_mask": F.pad(batch["attention_mask"], (0, 7)),
        "word_index": F.pad(rows * (length + 7) + places, (0, 4)),
        "word_mask": F.pad(batch["word_mask"], (0, 4)),
        "pixel_values": batch["pixel_values"],
        "image_mask": batch["image_mask"],
    }
    close(run(model, padded).logits[:, :5], run(model, batch).logits)


@pytest.mark.parametrize("fusion", ["gated", "add", "concat"])
def test_fused_equals_words_exactly_where_there_is_no_image(encoders, fusion):
    model, processor = encoders(fusion=fusion)
    with torch.no_grad():
        outputs = model.model(**processor(SENTENCES, images=IMAGES))
    assert torch.equal(outputs.last_hidden_state[2], outputs.word_states[2])
    for row in (0, 1, 3):
        assert not torch.allclose(outputs.last_hidden_state[row], outputs.word_states[row])


def test_added_without_a_gate_the_fused_words_are_the_attention_outputs(encoders):
    """With one vision encoder `X + (A - X)`, as equation `add` says."""
    model, processor = encoders(fusion="add")
    with torch.no_grad():
        outputs = model.model(**processor(SENTENCES, images=IMAGES))
        expected, _ = model.model.collaborations[0](outputs.word_states, outputs.patch_states)
    close(outputs.last_hidden_state[[0, 1, 3]], expected[[0, 1, 3]])


def test_without_attention_every_word_takes_the_mean_of_the_patches(encoders):
    model, processor = encoders(collaboration="mean", fusion="add")
    with torch.no_grad():
        outputs = model.model(**processor(SENTENCES, images=IMAGES), output_attentions=True)
        part = model.model.collaborations[0]
        mean = part.projection(outputs.patch_states).mean(1, keepdim=True)
        expected = part.layer_norm(outputs.word_states + mean)
    close(outputs.last_hidden_state[0], expected[0])
    (weights,) = outputs.patch_attentions
    close(weights, torch.full((4, 1, weights.shape[2], 5), 1 / 5))
    kept = dict(model.named_parameters())
    assert not [name for name in kept if "attention" in name and "collaborations" in name]


def test_no_image_at_all_is_the_same_as_every_image_masked(pair):
    model, processor = pair
    masked = processor(SENTENCES, images=[None] * 4)
    without = {key: masked[key] for key in masked if key not in ("pixel_values", "image_mask")}
    assert torch.equal(run(model, masked).logits, run(model, without).logits)


def test_what_stands_in_the_row_of_a_missing_image_does_not_matter(pair):
    model, processor = pair
    batch = processor(SENTENCES, images=IMAGES)
    expected = run(model, batch).logits
    batch["pixel_values"][2] = float("nan")
    assert torch.equal(run(model, batch).logits, expected)


def test_an_image_changes_its_own_sentence_alone(pair):
    model, processor = pair
    one = run(model, processor(SENTENCES, images=IMAGES)).logits
    two = run(model, processor(SENTENCES, images=[image(9), *IMAGES[1:]])).logits
    assert not torch.allclose(one[0, :5], two[0, :5])
    close(one[1:], two[1:])


def test_an_empty_sentence_is_labelled_with_nothing(pair):
    model, processor = pair
    outputs = run(model, processor([["Hola"], []], images=[None, image(0)]))
    assert processor.post_process_entities(outputs, [["Hola"], []])[1] == []
    assert outputs.logits.isfinite().all()
    close(outputs.logits[:1], run(model, processor([["Hola"]])).logits)


def test_a_window_too_long_for_the_encoder_is_refused(pair):
    model, processor = pair
    batch = processor([SENTENCES[0]])
    batch["input_ids"] = torch.zeros(1, 65, dtype=torch.long)
    with pytest.raises(ValueError, match="windows of 65 sub-words, but the text encoder reads at"):
        model(**batch)


def test_a_copy_that_data_parallel_made_is_refused(pair):
    """The copies are made as `torch.nn.DataParallel` makes them; it needs GPUs itself."""
    model, processor = pair
    batch = processor([["Ana", "lives"], ["here"]])
    replica = model._replicate_for_data_parallel()
    replica.model = model.model._replicate_for_data_parallel()
    with pytest.raises(RuntimeError, match=r"DataParallel was found.*accelerate launch"):
        replica(**batch)


@pytest.mark.parametrize("most", [1, 200, 10**6])
def test_the_text_encoder_reads_no_more_sub_words_at_once_than_it_may(pair, most):
    model, processor = pair
    batch = processor(SENTENCES, images=IMAGES)
    windows, _ = batch["input_ids"].shape
    assert windows > 4
    read = []
    hook = model.model.text_model.register_forward_pre_hook(
        lambda _, __, given: read.append(tuple(given["attention_mask"].shape)), with_kwargs=True
    )
    found = run(model, batch, max_tokens=most)
    hook.remove()
    assert sum(rows for rows, _ in read) == windows
    assert all(rows == 1 or rows * columns <= most for rows, columns in read)
    expected = run(model, batch)
    close(found.logits, expected.logits)
    assert (found.predictions == expected.predictions).all()


@pytest.mark.parametrize("view", ["image_text", "text"])
@pytest.mark.parametrize("image", [None, IMAGES[0]])
def test_a_long_sentence_is_read_in_parts_with_the_same_result(pair, view, image):
    """Its image is encoded once, and no part's hidden states are kept."""
    model, processor = pair
    words = [f"word{number}" for number in range(300)]
    batch = processor([words], images=[image])
    windows, length = batch["input_ids"].shape
    assert windows > 6
    expected = run(model, batch, view=view, attending_words=120)
    shapes, images = [], []
    hooks = [
        model.classifier.register_forward_pre_hook(
            lambda _, given: shapes.append(given[0].shape[1])
        ),
        model.model.vision_model.register_forward_pre_hook(
            lambda _, __, given: images.append(len(given["pixel_values"])), with_kwargs=True
        ),
    ]
    found = run(model, batch, view=view, attending_words=120, max_tokens=2 * length)
    for hook in hooks:
        hook.remove()
    assert sum(shapes) == 300 and max(shapes) < 120
    assert images == ([1] if image is not None and view == "image_text" else [])
    close(found.logits, expected.logits)
    assert (found.predictions == expected.predictions).all()
    if expected.patch_attentions is None:
        assert found.patch_attentions is None
    else:
        (weights,), (wanted,) = found.patch_attentions, expected.patch_attentions
        assert wanted.shape[2] == 120
        close(weights, wanted)


def test_embedded_sub_words_are_read_like_their_ids(pair):
    model, processor = pair
    batch = processor([SENTENCES[0], ["Hola"]])
    with torch.no_grad():
        expected = model(**batch).logits
        embedded = model.get_input_embeddings()(batch["input_ids"])
        found = model(**{**batch, "input_ids": None, "inputs_embeds": embedded}).logits
    mask = batch["word_mask"]
    assert torch.allclose(found[mask], expected[mask], atol=1e-5)
    with pytest.raises(ValueError, match="expected one of input_ids and inputs_embeds"):
        model(**batch, inputs_embeds=embedded)


def test_the_inputs_of_the_head_are_the_arguments_of_the_model():
    arguments = inspect.signature(TwoMNERModel.forward).parameters
    assert set(TwoMNERInputs.__annotations__) == set(arguments) - {"self", "return_dict"}
    required = {name for name, one in arguments.items() if one.default is inspect.Parameter.empty}
    assert TwoMNERInputs.__required_keys__ == required - {"self"}


def test_the_trainer_finds_the_labels_of_the_head():
    assert find_labels(TwoMNERForTokenClassification) == ["labels"]


def test_an_unknown_argument_is_refused(pair):
    model, processor = pair
    with pytest.raises(TypeError, match="unexpected keyword argument 'pixels'"):
        model(**processor(SENTENCES[:1]), pixels=None)


def test_a_text_only_model_refuses_images(encoders, pair):
    model, _ = encoders(vision=None)
    with pytest.raises(ValueError, match="images were given to a model without a vision"):
        model(**pair[1](SENTENCES, images=IMAGES))


# Losses


def test_the_loss_is_the_weighted_sum_of_its_named_parts(pair):
    model, processor = pair
    outputs = run(model, processor(SENTENCES, images=IMAGES, labels=LABELS))
    assert set(outputs.losses) == {"nll", "alignment"}
    assert outputs.losses["alignment"] > 0
    close(outputs.loss, 0.8 * outputs.losses["nll"] + 0.2 * outputs.losses["alignment"])
    likelihood = model.crf(
        outputs.logits, processor(SENTENCES, labels=LABELS)["labels"], outputs.predictions != -100
    )
    close(outputs.losses["nll"], -likelihood.mean().detach())


def test_the_loss_of_a_text_only_model_is_the_likelihood_alone(encoders):
    model, processor = encoders(vision=None)
    outputs = run(model, processor(SENTENCES, labels=LABELS))
    assert set(outputs.losses) == {"nll"}
    assert outputs.loss == outputs.losses["nll"]


@pytest.mark.parametrize(
    "config",
    [
        {"alignment_level": "entity"},
        {"alignment_objective": "info_nce"},
        {"sentence_vector": "mean"},
    ],
    ids=str,
)
def test_every_kind_of_alignment_has_a_gradient(encoders, config):
    model, processor = encoders(**config)
    model.train()
    outputs = model(**processor(SENTENCES, images=IMAGES, labels=LABELS))
    outputs.losses["alignment"].backward()
    assert outputs.losses["alignment"] > 0
    for part in (model.model.alignment, model.model.text_model, model.model.vision_model):
        assert any(
            parameter.grad.abs().sum() > 0
            for parameter in part.parameters()
            if parameter.grad is not None
        )


@pytest.mark.parametrize("level", ["sentence", "entity"])
@pytest.mark.parametrize("kept", [False, True], ids=["pixels", "kept features"])
def test_equal_images_are_not_negatives(encoders, level, kept):
    """Two files of the same pixels are one image, of which there is nothing to choose."""
    model, processor = encoders(alignment_level=level)
    sentences = [SENTENCES[0], SENTENCES[1]]

    def loss(images):
        batch = processor(sentences, images=images, labels=LABELS[:2])
        if kept:
            batch["vision_features"] = model.model.read_images(batch.pop("pixel_values"))
        return run(model, batch).losses["alignment"]

    assert loss([image(0), image(0).copy()]).abs() < 1e-6
    assert loss([image(0), image(1)]) > 0.1


def test_alignment_can_be_left_out(encoders):
    model, processor = encoders(alignment_level="none")
    outputs = run(model, processor(SENTENCES, images=IMAGES, labels=LABELS))
    assert outputs.loss == outputs.losses["nll"]
    assert outputs.image_embeds is None


def test_embeddings_are_unit_vectors_and_zero_without_an_image(pair):
    outputs = outputs_of(*pair)
    close(outputs.text_embeds.norm(dim=-1), torch.ones(4))
    close(outputs.image_embeds.norm(dim=-1), torch.tensor([1.0, 1.0, 0.0, 1.0]))


def test_sentence_vectors_come_from_the_first_window(pair):
    """For the first position, a long sentence is the same as its first window alone."""
    model, processor = pair
    batch = processor([SENTENCES[3]])
    with torch.no_grad():
        whole = model.model(**batch).text_embeds
        states = model.model.text_model(batch["input_ids"][:1], batch["attention_mask"][:1])
        first = model.model.alignment.embed_text(states.last_hidden_state[:, 0])
    close(whole, first)


@pytest.mark.parametrize("images", [IMAGES[:2], [None, None]], ids=["images", "no images"])
def test_every_parameter_takes_part_in_each_training_step(encoders, images):
    """With images or without: data-parallel processes wait for one another's gradients."""
    model, processor = encoders(vision="efficientnet")
    model.train()
    model(**processor(SENTENCES[:2], images=images, labels=LABELS[:2])).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def learn(model, batch, steps: int) -> None:
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.eval()


def test_it_learns_one_sentence_by_heart(encoders):
    model, processor = encoders()
    batch = processor(SENTENCES[:2], images=IMAGES[:2], labels=LABELS[:2])
    learn(model, batch, steps=150)
    outputs = run(model, batch)
    entities = processor.post_process_entities(outputs, SENTENCES[:2])
    assert [(entity["label"], entity["text"]) for entity in entities[0]] == [
        ("PER", "Angela Merkel"),
        ("LOC", "Paris"),
    ]
    assert entities[0][0]["score"] > 0.9


def test_it_learns_what_only_the_image_tells(encoders):
    """The same sentence twice, with two images and two types."""
    model, processor = encoders()
    sentences = [["I", "saw", "Valdora"]] * 2
    labels = [["O", "O", "B-PER"], ["O", "O", "B-LOC"]]
    batch = processor(sentences, images=IMAGES[:2], labels=labels)
    learn(model, batch, steps=200)
    entities = processor.post_process_entities(run(model, batch), sentences)
    assert [entity["label"] for (entity,) in entities] == ["PER", "LOC"]


# The interface of a PreTrainedModel


def test_only_the_new_parts_are_newly_initialised_and_the_log_says_which(
    text_encoder, vision_encoder, caplog
):
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(
        text_encoder(), vision_encoder()
    )
    assert caplog.messages[-1] == (
        "Newly initialised, to be trained: "
        "model.collaborations, model.fusion, model.alignment, classifier, crf"
    )
    for encoder, folder, options in (
        (model.model.text_model, text_encoder(), {"add_pooling_layer": False}),
        (model.model.vision_model, vision_encoder(), {}),
    ):
        pretrained = AutoModel.from_pretrained(folder, **options).state_dict()
        assert encoder.state_dict().keys() == pretrained.keys()
        assert all(torch.equal(encoder.state_dict()[key], pretrained[key]) for key in pretrained)


def test_nothing_is_uninitialised_after_loading_other_shapes(
    text_encoder, vision_encoder, tmp_path
):
    """`from_pretrained` leaves tensors of another shape as raw memory: all are initialised."""
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(
        text_encoder(), vision_encoder(), labels=["O", "B-PER", "I-PER"]
    )
    model.save_pretrained(tmp_path)
    config = TwoMNERConfig(
        text_config=model.config.text_config,
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "image_size": 32,
            "patch_size": 16,
        },
    )
    for _attempt in range(3):
        torch.full((1000, 1000), float("nan"))  # what fresh memory may hold
        loaded = TwoMNERForTokenClassification.from_pretrained(
            tmp_path, config=config, ignore_mismatched_sizes=True
        )
        for name, parameter in loaded.named_parameters():
            assert parameter.isfinite().all(), name
            assert parameter.abs().max() < 5, name
        crf = loaded.crf
        assert crf.transitions.abs().max() <= 0.1
        assert torch.equal(crf.forbidden, LinearChainCRF(crf.labels).forbidden)
        assert crf.begins.tolist() == [label.startswith("B") for label in crf.labels]
        assert crf.continues.sum() == 8


def test_save_and_load_change_nothing_and_need_no_encoders(pair, text_encoder, tmp_path):
    model, processor = pair
    model.save_pretrained(tmp_path / "run")
    assert text_encoder() not in (tmp_path / "run" / "config.json").read_text()
    loaded, report = TwoMNERForTokenClassification.from_pretrained(
        tmp_path / "run", output_loading_info=True
    )
    assert not any(report.values())
    batch = processor(SENTENCES, images=IMAGES)
    one, two = run(model, batch), run(loaded.eval(), batch)
    close(one.logits, two.logits)
    close(one.entity_scores, two.entity_scores)
    loaded.save_pretrained(tmp_path / "again")
    weights = "model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (tmp_path / "again" / weights).read_bytes()


def test_a_sharded_save_loads(pair, tmp_path):
    model, processor = pair
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = TwoMNERForTokenClassification.from_pretrained(tmp_path)
    close(outputs_of(loaded.eval(), processor).logits, outputs_of(model, processor).logits)


def test_the_base_model_loads_from_a_checkpoint_with_a_head_without_complaint(
    pair, tmp_path, caplog
):
    model, processor = pair
    model.save_pretrained(tmp_path)
    caplog.clear()
    base = AutoModel.from_pretrained(tmp_path)
    assert isinstance(base, TwoMNERModel)
    assert caplog.messages == []
    batch = processor(SENTENCES, images=IMAGES)
    with torch.no_grad():
        states = base(**batch).last_hidden_state
        close(model.classifier(states), model(**batch).logits)


def test_return_dict(pair):
    model, processor = pair
    batch = processor(SENTENCES, images=IMAGES, labels=LABELS)
    as_dict = run(model, batch)
    as_tuple = run(model, batch, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], as_dict.loss)
    assert len(as_tuple) == len(as_dict.to_tuple())


def test_output_hidden_states(pair):
    model, processor = pair
    batch = processor(SENTENCES, images=IMAGES)
    layers = run(model, batch, output_hidden_states=True).hidden_states
    assert [tuple(layer.shape) for layer in layers] == [(*batch["input_ids"].shape, 32)] * 3


def test_eager_and_sdpa_attention_agree(encoders, text_encoder, vision_encoder, tmp_path):
    model, processor = encoders()
    model.save_pretrained(tmp_path)
    batch = processor(SENTENCES, images=IMAGES)
    found = {}
    for kind in ("eager", "sdpa"):
        loaded = TwoMNERForTokenClassification.from_pretrained(tmp_path, attn_implementation=kind)
        assert loaded.config._attn_implementation == kind
        assert loaded.model.text_model.config._attn_implementation == kind
        assert loaded.model.vision_model.config._attn_implementation == kind
        found[kind] = run(loaded.eval(), batch)
    close(found["eager"].logits, found["sdpa"].logits)
    loaded = TwoMNERForTokenClassification.from_pretrained(tmp_path, attn_implementation="eager")
    attentions = run(loaded.eval(), batch, output_attentions=True).attentions
    assert len(attentions) == 2
    assert attentions[0].shape[-2:] == (batch["input_ids"].shape[1],) * 2


def test_gradient_checkpointing_gives_the_same_gradients(encoders):
    gradients = []
    for checkpointing in (False, True):
        model, processor = encoders(classifier_dropout=0.0, collaboration_dropout=0.0)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.is_activation_checkpointing
        model(**processor(SENTENCES, images=IMAGES, labels=LABELS)).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        if gradient is not None:
            close(gradients[1][name], gradient)


def test_bfloat16_keeps_the_crf_in_float32(encoders, tmp_path):
    model, processor = encoders()
    model.save_pretrained(tmp_path)
    half = TwoMNERForTokenClassification.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert half.model.text_model.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in half.crf.parameters()} == {torch.float32}
    batch = processor(SENTENCES, images=IMAGES, labels=LABELS)
    one, two = run(model, batch), run(half, batch)
    assert two.loss.dtype == torch.float32
    assert two.loss.item() == pytest.approx(one.loss.item(), rel=0.05)


def test_autocast_to_bfloat16_trains(encoders):
    model, processor = encoders()
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(**processor(SENTENCES, images=IMAGES, labels=LABELS)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(
        parameter.grad.isfinite().all()
        for parameter in model.parameters()
        if parameter.grad is not None
    )


def test_resize_token_embeddings(encoders):
    model, processor = encoders()
    before = outputs_of(model, processor).logits
    size = len(processor.tokenizer)
    model.resize_token_embeddings(size + 5)
    assert model.get_input_embeddings().num_embeddings == size + 5
    assert model.config.text_config.vocab_size == size + 5
    close(outputs_of(model, processor).logits, before)


def test_get_and_set_input_embeddings(encoders):
    model, _ = encoders()
    embeddings = model.get_input_embeddings()
    assert embeddings is model.model.text_model.embeddings.word_embeddings
    new = torch.nn.Embedding.from_pretrained(embeddings.weight.detach().clone())
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new


def test_the_forward_pass_compiles(encoders):
    model, processor = encoders()
    batch = processor(SENTENCES, images=IMAGES, labels=LABELS)
    compiled = torch.compile(model, backend="aot_eager")
    one, two = run(model, batch), run(compiled, batch)
    close(two.logits, one.logits)
    close(two.loss, one.loss)
    assert torch.equal(two.predictions, one.predictions)


def test_a_new_label_set_is_new_rows_in_the_head_alone(encoders, tmp_path):
    model, _ = encoders()
    model.save_pretrained(tmp_path)
    config = TwoMNERConfig.from_pretrained(tmp_path)
    labels = ["O", "B-DRUG", "I-DRUG"]
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    loaded = TwoMNERForTokenClassification.from_pretrained(
        tmp_path, config=config, ignore_mismatched_sizes=True
    )
    assert loaded.crf.labels == labels
    assert loaded.classifier.out_features == 3
    assert torch.equal(loaded.model.fusion.gates[0].weight, model.model.fusion.gates[0].weight)


# Configuration


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fusion": "sum"}, "fusion"),
        ({"alpha": 0}, "alpha is 0, expected a number above 0 and at most 1"),
        ({"alpha": "x"}, "alpha"),
        ({"collaboration_heads": 7}, r"collaboration_heads \(7\) must divide the text encoder's"),
        ({"alignment_temperature": 0.0}, "alignment_temperature is 0.0, expected a number above 0"),
        ({"global_vision_config": {"model_type": "resnet"}}, "it needs vision_config"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields, message):
    with pytest.raises(Exception, match=message) as error:
        TwoMNERConfig(**fields)
    assert type(error.value).__name__.startswith("StrictDataclass")


def test_a_configuration_keeps_everything(tmp_path):
    config = TwoMNERConfig(
        text_config={"model_type": "bert", "hidden_size": 48},
        vision_config=SiglipVisionConfig(hidden_size=24),
        global_vision_config=ResNetConfig(hidden_sizes=[8, 8], depths=[1, 1]),
        labels=["O", "B-X", "I-X", "E-X", "S-X"],
        fusion="concat",
        alpha=0.5,
    )
    config.save_pretrained(tmp_path)
    loaded = TwoMNERConfig.from_pretrained(tmp_path)
    assert {**loaded.to_dict(), "transformers_version": ""} == {
        **config.to_dict(),
        "transformers_version": "",
    }
    assert loaded.labels == config.labels
    assert set(loaded.auto_map) == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForTokenClassification",
        "AutoProcessor",
    }
