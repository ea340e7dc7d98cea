"""A smaller model gives the same answers on the texts whose vocabulary it keeps."""

import json
import random
import re
import shutil
from itertools import pairwise

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaTokenizer,
)

from inference_2mner.models import ModelError, load_pipeline
from inference_2mner.pruning import ShrinkError, even_layers, keep_rows
from inference_2mner.shrink import main, shrink_model
from inference_2mner.vocabulary import VocabularyError, kept_pieces, token_names, with_pieces
from modeling_2mner import TwoMNERForTokenClassification, TwoMNERProcessor
from tests.conftest import LETTERS, POSITIONS, TEXT_CONFIGS, TRANSFORMER, write_encoder
from training_2mner.lora import add_lora

CORPUS = [
    "Angela Merkel besucht Paris und Berlin.",
    "Die Berliner Zeitung schreibt aus Paris",
    "Ein Bericht der Zeitung, sagt Merkel ☃ 東",
    "Merkels Besuch: Berichte aus dem Berliner Büro",
]
ELSEWHERE = ["Lissabon gewinnt gegen Madrid 3:1 ☂ 京", "Θεσσαλονίκη", "", "the visitors’ report"]
OTHER_WORDS = ["Lissabon", "gewinnt", "gegen", "Madrid", "Rathaus", "Regen", "visitors", "report"]
WIDE = "東京大学한국어"


def words_of(texts) -> list[str]:
    return [word for text in texts for word in re.findall(r"\w+", text)]


def substrings() -> list[str]:
    """Pieces of two letters and more of all words, in the same order at each call."""
    words = words_of(CORPUS) + OTHER_WORDS
    found = {word[a:b] for word in words for a in range(len(word)) for b in range(a + 2, a + 9)}
    return sorted(piece for piece in found if len(piece) > 1)


def write_unigram(folder) -> int:
    scores = random.Random(0)
    pieces = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [("▁", -3.0), *((letter, -9.0) for letter in LETTERS + WIDE + ":")]
    for piece in substrings():
        pieces += [(piece, scores.uniform(-9, -5)), (f"▁{piece}", scores.uniform(-9, -5))]
    pieces += [("☂☃", -12.5), ("<mask>", 0.0)]  # the lowest score, which no text uses
    XLMRobertaTokenizer(vocab=pieces, model_max_length=POSITIONS).save_pretrained(folder)
    return len(pieces)


def write_wordpiece(folder) -> int:
    pieces = ["[PAD]", *(f"[unused{number}]" for number in range(9))]
    pieces += ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += [prefix + piece for piece in (*LETTERS, *substrings()) for prefix in ("", "##")]
    BertTokenizerFast(
        vocab={piece: number for number, piece in enumerate(pieces)},
        do_lower_case=False,
        model_max_length=POSITIONS,
    ).save_pretrained(folder)
    return len(pieces)


def write_bpe(folder) -> int:
    """A BPE of bytes, as RoBERTa's: every text has pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS + [" ".join(OTHER_WORDS)] * 3, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=True
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=POSITIONS,
    ).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def roberta(size: int) -> RobertaConfig:
    return RobertaConfig(
        vocab_size=size, max_position_embeddings=POSITIONS + 2, type_vocab_size=1, **TRANSFORMER
    )


KINDS = {
    "unigram": (write_unigram, TEXT_CONFIGS["xlm-roberta"]),
    "wordpiece": (write_wordpiece, TEXT_CONFIGS["bert"]),
    "bpe": (write_bpe, roberta),
}


def write_model(folder, text, *vision, **options):
    torch.manual_seed(3)
    made = TwoMNERForTokenClassification.from_text_vision_pretrained(str(text), *vision)
    torch.nn.init.normal_(made.classifier.weight, std=3.0)
    made.save_pretrained(folder)
    TwoMNERProcessor.from_text_vision_pretrained(str(text), *vision, **options).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def models_of(tmp_path_factory):
    """A function from a kind of tokenizer to the folder of a model."""
    root = tmp_path_factory.mktemp("models")

    def folder(kind):
        path = root / kind
        if not path.exists():
            write, config = KINDS[kind]
            write_encoder(root / f"{kind}_text", config(write(root / f"{kind}_text")))
            write_model(path, root / f"{kind}_text")
        return path

    return folder


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(CORPUS), encoding="utf-8")
    return path


def answers(folder, texts=CORPUS):
    return load_pipeline(folder)(list(texts))


def json_of(folder):
    return json.loads((folder / "tokenizer.json").read_bytes())


def tokenizer_of(folder):
    return TwoMNERProcessor.from_pretrained(str(folder)).tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_answers_on_the_corpus_are_identical(kind, models_of, corpus, tmp_path):
    model, small = models_of(kind), tmp_path / "small"
    shrunk = shrink_model(model, small, keep_vocabulary_of=[corpus])
    assert answers(small) == answers(model)
    assert any(answers(model))
    assert shrunk.after.pieces < shrunk.before.pieces
    assert shrunk.after.weights < shrunk.before.weights
    assert (shrunk.sentences, shrunk.sampled, shrunk.changed) == (len(CORPUS),) * 2 + (0,)
    assert shrunk.difference == 0.0
    before, after = map(tokenizer_of, (model, small))
    for text in CORPUS:
        assert after.tokenize(text) == before.tokenize(text)


@pytest.mark.parametrize("kind", KINDS)
def test_other_texts_are_read_with_the_pieces_that_are_left(kind, models_of, corpus, tmp_path):
    small = tmp_path / "small"
    shrink_model(models_of(kind), small, keep_vocabulary_of=[corpus])
    assert len(answers(small, ELSEWHERE)) == len(ELSEWHERE)
    tokenizer = tokenizer_of(small)
    assert (
        tokenizer.unk_token_id
        not in tokenizer("Lissabon gewinnt", add_special_tokens=False).input_ids
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_time_changes_nothing(kind, models_of, corpus, tmp_path):
    folders = [models_of(kind), tmp_path / "small", tmp_path / "again"]
    for before, after in pairwise(folders):
        shrink_model(before, after, keep_vocabulary_of=[corpus])
    for path in folders[1].iterdir():
        assert (folders[2] / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("kind", KINDS)
def test_special_pieces_are_numbered_alike_in_configuration_and_tokenizer(
    kind, models_of, corpus, tmp_path
):
    shrink_model(models_of(kind), tmp_path / "small", keep_vocabulary_of=[corpus])
    tokenizer = tokenizer_of(tmp_path / "small")
    config = TwoMNERForTokenClassification.from_pretrained(str(tmp_path / "small")).config
    assert config.text_config.vocab_size == len(tokenizer)
    assert config.text_config.pad_token_id == tokenizer.pad_token_id
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_the_piece_with_the_lowest_score_is_kept(models_of, corpus, tmp_path):
    """The cost of an unknown character depends on it."""
    shrink_model(models_of("unigram"), tmp_path / "small", keep_vocabulary_of=[corpus])
    assert "☂☃" in token_names(json_of(tmp_path / "small")).values()


def test_a_part_that_is_tied_to_the_table_stays_tied(models_of):
    made = TwoMNERForTokenClassification.from_pretrained(str(models_of("unigram")))
    before = made.get_input_embeddings().weight
    made.head = torch.nn.Linear(*before.T.shape)
    made.head.weight = before
    keep_rows(made, [0, 1, 2, 3, 9])
    assert made.head.weight is made.get_input_embeddings().weight
    assert made.head.weight.equal(before[[0, 1, 2, 3, 9]])


def test_wide_characters_can_be_left_out_unless_a_text_uses_them(models_of, corpus, tmp_path):
    sizes = {}
    for characters in ("all", "narrow"):
        small = tmp_path / characters
        shrink_model(
            models_of("unigram"), small, keep_vocabulary_of=[corpus], characters=characters
        )
        sizes[characters] = token_names(json_of(small)).values()
        assert answers(small) == answers(models_of("unigram"))
    assert set(sizes["all"]) - set(sizes["narrow"]) == set(WIDE) - {"東"}


def test_visual_context_and_cut_words_keep_their_pieces(models_of, tmp_path):
    """What is beyond the budget or the window is kept, too."""
    model = tmp_path / "model"
    shutil.copytree(models_of("unigram"), model)
    config = json.loads((model / "processor_config.json").read_bytes())
    config["context_budget"] = 4
    (model / "processor_config.json").write_text(json.dumps(config))
    row = {"tokens": ["Berlin" * 50, "Merkel"], "captions": ["Lissabon gewinnt gegen Madrid"]}
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps(row))
    shrink_model(model, tmp_path / "small", keep_vocabulary_of=[corpus])
    asked = {"words": row["tokens"], "captions": row["captions"]}
    assert answers(tmp_path / "small", [asked]) == answers(model, [asked])
    before, after = map(tokenizer_of, (model, tmp_path / "small"))
    assert after.tokenize(row["captions"][0]) == before.tokenize(row["captions"][0])


def test_a_model_that_reads_images_sees_the_same(model, tmp_path, corpus):
    small = tmp_path / "small"
    shrink_model(model, small, keep_vocabulary_of=[corpus])
    asked = [{"text": text, "image": Image.new("RGB", (40, 40), "red")} for text in CORPUS]
    assert answers(small, asked) == answers(model, asked)


def test_several_files_and_forms_are_read_and_broken_rows_are_counted(models_of, tmp_path):
    (tmp_path / "a.conll").write_text("Paris\tB-LOC\nist\tO\n\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"content": "Madrid"}\n{broken\n', encoding="utf-8")
    shrunk = shrink_model(
        models_of("wordpiece"),
        tmp_path / "small",
        keep_vocabulary_of=[tmp_path / "b.jsonl"],
        columns={"text": "content"},
    )
    assert shrunk.sentences == 1
    (fault,) = shrunk.faults
    assert fault.startswith(f"{tmp_path / 'b.jsonl'}, line 2")
    assert "1 rows could not be read" in str(shrunk)
    both = [tmp_path / "a.conll", tmp_path / "b2.txt"]
    (tmp_path / "b2.txt").write_text("Madrid\n", encoding="utf-8")
    shrunk = shrink_model(models_of("wordpiece"), tmp_path / "two", keep_vocabulary_of=both)
    assert shrunk.sentences == 2
    assert {"Paris", "Madrid"} <= set(token_names(json_of(tmp_path / "two")).values())


@pytest.mark.parametrize(
    ("layers", "count", "expected"),
    [(12, 6, [0, 2, 4, 7, 9, 11]), (12, 12, list(range(12))), (12, 1, [0]), (3, 2, [0, 2])],
)
def test_layers_are_evenly_spaced(layers, count, expected):
    assert even_layers(layers, count) == expected


DEEP = {
    "xlm-roberta": {"num_hidden_layers": 4},
    "bert": {"num_hidden_layers": 4},
    "distilbert": {"n_layers": 4},
    "deberta-v2": {"num_hidden_layers": 4},
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_student_has_the_first_and_the_last_layer(kind, text_encoder, tmp_path):
    size = TwoMNERForTokenClassification.from_text_vision_pretrained(text_encoder(kind)).config
    config = TEXT_CONFIGS[kind](size.text_config.vocab_size)
    for name, value in DEEP[kind].items():
        setattr(config, name, value)
    shutil.copytree(text_encoder(kind), tmp_path / "text")
    write_encoder(tmp_path / "text", config)
    model = write_model(tmp_path / "model", tmp_path / "text")
    shrunk = shrink_model(model, tmp_path / "student", layers=2)
    assert (shrunk.before.layers, shrunk.after.layers) == (4, 2)
    assert "train this model" in str(shrunk)
    before, after = (
        TwoMNERForTokenClassification.from_pretrained(str(path)).state_dict()
        for path in (model, tmp_path / "student")
    )
    for name, tensor in after.items():
        old = re.sub(r"(text_model\..*layer)\.1\.", r"\1.3.", name)
        assert tensor.equal(before[old]), name
    assert len(answers(tmp_path / "student")) == len(CORPUS)


def test_layers_that_share_their_weights_are_refused(tmp_path):
    size = write_wordpiece(tmp_path / "text")
    config = AlbertConfig(vocab_size=size, embedding_size=16, **TRANSFORMER)
    config.max_position_embeddings = POSITIONS
    write_encoder(tmp_path / "text", config)
    model = write_model(tmp_path / "model", tmp_path / "text")
    with pytest.raises(ShrinkError, match="found no list of 2 layers in the text encoder"):
        shrink_model(model, tmp_path / "student", layers=1)


def test_everything_at_once(models_of, corpus, tmp_path):
    shrunk = shrink_model(
        models_of("unigram"),
        tmp_path / "small",
        keep_vocabulary_of=[corpus],
        layers=1,
        dtype="bfloat16",
    )
    assert shrunk.sampled == len(CORPUS)
    assert shrunk.after.weights < 0.4 * shrunk.before.weights
    assert len(answers(tmp_path / "small")) == len(CORPUS)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_stored_in_16_bits_and_computed_with_in_32(dtype, model, corpus, tmp_path):
    shrunk = shrink_model(model, tmp_path / "small", keep_vocabulary_of=[corpus], dtype=dtype)
    assert shrunk.after.weights < 0.62 * shrunk.before.weights
    assert 0 < shrunk.difference < 1
    loaded = TwoMNERForTokenClassification.from_pretrained(str(tmp_path / "small"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert loaded.config.text_config.dtype in (torch.float32, None)


def test_a_value_beyond_float16_is_refused(models_of, tmp_path):
    model = tmp_path / "model"
    made = TwoMNERForTokenClassification.from_pretrained(str(models_of("bpe")))
    torch.nn.init.constant_(made.classifier.weight, 1e5)
    made.save_pretrained(model)
    TwoMNERProcessor.from_pretrained(str(models_of("bpe"))).save_pretrained(model)
    with pytest.raises(ShrinkError, match=r"float16: classifier.weight has a value of 100000"):
        shrink_model(model, tmp_path / "small", dtype="float16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_thresholds_go_along_while_answers_are_the_same(models_of, corpus, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(models_of("bpe"), model)
    (model / "thresholds.json").write_text("{}")
    shrink_model(model, tmp_path / "small", keep_vocabulary_of=[corpus])
    assert (tmp_path / "small" / "thresholds.json").read_text() == "{}"
    shrunk = shrink_model(model, tmp_path / "other", dtype="float16")
    assert not (tmp_path / "other" / "thresholds.json").exists()
    assert "thresholds.json is left out" in str(shrunk)


def test_what_cannot_be_done_is_refused(models_of, corpus, tmp_path):
    model = models_of("wordpiece")
    full, empty = tmp_path / "full", tmp_path / "empty.txt"
    full.mkdir()
    (full / "file").write_text("")
    empty.write_text("\n")
    with pytest.raises(ShrinkError, match="nothing to do"):
        shrink_model(model, tmp_path / "small")
    with pytest.raises(ShrinkError, match="is there already, expected nothing or an empty folder"):
        shrink_model(model, full, keep_vocabulary_of=[corpus])
    with pytest.raises(ShrinkError, match=r"--layers is 3, expected a number from 1 to 2"):
        shrink_model(model, tmp_path / "small", layers=3)
    with pytest.raises(ShrinkError, match="no sentence that can be read"):
        shrink_model(model, tmp_path / "small", keep_vocabulary_of=[empty])
    assert not (tmp_path / "small").exists()


def test_an_adapter_is_to_be_merged_first(model, tmp_path):
    adapted = add_lora(TwoMNERForTokenClassification.from_pretrained(str(model)), rank=2)
    adapted.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"is an adapter, expected a model: `2mner lora merge"):
        shrink_model(tmp_path / "adapter", tmp_path / "small", layers=1)


def test_a_wordpiece_text_that_would_change_is_refused(tmp_path):
    """`abcZ` is unknown, as `##Z` is no piece; without `abc` it would be `a ##bcZ`."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "x", "abc", "##b", "##bcZ"]
    BertTokenizerFast(
        vocab={piece: number for number, piece in enumerate(pieces)},
        do_lower_case=False,
        model_max_length=POSITIONS,
    ).save_pretrained(tmp_path / "text")
    write_encoder(tmp_path / "text", TEXT_CONFIGS["bert"](len(pieces)))
    model = write_model(tmp_path / "model", tmp_path / "text")
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"tokens": ["abcZ"]}\n{"tokens": ["xbcZ"]}')
    with pytest.raises(ShrinkError, match=r"cuts 'abcZ' into other pieces"):
        shrink_model(model, tmp_path / "small", keep_vocabulary_of=[corpus])
    assert not (tmp_path / "small").exists()


def test_a_tokenizer_of_another_kind_is_refused():
    with pytest.raises(VocabularyError, match="'Neural', expected Unigram, BPE"):
        kept_pieces({"model": {"type": "Neural"}, "added_tokens": []}, [])


def test_ids_in_every_part_of_a_tokenizer_are_numbered_anew():
    tokenizer = {
        "added_tokens": [{"id": 0, "content": "[UNK]"}, {"id": 5, "content": "<new>"}],
        "padding": {"pad_id": 5, "pad_token": "<new>"},
        "post_processor": {
            "type": "Sequence",
            "processors": [
                {"type": "BertProcessing", "sep": ["d", 4], "cls": ["b", 2]},
                {"special_tokens": {"d": {"id": "d", "ids": [4], "tokens": ["d"]}}},
            ],
        },
        "model": {
            "type": "WordLevel",
            "unk_token": "[UNK]",
            "vocab": {"[UNK]": 0, "aa": 1, "b": 2, "cc": 3, "d": 4},
        },
    }
    smaller = with_pieces(tokenizer, kept_pieces(tokenizer, []))
    assert smaller["model"]["vocab"] == {"[UNK]": 0, "b": 1, "d": 2}
    assert smaller["added_tokens"][1]["id"] == smaller["padding"]["pad_id"] == 3
    bert, template = smaller["post_processor"]["processors"]
    assert (bert["sep"], bert["cls"]) == (["d", 2], ["b", 1])
    assert template["special_tokens"]["d"]["ids"] == [2]


def test_the_command_prints_the_sizes(models_of, corpus, tmp_path, capsys):
    small = tmp_path / "small"
    argv = [str(models_of("bpe")), "--keep_vocabulary_of", str(corpus), "--out", str(small)]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert re.search(r"pieces +\d+ +\d+", printed)
    assert "4 sentences: each has the same pieces as before" in printed
    assert "4 of them, read by both models: every emission is the same" in printed
    assert f"{small}: written" in printed
