"""Files of three formats become the same rows; what is wrong in a file is said exactly."""

import json
import logging
import os

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from dataset_mmnerd import formats
from dataset_mmnerd.readers import (
    MalformedLineError,
    dataset_from_files,
    find_image,
    is_safe_name,
    labels_of,
    language_of,
    read_file,
    recognise,
)

TWEETS = """IMGID:17_06_1
Ana\tB-PER
Ruiz\tI-PER
sings\tO

IMGID:17_06_2.jpg
#Bonn\tB-LOC
"""
WIKI = "0\tElle\tO\n1\tvit\tO\n2\tà\tO\n3\tLyon\tB-LOC\n\n0\tOui\tO\n"
UNIVERSAL = """# newdoc id = answers-7
# sent_id = answers-7-1
# text = # 5 in Tampa Bay
1\t#\tO\t-\t-
2\t5\tO\t-\t-
3\tTampa\tB-LOC\t-\tann
4\tBay\tI-LOC\t-\tann

# sent_id = answers-7-2
1\tok\tO\t-\t-
"""


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def image(path, color="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), color).save(path)
    return path


def rows(path, **options):
    return list(read_file(path, **options))


def test_iob1_is_repaired_and_counted(write, caplog):
    path = write("a_en.txt", "Ana\tI-PER\nBea\tB-PER\nRuiz\tI-PER\n\nok\tO\n\nLima\tI-LOC\n")
    found = [(row["ner_tags"], row["repaired"]) for row in rows(path)]
    assert found == [(["B-PER", "B-PER", "I-PER"], True), (["O"], False), (["B-LOC"], True)]
    assert "in 2 sentences an I- label continues nothing; read as B-" in caplog.text
    assert dataset_from_files(path)["ner_tags"][2] == [3]


# Formats ------------------------------------------------------------------------------------------


def test_imgid_conll_gives_words_labels_and_image(write, tmp_path):
    path = write("valid_en.txt", TWEETS)
    first = image(tmp_path / "images" / "17_06_1.jpg")
    second = image(tmp_path / "images" / "17_06_2.jpg")
    ana, bonn = rows(path, image_dir=tmp_path / "images")
    assert ana["tokens"] == ["Ana", "Ruiz", "sings"]
    assert ana["ner_tags"] == ["B-PER", "I-PER", "O"]
    assert (ana["id"], ana["lang"]) == ("en-valid_en-0", "en")
    assert (ana["image"], ana["image_id"]) == (str(first), "17_06_1")
    assert (bonn["image"], bonn["image_id"]) == (str(second), "17_06_2.jpg")
    assert bonn["tokens"] == ["#Bonn"]
    assert ana["objects"] is ana["captions"] is ana["ocr"] is None


def test_conll_without_images_and_a_forgotten_blank_line_before_imgid(write):
    path = write("a.txt", "Ana\tB-PER\nIMGID:9\nok\tO\n\n\n\nIMGID:8\n\nyes\tO")
    found = [(row["tokens"], row["image_id"]) for row in rows(path)]
    assert found == [(["Ana"], None), (["ok"], "9"), ([], "8"), (["yes"], None)]


def test_wikineural_conllu(write):
    first, second = rows(write("fr/val.conllu", WIKI))
    assert first["tokens"] == ["Elle", "vit", "à", "Lyon"]
    assert first["ner_tags"] == ["O", "O", "O", "B-LOC"]
    assert (first["id"], second["id"], first["lang"]) == ("fr-val-0", "fr-val-1", "fr")
    assert first["image"] is first["image_id"] is first["group"] is None


def test_universal_ner_keeps_its_sentence_and_document_ids(write):
    first, second = rows(write("en_ewt-ud-dev.iob2", UNIVERSAL))
    assert first["tokens"] == ["#", "5", "Tampa", "Bay"]
    assert [first["id"], second["id"]] == ["answers-7-1", "answers-7-2"]
    assert first["group"] == second["group"] == "answers-7"


def test_json_lines(write, tmp_path):
    full = {
        "id": 5,
        "tokens": ["Ana"],
        "ner_tags": ["B-PER"],
        "image": "deep/er/ana.png",
        "lang": "pt",
        "captions": ["a woman"],
        "story": "s1",
    }
    bare = {"tokens": [], "ner_tags": [], "image": None}
    path = write("de_val.jsonl", "\n".join(map(json.dumps, [full, bare])))
    ana = image(tmp_path / "deep/er/ana.png")
    first, second = rows(path)
    assert (first["id"], first["lang"], first["group"]) == ("5", "pt", "s1")
    assert (first["image"], first["image_id"]) == (str(ana), "deep/er/ana.png")
    assert first["captions"] == ["a woman"]
    assert (second["id"], second["lang"], second["tokens"]) == ("de-de_val-1", "de", [])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TWEETS, "conll"),
        ("#tag\tO\n", "conll"),
        (WIKI, "conllu"),
        (UNIVERSAL, "conllu"),
        ('\n{"tokens": []}\n', "jsonl"),
        ("", "conll"),
    ],
)
def test_formats_are_told_apart_by_their_content(write, content, expected):
    assert recognise(write("data.txt", content)) == expected


def test_byte_order_mark_and_windows_line_ends_change_nothing(write):
    plain = write("en/a.txt", TWEETS)
    windows = write("en/b/a.txt", b"\xef\xbb\xbf" + TWEETS.replace("\n", "\r\n").encode())
    assert rows(windows, lang="en") == rows(plain)


def test_only_a_line_feed_ends_a_line(write):
    path = write("a.txt", "one\u2028two\tO\nthree\x85\x0b\tO\n")
    assert rows(path)[0]["tokens"] == ["one\u2028two", "three\x85\x0b"]


TOKEN = st.text(
    st.characters(exclude_characters="\n\t", exclude_categories=["Cs"]), min_size=1, max_size=8
)
SENTENCE = st.lists(st.tuples(TOKEN, st.sampled_from(["O", "B-PER", "B-X-Y"])), min_size=1)


@given(st.lists(SENTENCE, min_size=1, max_size=4), st.booleans())
def test_whatever_tokens_are_written_are_read(tmp_path_factory, sentences, indexed):
    path = tmp_path_factory.mktemp("any") / "a.txt"
    lines = []
    for sentence in sentences:
        for index, (token, tag) in enumerate(sentence):
            lines.append(f"{index}\t{token}\t{tag}" if indexed else f"{token}\t{tag}")
        lines.append("")
    text = "\n".join(lines)
    path.write_bytes(text.encode())
    assume(text[0] != "\ufeff")  # a byte order mark is no part of the first token
    assume(recognise(path) == ("conllu" if indexed else "conll"))
    found = [list(zip(row["tokens"], row["ner_tags"], strict=True)) for row in rows(path)]
    assert found == sentences


@pytest.mark.parametrize(
    "content",
    [
        # CoNLL-2003: part of speech and chunk between token and label; its English labels are IOB1.
        "-DOCSTART- -X- -X- O\n\nAna NNP B-NP I-PER\nBo NNP I-NP I-PER\n\n"
        "-DOCSTART- -X- -X- O\n\nin IN B-PP O\nRome NNP B-NP I-LOC\n",
        # WikiGold and CoNLL-2002: the token and its label; two blank lines are one.
        "-DOCSTART- O\nAna I-PER\nBo I-PER\n\n\n-DOCSTART- O\nin O\nRome B-LOC \n\n",
    ],
)
def test_columns_that_spaces_separate(write, content):
    path = write("eng.testb", content)
    assert recognise(path) == "columns"
    first, second = rows(path)
    assert (first["tokens"], first["ner_tags"]) == (["Ana", "Bo"], ["B-PER", "I-PER"])
    assert (second["tokens"], second["ner_tags"]) == (["in", "Rome"], ["O", "B-LOC"])
    assert first["group"] != second["group"]


def test_a_token_may_look_like_an_image_id(write):
    assert rows(write("a.txt", "IMGID:7\nIMGID:8\tO\n"))[0]["tokens"] == ["IMGID:8"]


def test_json_lines_may_have_tabs_between_their_parts(write):
    assert recognise(write("a", '{"tokens":\t["a"], "ner_tags": ["O"]}\n')) == "jsonl"


# What is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "line", "found", "expected"),
    [
        ("Ana\tB-PER\nlost\n", 2, "1 column 'lost'", "token TAB label"),
        ("Ana\tX\tB-PER\nok\tO\n", 1, "3 columns", "JSON"),
        ("ok\tO\nAna\tX\tB-PER\n", 2, "3 columns 'Ana\\tX\\tB-PER'", "two columns"),
        ("ok\tO\n\tO\n", 2, "2 columns '\\tO'", "two columns"),
        ("Ana\tPER\n", 1, "label 'PER'", "O, B-TYPE or I-TYPE"),
        ("Ana\tE-PER\n", 1, "label 'E-PER'", "O, B-TYPE or I-TYPE"),
        ("IMGID:\nAna\tO\n", 1, "no image id", "IMGID:<image id>"),
        ("IMGID:../../etc/passwd\nAna\tO\n", 1, "'../../etc/passwd'", "relative name"),
        ("ok\tO\n\nIMGID:/etc/passwd\n", 3, "'/etc/passwd'", "relative name"),
        ("Ana B-PER\nlost\n", 2, "1 column 'lost'", "token SPACE label"),
        ("Ana B-PER\nok\u00a0O\n", 2, "1 column", "token SPACE label"),
        ("Ana NNP B-PER\nok UH E-LOC\n", 2, "label 'E-LOC'", "O, B-TYPE or I-TYPE"),
        ("0\ta\tO\n1\tb\n", 2, "2 columns", "three columns"),
        ("0\ta\tO\n2\tb\tO\n", 2, "index '2'", "1 (a blank line ends a sentence)"),
        ("0\ta\tO\n1\tb\tO\n0\tc\tO\n", 3, "index '0'", "2 (a blank line"),
        ("5\ta\tO\n", 1, "index '5'", "0 or 1"),
        ('{"tokens": ["a"]}\n', 1, "no 'ner_tags'", "a list of strings"),
        ('{"tokens": ["a"], "ner_tags": []}\n', 1, "1 tokens and 0 ner_tags", "one label a token"),
        ('{"tokens": [1], "ner_tags": ["O"]}\n', 1, "'tokens': [1]", "a list of strings"),
        ('{"tokens": ["a"], "ner_tags": [3]}\n', 1, "'ner_tags': [3]", "a list of strings"),
        ('{"tokens": [], "ner_tags": []}\n\n{"tok\n', 3, '{"tok', "a JSON object"),
        ('{"tokens": [], "ner_tags": []}\n[]\n', 2, "'[]'", "a JSON object"),
        ('{"tokens": [], "ner_tags": [], "image": {}}\n', 1, "'image': {}", "a string or null"),
        ('{"tokens": [], "ner_tags": [], "image": "a/../../b.png"}\n', 1, "b.png", "relative"),
        ("hello world\n", 1, "1 column 'hello world'", "token TAB label"),
    ],
)
def test_a_malformed_line_is_named_with_what_was_found_and_expected(
    write, content, line, found, expected
):
    path = write("bad.txt", content)
    with pytest.raises(MalformedLineError) as error:
        rows(path)
    assert error.value.line == line
    assert f"{path}, line {line}: found" in str(error.value)
    assert found in error.value.found
    assert expected in error.value.expected


def test_another_encoding_is_named_by_its_first_byte(write):
    path = write("bad.txt", "ok\tO\nB\u00e4r\tO\n".encode("latin-1"))
    with pytest.raises(MalformedLineError, match="line 2: found byte 0xe4 as byte 2 of the line"):
        rows(path)


def test_deeply_nested_json_is_a_malformed_line(write):
    with pytest.raises(MalformedLineError, match="line 1"):
        rows(write("bad.jsonl", '{"tokens": ' + "[" * 100_000))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        rows(tmp_path / "nowhere.txt")


# Images -----------------------------------------------------------------------------------------


def test_missing_images_are_counted_once_a_file(write, tmp_path, caplog):
    image(tmp_path / "17_06_2.jpg")
    path = write("a.txt", TWEETS)
    with caplog.at_level(logging.WARNING):
        first, second = rows(path)
    assert (first["image"], first["image_id"]) == (None, "17_06_1")
    assert second["image"] is not None
    (record,) = caplog.records
    assert "1 of 2 images named are not in" in record.getMessage()
    assert "17_06_1" in record.getMessage()


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png"])
@pytest.mark.parametrize("name", ["7_a.b", "7_a.b.jpg", "7_a.b.png"])
def test_an_image_is_found_with_its_suffix_another_or_none(tmp_path, name, suffix):
    expected = image(tmp_path / f"7_a.b.{suffix}")
    assert find_image(name, tmp_path) == expected


@pytest.fixture
def linked(tmp_path):
    """An image folder of links: to files outside of it, by a folder outside of it, and inside."""
    outside = image(tmp_path / "private" / "secret.jpg")
    folder = tmp_path / "images"
    image(folder / "own.jpg", "blue")
    (folder / "absolute.jpg").symlink_to(outside)
    (folder / "relative.jpg").symlink_to("../private/secret.jpg")
    (folder / "chain.jpg").symlink_to("absolute.jpg")
    (folder / "below").symlink_to(outside.parent)
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "dangling.jpg").symlink_to("nothing.jpg")
    (folder / "inside.jpg").symlink_to("own.jpg")
    return folder


LEAVING = ("absolute.jpg", "relative.jpg", "chain.jpg", "below/secret.jpg", "loop.jpg", "dangling")


def test_links_that_leave_the_image_folder_are_not_followed(linked):
    for name in LEAVING:
        assert find_image(name, linked) is None, name
    assert find_image("inside", linked) == linked / "inside.jpg"
    (linked.parent / "link").symlink_to(linked)
    assert find_image("own", linked.parent / "link") is not None  # the user named this link


def test_an_image_beside_a_link_that_leaves_is_found(linked):
    expected = image(linked / "absolute.png")
    assert find_image("absolute", linked) == expected


@pytest.mark.parametrize("form", ["conll", "jsonl"])
def test_links_that_leave_the_image_folder_are_counted_as_missing_images(
    form, linked, tmp_path, caplog
):
    names = [*LEAVING, "inside.jpg"]
    if form == "conll":
        lines = [f"IMGID:{name}\nAna\tB-PER\n" for name in names]
    else:
        lines = [
            json.dumps({"tokens": ["Ana"], "ner_tags": ["O"], "image": name}) for name in names
        ]
    path = tmp_path / "train_en.txt"
    path.write_text("\n".join(lines))
    found = rows(path, image_dir=linked)
    assert [row["image"] is not None for row in found] == [False] * len(LEAVING) + [True]
    assert [row["image_id"] for row in found] == names
    (record,) = caplog.records
    assert "6 of 7 images named are not in" in record.getMessage()
    assert "(or links out of it), the first is absolute.jpg" in record.getMessage()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.jpg", True),
        ("a/b..c.jpg", True),
        ("", False),
        (".", False),
        ("..", False),
        ("a/../b.jpg", False),
        ("/a.jpg", False),
        ("C:\\a.jpg", False),
        ("..\\a.jpg", False),
        ("\\\\host\\a.jpg", False),
        ("a\0.jpg", False),
    ],
)
def test_names_that_leave_their_folder_on_any_system_are_refused(name, safe):
    assert is_safe_name(name) is safe


# Languages, slices, data sets ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "lang"),
    [
        ("de/val.conllu", "de"),
        ("valid_de.txt", "de"),
        ("de_val.jsonl", "de"),
        ("en_ewt-ud-dev.iob2", "en"),
        ("train_valid_test_fr/train_conll_format.txt", "fr"),
        ("es/valid_fr.txt", "fr"),
        ("somewhere/train.txt", "und"),
        ("it_was_me/train.txt", "und"),
    ],
)
def test_the_language_is_told_from_the_path(path, lang):
    assert language_of(path) == lang


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("[:3]", [0, 1, 2]),
        ("[3:]", [3, 4]),
        ("[1:3]", [1, 2]),
        ("[:50%]", [0, 1]),
        ("[50%:]", [2, 3, 4]),
        ("[20%:80%]", [1, 2, 3]),
        ("[:]", [0, 1, 2, 3, 4]),
        ("[:99]", [0, 1, 2, 3, 4]),
    ],
)
def test_a_part_of_a_file_keeps_the_order_and_the_ids_of_the_whole(write, part, expected):
    path = write("en/t.conllu", "\n".join(f"0\t{word}\tO\n" for word in "abcde"))
    found = rows(f"{path}{part}")
    assert [row["tokens"] for row in found] == [["abcde"[index]] for index in expected]
    assert [row["id"] for row in found] == [f"en-t-{index}" for index in expected]


def test_brackets_that_are_part_of_a_name_are_no_slice(write):
    path = write("en/t[:2]", "a\tO\n\nb\tO\n\nc\tO\n")
    assert len(rows(path)) == 3


def test_a_data_set_of_mixed_formats_has_the_union_of_their_labels(write, tmp_path):
    image(tmp_path / "17_06_1.jpg", "blue")
    files = [
        write("x_en.txt", TWEETS.replace("PER", "GENE")),
        write("fr/val.conllu", WIKI),
        write("de.jsonl", '{"tokens": ["Ida"], "ner_tags": ["I-PER"]}'),
    ]
    data = dataset_from_files(files, image_dir=tmp_path)
    names = data.features["ner_tags"].feature.names
    assert names == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-GENE", "I-GENE"]
    assert names == labels_of(files)
    assert data["lang"][:] == ["en", "en", "fr", "fr", "de"]
    assert [names[tag] for tag in data[0]["ner_tags"]] == ["B-GENE", "I-GENE", "O"]
    assert data[0]["image"].size == (3, 2)
    assert data[1]["image"] is None
    assert [names[tag] for tag in data[4]["ner_tags"]] == ["B-PER"]


def test_labels_given_are_kept_in_their_order_and_others_are_refused(write):
    path = write("x_en.txt", TWEETS)
    labels = ["B-LOC", "O", "B-PER", "I-PER", "B-X"]
    data = dataset_from_files(path, labels=labels)
    assert data.features["ner_tags"].feature.names == labels
    assert data[0]["ner_tags"] == [2, 3, 1]
    with pytest.raises(
        MalformedLineError, match=r"line 2: found label 'B-PER', expected one of O, X"
    ):
        dataset_from_files(path, labels=["O", "X"])


def test_a_changed_file_gives_the_changed_data(write):
    path = write("t_en.txt", "a\tO\n")
    assert dataset_from_files(path)[0]["tokens"] == ["a"]
    write("t_en.txt", "b\tO\n")
    assert dataset_from_files(path)[0]["tokens"] == ["b"]


def test_more_rows_than_are_read_at_a_time_stay_in_order(write):
    path = write("t_en.txt", "\n".join(f"{number}\tO\n" for number in range(2500)))
    words = [tokens[0] for tokens in dataset_from_files(path)["tokens"]]
    assert words == [str(number) for number in range(2500)]


def test_no_file_is_an_error_and_an_empty_file_is_not(write):
    with pytest.raises(ValueError, match="no files"):
        dataset_from_files([])
    empty = dataset_from_files(write("e_en.txt", ""))
    assert len(empty) == 0
    assert empty.features["ner_tags"].feature.names == ["O"]


# What no file can have ----------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["tokens", "id", "captions", "image"])
def test_half_a_character_in_json_names_file_and_line(write, field):
    record = {"tokens": ["a"], "ner_tags": ["O"]}
    record[field] = ["\ud800"] if field in ("tokens", "captions") else "x\udfff"
    whole = {"tokens": ["\U0001f600"], "ner_tags": ["O"]}
    path = write("a.jsonl", f"{json.dumps(whole)}\n{json.dumps(record)}\n")
    with pytest.raises(MalformedLineError, match=r"a\.jsonl, line 2: found half a character, \\ud"):
        rows(path)


def test_an_image_name_that_is_longer_than_the_file_system_allows_is_missing(write, caplog):
    path = write("a.txt", f"IMGID:{'x' * 5000}\nAna\tB-PER\n")
    (row,) = rows(path)
    assert row["image"] is None
    assert "1 of 1 images named are not in" in caplog.text
    assert len(caplog.text) < 1000


def test_a_language_called_all_is_refused_with_its_line(write):
    path = write("a.jsonl", '{"tokens": ["a"], "ner_tags": ["O"], "lang": "all"}')
    with pytest.raises(MalformedLineError, match="line 1: found 'lang': 'all', expected a"):
        rows(path)


@pytest.mark.parametrize(
    "content",
    [
        "a\t" + "x" * 10_000,
        "IMGID:../" + "x" * 10_000 + "\na\tO\n",
        "0\ta\tO\n" + "9" * 10_000 + "\tb\tO\n",
        "x" * 10_000,
        '{"tokens": ["a"], "ner_tags": "' + "x" * 10_000 + '"}',
        '{"tokens": ["a"], "ner_tags": ["O"], "id": ' + "9" * 4000 + ".0}",
        '{"tokens": ["' + "a" * 10_000 + '"], "ner_tags": }',
    ],
)
def test_a_message_quotes_at_most_200_characters(write, content):
    path = write("a.txt", content)
    with pytest.raises(MalformedLineError) as error:
        rows(path)
    assert len(error.value.found) < 500


def test_only_a_regular_file_is_read(tmp_path):
    pipe, device = tmp_path / "train_en.txt", tmp_path / "dev_en.txt"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device, tmp_path):
        with pytest.raises(OSError, match=f"{path.name}: found no regular file"):
            list(read_file(path))


def test_a_file_of_one_endless_line_is_not_read_whole(write, monkeypatch):
    monkeypatch.setattr(formats, "_LONGEST_LINE", 20)
    path = write("a.txt", "Ana\tB-PER\n" + "x" * 21 + "\tO\n")
    with pytest.raises(MalformedLineError, match="line 2: found more than 20 bytes without a line"):
        rows(path)
