"""A saved model is given another label set: the weights of shared labels stay exactly."""

import logging

import pytest
import torch

from modeling_2mner import LinearChainCRF, TwoMNERForTokenClassification, TwoMNERProcessor
from modeling_2mner.labels_2mner import scheme_labels

OLD_TYPES = ("PER", "LOC", "ORG")
NEW_TYPES = ("DRUG", "ORG", "PER")  # LOC is dropped, DRUG is new, and the others change places
WORDS = [["Ana", "takes", "aspirin"], ["Rome"]]


@pytest.fixture(params=["BIO", "BIOES"])
def scheme(request) -> str:
    return request.param


@pytest.fixture
def saved(tmp_path, text_encoder, vision_encoder, scheme) -> str:
    """The folder of a model whose CRF has a different score for every transition."""
    encoders = text_encoder(), vision_encoder()
    labels = scheme_labels(OLD_TYPES, scheme)
    model = TwoMNERForTokenClassification.from_text_vision_pretrained(
        *encoders, labels=labels, collaboration_heads=4
    )
    with torch.no_grad():
        for parameter in (*model.crf.parameters(), *model.classifier.parameters()):
            parameter.normal_()
    model.save_pretrained(tmp_path / "base")
    TwoMNERProcessor.from_text_vision_pretrained(*encoders, labels=labels).save_pretrained(
        tmp_path / "base"
    )
    return str(tmp_path / "base")


def knowledge(model: TwoMNERForTokenClassification) -> dict[tuple[str, ...], torch.Tensor]:
    """Every weight of the head by the names of its labels."""
    labels, crf = model.config.labels, model.crf
    found = {}
    for i, label in enumerate(labels):
        found["emission", label] = torch.cat(
            [model.classifier.weight[i], model.classifier.bias[i : i + 1]]
        )
        found["start", label] = crf.start_transitions[i]
        found["end", label] = crf.end_transitions[i]
        for j, following in enumerate(labels):
            found["transition", label, following] = crf.transitions[i, j]
    return {key: value.detach().clone() for key, value in found.items()}


def test_rows_and_transitions_of_shared_labels_are_the_same_numbers(saved, scheme, caplog):
    model = TwoMNERForTokenClassification.from_pretrained(saved)
    before = knowledge(model)
    labels = scheme_labels(NEW_TYPES, scheme)
    with caplog.at_level(logging.WARNING):
        change = model.resize_labels(labels)
    assert f"Other labels: kept {', '.join(change.kept)}; new B-DRUG, I-DRUG" in caplog.text
    assert "; dropped B-LOC, I-LOC" in caplog.text
    after = knowledge(model)
    shared = before.keys() & after.keys()
    kept = {label for kind, label, *_ in shared if kind == "emission"}
    assert kept == set(scheme_labels(("PER", "ORG"), scheme)) == set(change.kept)
    assert len(shared) == len(kept) * (len(kept) + 3)
    assert all(torch.equal(before[key], after[key]) for key in shared)
    assert {label[2:] for label in change.new} == {"DRUG"}
    assert {label[2:] for label in change.dropped} == {"LOC"}
    fresh = [after[key] for key in after.keys() - shared]
    assert max(value.abs().max() for value in fresh) < 0.2  # initialised, not raw memory


def test_the_resized_model_is_that_of_its_new_labels(saved, scheme):
    """Constraints, configuration and processor have the new labels; it trains, saves, loads."""
    labels = scheme_labels(NEW_TYPES, scheme)
    model = TwoMNERForTokenClassification.from_pretrained(saved)
    processor = TwoMNERProcessor.from_pretrained(saved)
    processor(WORDS, labels=[["O"] * 3, ["B-LOC"]])  # used before it is given other labels
    model.resize_labels(labels)
    processor.labels = labels
    assert model.config.labels == model.crf.labels == labels
    assert model.config.label2id["B-DRUG"] == 1
    fresh = LinearChainCRF(labels)
    for name, buffer in fresh.named_buffers():
        assert torch.equal(getattr(model.crf, name), buffer)

    gold = [["B-PER", "O", "B-DRUG"], ["B-ORG"]]  # in BIO, whichever the model speaks
    batch = processor(WORDS, labels=gold)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(40):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        outputs = model(**batch)
    entities = processor.post_process_entities(outputs, WORDS)
    assert [[(e["label"], e["start"]) for e in row] for row in entities] == [
        [("PER", 0), ("DRUG", 2)],
        [("ORG", 0)],
    ]

    folder = f"{saved}_resized"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    loaded = TwoMNERForTokenClassification.from_pretrained(folder)
    assert loaded.config.labels == TwoMNERProcessor.from_pretrained(folder).labels == labels
    with torch.no_grad():
        again = loaded(**batch)
    torch.testing.assert_close(again.logits, outputs.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(again.marginals, outputs.marginals, atol=1e-5, rtol=1e-4)


def test_the_same_labels_in_another_order_change_nothing_but_the_order(saved, scheme):
    model = TwoMNERForTokenClassification.from_pretrained(saved)
    processor = TwoMNERProcessor.from_pretrained(saved)
    batch = processor(WORDS)
    with torch.no_grad():
        before = model(**batch).marginals
        model.resize_labels(scheme_labels(OLD_TYPES[::-1], scheme))
        after = model(**batch).marginals
    order = [processor.labels.index(label) for label in model.config.labels]
    assert torch.allclose(after, before[..., order], atol=1e-6)


@pytest.mark.parametrize(
    ("scheme", "labels", "message"),
    [
        ("BIO", ["O", "B-PER", "B-PER"], "labels must differ"),
        ("BIO", ["O", "PER"], "'PER' is not a label"),
        ("BIO", ["O", "B-PER", "I-PER", "E-PER", "S-PER"], "the labels are BIOES, expected .* BIO"),
        ("BIOES", ["O", "S-PER", "PER"], "'PER' is not a label"),
    ],
    indirect=["scheme"],
)
def test_a_label_set_that_cannot_be_taken_on_leaves_the_model_as_it_was(saved, labels, message):
    model = TwoMNERForTokenClassification.from_pretrained(saved)
    before = model.config.labels
    with pytest.raises(ValueError, match=message):
        model.resize_labels(labels)
    assert model.config.labels == model.crf.labels == before
    assert model.classifier.out_features == len(before)
