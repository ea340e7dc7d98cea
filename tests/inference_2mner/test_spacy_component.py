"""The component of spaCy: `doc.ents` are the pipeline's entities, whatever spaCy's tokens are."""

import configparser
import itertools
import pickle
import re
import runpy
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import spacy
from PIL import Image
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from inference_2mner.convert import convert
from inference_2mner.models import ModelError, load_pipeline
from inference_2mner.spacy_component import make_component
from modeling_2mner.images_2mner import ImageError
from modeling_2mner.words_2mner import split_into_words
from tests.inference_2mner.texts import TEXTS
from tests.published import ROOT

LONG = " ".join(["Ana lives in Rome, not in Bern"] * 12)
SENTENCES = ["Ana lives in Rome.", "", LONG, "Wer ist Bo?", " ", "l'Élysée 東京", "not here"] * 3

With = Callable[..., Language]

pytestmark = pytest.mark.filterwarnings("ignore:2mner. found")


@pytest.fixture(scope="module")
def with_component(model) -> With:
    """A function from a config to a pipeline of spaCy with the component alone."""

    def made(**config) -> Language:
        nlp = spacy.blank("xx")
        nlp.add_pipe("2mner", config={"model": str(model), **config})
        return nlp

    return made


@pytest.fixture(scope="module")
def nlp(with_component) -> Language:
    return with_component()


@pytest.fixture(scope="module")
def ner(model):
    return load_pipeline(model)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("images")
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return {path.stem: str(path) for path in folder.iterdir()}


def tokenized(nlp: Language, text: str) -> Doc:
    """A text whose tokens are the words of the model, and the spaces."""
    words, spaces, end = [], [], 0
    for start, stop in [*split_into_words(text), (len(text), len(text))]:
        for token in (text[end:start], text[start:stop]):
            words += [token] if token else []
        end = stop
    return Doc(nlp.vocab, words=words, spaces=[False] * len(words or spaces))


def found(doc: Doc) -> list[tuple]:
    return [
        (span.start_char, span.end_char, span.label_, pytest.approx(span._.score, abs=1e-5))
        for span in doc.ents
    ]


def bounds_and_scores(doc: Doc) -> list[tuple]:
    return [(one.start_char, one.end_char, one.label_, one._.score) for one in doc.ents]


def expected(entities: list[dict]) -> list[tuple]:
    return [(one["start"], one["end"], one["label"], one["score"]) for one in entities]


# Entities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", TEXTS)
def test_entities_have_the_pipelines_characters_in_every_script(nlp, ner, script):
    text = TEXTS[script]
    doc = nlp(tokenized(nlp, text))
    entities = ner(text)
    assert found(doc) == expected(entities)
    assert [span.text for span in doc.ents] == [entity["word"] for entity in entities]
    assert doc.text == text
    assert doc._.unaligned == ()
    assert bool(entities) == bool(text.strip())


def test_options_of_a_call_are_options_of_the_config(with_component, ner, images):
    text = SENTENCES[0]
    options = {"threshold": 0.2, "top_k": 2, "explain": True}
    nlp = with_component(**options, max_tokens=64, precision="float32")
    doc = nlp.make_doc(text)
    doc._.image = images["red"]
    spans = nlp(doc).ents
    entities = ner({"text": text, "image": images["red"]}, **options)
    assert len(spans) == len(entities) > 0
    for span, entity in zip(spans, entities, strict=True):
        assert span._.score == pytest.approx(entity["score"], abs=1e-5)
        assert [one["label"] for one in span._.alternatives] == [
            one["label"] for one in entity["alternatives"]
        ]
        assert span._.typed_from == entity["typed_from"]
        assert span._.score_without_image == pytest.approx(entity["score_without_image"], abs=1e-5)
    assert with_component(threshold={"PER": 1.0})(text).ents != with_component()(text).ents


def test_the_image_and_its_visual_context_are_read(nlp, ner, images):
    text = SENTENCES[0]
    given = [
        {"image": images["red"]},
        {"image": images["blue"]},
        {"image": Image.open(images["red"])},
        {"objects": ["a dog"], "captions": ["a red dog"], "ocr": ["ROME"]},
        {},
    ]
    docs = []
    for extensions in given:
        doc = nlp.make_doc(text)
        for name, value in extensions.items():
            doc._.set(name, value)
        docs.append(doc)
    answers = [ner({"text": text, **extensions}) for extensions in given]
    assert [found(nlp(doc)) for doc in docs] == [expected(answer) for answer in answers]
    scores = [[span._.score for span in doc.ents] for doc in docs]
    assert scores[0] == pytest.approx(scores[2], abs=1e-5)
    assert scores[0] != scores[1] != scores[4] != scores[0]


# Tokens -------------------------------------------------------------------------------------------


@pytest.fixture
def one_token(nlp, ner) -> tuple[Doc, list[dict]]:
    """A text in two tokens, the first of which holds several entities; and its entities."""
    text = "Ana/Bo/Rome lives"
    entities = ner(text)
    inside = [one for one in entities if one["end"] <= len("Ana/Bo/Rome")]
    assert len(inside) > 1
    assert not any(one["word"] == "Ana/Bo/Rome" for one in inside)
    return Doc(nlp.vocab, words=text.split(" ")), entities


def test_an_entity_inside_a_token_is_kept_beside_doc_ents_and_warned_of_once(
    with_component, one_token
):
    doc, entities = one_token
    nlp = with_component()
    with pytest.warns(UserWarning, match=r"2mner: found '.*' \(.*\) in the tokens 'Ana/Bo/Rome'"):
        nlp(doc)
    aligned = {(span.start_char, span.end_char) for span in doc.ents}
    left_out = {(entity["start"], entity["end"]) for entity in doc._.unaligned}
    assert aligned | left_out == {(entity["start"], entity["end"]) for entity in entities}
    assert not aligned & left_out
    assert nlp.get_pipe("2mner").unaligned == len(left_out) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp(doc.copy())
    assert nlp.get_pipe("2mner").unaligned == 2 * len(left_out)


def test_expanded_entities_do_not_overlap_and_the_most_probable_one_stays(
    with_component, one_token
):
    doc, entities = one_token
    with_component(alignment_mode="expand")(doc)
    best = max(entities, key=lambda one: one["score"] if one["start"] < 11 else 0)
    assert doc[0].ent_type_ == best["label"]
    assert doc.ents[0]._.score == pytest.approx(best["score"], abs=1e-5)
    assert len(doc.ents) + len(doc._.unaligned) == len(entities)


def test_contracted_entities_are_whole_tokens_inside_the_entity(with_component, ner):
    nlp = with_component(alignment_mode="contract")
    text = SENTENCES[0]
    entity = max(ner(text), key=lambda one: one["end"] - one["start"])
    cut = entity["start"] + 1
    doc = nlp(Doc(nlp.vocab, words=[text[:cut], text[cut:]], spaces=[False, False]))
    for span in doc.ents:
        assert any(
            one["start"] <= span.start_char and span.end_char <= one["end"] for one in ner(text)
        )


@pytest.mark.parametrize("overwrite", [False, True])
def test_entities_of_earlier_components_are_kept_or_replaced(model, ner, overwrite):
    text = SENTENCES[0]
    entities = ner(text)
    nlp = spacy.blank("xx")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "OLD", "pattern": entities[0]["word"].split()[0]}])
    nlp.add_pipe("2mner", config={"model": str(model), "overwrite_ents": overwrite})
    doc = nlp(text)
    old = [span for span in doc.ents if span.label_ == "OLD"]
    assert len(old) == (0 if overwrite else 1)
    assert [span._.score for span in old] == [None] * len(old)
    kept = expected(entities)
    if not overwrite:
        kept = [one for one in kept if one[1] <= old[0].start_char or one[0] >= old[0].end_char]
    assert [one for one in found(doc) if one[2] != "OLD"] == kept
    assert found(nlp(doc)) == found(doc)


# Streams ------------------------------------------------------------------------------------------


def test_a_stream_gives_the_answers_of_single_calls_in_order(nlp):
    docs = list(nlp.pipe(SENTENCES))
    assert [doc.text for doc in docs] == SENTENCES
    assert [found(doc) for doc in docs] == [bounds_and_scores(nlp(text)) for text in SENTENCES]


@pytest.mark.parametrize(("batch_size", "ahead"), [(1, 1), (1000, 2 * 1024 + 1)])
def test_a_stream_without_end_is_answered_in_bounded_memory(nlp, batch_size, ahead):
    read = itertools.count()

    def documents():
        for number in read:
            yield nlp.make_doc(f"Ana {number}")

    answers = nlp.get_pipe("2mner").pipe(documents(), batch_size=batch_size)
    assert [doc.text for doc in itertools.islice(answers, 3)] == ["Ana 0", "Ana 1", "Ana 2"]
    assert next(read) <= 3 + ahead


def test_contexts_stay_with_their_documents(nlp):
    pairs = [(text, {"number": number}) for number, text in enumerate(SENTENCES)]
    given = nlp.pipe(pairs, as_tuples=True)
    assert [(doc.text, context) for doc, context in given] == pairs


def test_two_processes_give_the_answers_of_one(nlp, images):
    docs = [nlp.make_doc(text) for text in SENTENCES]
    for doc in docs[::2]:
        doc._.image = images["red"]
    two = nlp.pipe([doc.copy() for doc in docs], n_process=2, batch_size=4)
    for doc, alone in zip(two, nlp.pipe(docs), strict=True):
        assert doc.text == alone.text
        assert doc._.image == alone._.image
        assert found(doc) == bounds_and_scores(alone)


def test_a_pickled_component_gives_the_same(nlp):
    copied = pickle.loads(pickle.dumps(nlp.get_pipe("2mner")))
    text = SENTENCES[0]
    assert found(copied(nlp.make_doc(text))) == bounds_and_scores(nlp(text))


# Errors -------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_read(nlp, images):
    docs = [nlp.make_doc(SENTENCES[0]) for _ in range(3)]
    docs[1]._.image = images["broken"]
    with pytest.raises(ImageError, match=r"broken\.png"):
        nlp(docs[1])
    answers = list(nlp.pipe(docs))
    assert found(answers[1]) == bounds_and_scores(answers[0])


def wrong(nlp: Language) -> list[Doc]:
    """Documents of which the third and the last have what is no image and no visual context."""
    docs = [nlp.make_doc(text) for text in SENTENCES]
    docs[2]._.image = 3
    docs[-1]._.ocr = "no list"
    return docs


def test_an_error_is_raised_after_the_answers_before_it(nlp):
    given = []
    with pytest.raises(TypeError, match="an image: found int"):
        for doc in nlp.pipe(wrong(nlp)):
            given.append(doc.text)
    assert given == SENTENCES[:2]
    with pytest.raises(TypeError, match="'ocr'"):
        nlp(wrong(nlp)[-1])


def test_an_error_handler_gets_the_document_that_failed_and_no_other_is_lost(with_component):
    nlp = with_component()
    failed = []
    nlp.set_error_handler(
        lambda name, component, docs, error: failed.append((name, docs[0].text, type(error)))
    )
    docs = wrong(nlp)
    answers = [doc.text for doc in nlp.pipe(docs)]
    assert answers == [*SENTENCES[:2], *SENTENCES[3:-1]]
    assert failed == [("2mner", SENTENCES[2], TypeError), ("2mner", SENTENCES[-1], TypeError)]
    assert all(doc.has_annotation("ENT_IOB") for doc in docs[3:-1] if len(doc))


def test_the_error_of_an_earlier_component_is_its_own(with_component):
    nlp = with_component()

    def documents():
        yield nlp.make_doc("Ana")
        raise RuntimeError("of the stream")

    answers = nlp.get_pipe("2mner").pipe(documents())
    assert next(answers).text == "Ana"
    with pytest.raises(RuntimeError, match="of the stream"):
        next(answers)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"model": "/nowhere"}, ModelError, "/nowhere: no model can be read there"),
        ({"top_k": 0}, ValueError, "top_k is 0, expected at least 1"),
        ({"threshold": 0.5, "risk": 0.1}, ValueError, "threshold and risk were given"),
        ({"threshold": "precision=0.9"}, ValueError, "2mner thresholds"),
        ({"precision": "float8"}, ValueError, "precision is 'float8'"),
        ({"alignment_mode": "nearest"}, ValueError, "alignment_mode"),
        ({"batch": 3}, ValueError, "batch"),
        ({"model": None}, ValueError, "model"),
    ],
)
def test_a_wrong_config_is_told_when_the_component_is_added(with_component, config, error, message):
    with pytest.raises(error) as raised:
        with_component(**config)
    assert message in str(raised.value)


# Saving, scoring ----------------------------------------------------------------------------------


def test_a_saved_pipeline_names_its_model_and_holds_no_weights(with_component, model, tmp_path):
    nlp = with_component(top_k=2, threshold={"PER": 0.1}, overwrite_ents=True)
    nlp.to_disk(tmp_path / "saved")
    files = [path for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 100_000
    assert f'model = "{model}"' in (tmp_path / "saved" / "config.cfg").read_text("utf-8")
    text = SENTENCES[0]
    doc = nlp(text)
    in_bytes = spacy.blank("xx", config=nlp.config).from_bytes(nlp.to_bytes())
    for other in (spacy.load(tmp_path / "saved"), in_bytes):
        assert other.get_pipe_config("2mner") == nlp.get_pipe_config("2mner")
        again = other(text)
        assert found(again) == bounds_and_scores(doc)
        assert [[one["label"] for one in span._.alternatives] for span in again.ents] == [
            [one["label"] for one in span._.alternatives] for span in doc.ents
        ]


def test_a_document_keeps_its_probabilities_when_it_is_saved(nlp, images):
    doc = nlp.make_doc(SENTENCES[0])
    doc._.image = images["red"]
    nlp(doc)
    again = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert [one._.score for one in again.ents] == [one._.score for one in doc.ents] != []
    assert again._.image == images["red"]


def test_labels_and_scores_are_those_of_a_named_entity_recogniser(nlp, ner):
    assert list(nlp.pipe_labels["2mner"]) == list(ner.types)
    docs = [nlp(text) for text in SENTENCES[:3]]
    gold = [Example(nlp.make_doc(doc.text), doc.copy()) for doc in docs]
    assert nlp.evaluate(gold)["ents_f"] == 1.0


def test_the_examples_of_the_page_run(model, images, tmp_path, monkeypatch, capsys):
    section = (ROOT / "docs" / "showing.md").read_text("utf-8").split("\n## spaCy\n")[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(model)
    (tmp_path / "photo.jpg").symlink_to(images["red"])
    components, answers = re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)
    Path("snippet.py").write_text(f"{components}\n{answers}", "utf-8")
    names = runpy.run_path("snippet.py")
    assert len(names["docs"]) == len(capsys.readouterr().out.splitlines()) == 2
    convert("answers.jsonl", "answers.spacy")
    assert Path("answers.spacy").is_file()


def test_the_entry_point_is_the_factory():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    name, _, place = config["options.entry_points"]["spacy_factories"].strip().partition(" = ")
    module, _, function = place.partition(":")
    assert name == "2mner"
    assert getattr(import_module(module), function) is make_component
