"""Generated sentences from a user's own frames, names and images, and the faults of such files."""

import json
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from datasets import load_dataset
from PIL import Image

from dataset_mmnerd.build import build
from dataset_mmnerd.commands import main
from dataset_mmnerd.generating import generated_source
from dataset_mmnerd.sample import SAMPLE_LANGUAGES, WordsError
from dataset_mmnerd.sample.embedded import embedded_language, international_names
from dataset_mmnerd.sample.illustrations import Drawings, ImageFolder
from dataset_mmnerd.sample.language import REGISTERS
from dataset_mmnerd.sample.rows import Plan, Writer
from dataset_mmnerd.sample.sentences import VARIANTS, Filler
from dataset_mmnerd.sample.splitting import SENTENCE_SHARES, divide
from dataset_mmnerd.sample.words import read_frames, read_language, read_names
from dataset_mmnerd.sources import OpenSource, SourceError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "generating.md").read_text("utf-8")
WORDS = ROOT / "examples" / "words"
TRAIN_ALONE = {"train": 1.0, "validation": 0.0, "test": 0.0}
FRAMES = """\
# Notes of a ward.
[image decides]
Look at {?} .
So this is {?} ?
{?} again .
Not {?} again !
Who knows {?} ?
Ask for {?} .
Always {?} !
Never mind {?} .
Anything but {?} .

[tails]
Thanks .

[words decide: posts]
She takes {DOSE} of {DRUG} {before|after} breakfast .
No {DRUG} for him , only {DRUG} .
Since {1990..2020} we use #{DRUG} here .

[no entity]
The patient slept well .
He may go home on {weekday} .
No change since {weekday} .
"""
NAMES = """\
[DRUG, invented]
Zolamid
Tarvexin
Belmox forte
Corvadon
[DOSE]
{5..500} mg
{1..4} {tablets|drops}
[weekday]
Monday
Friday
"""


class Text:
    """A file of words in memory."""

    def __init__(self, text):
        self.text = text

    def read_bytes(self):
        return self.text if isinstance(self.text, bytes) else self.text.encode()


def language(frames=FRAMES, names=NAMES, lang="en"):
    return read_language(lang, [(Text(frames), "frames.txt")], [(Text(names), "names.txt")])


def test_a_text_is_not_taken_twice_while_there_are_others():
    names = "[PER]\nAda\n[day]\nMonday\nFriday\n"
    for seed in range(9):
        words, _ = filled("{PER} , {day} and {day}", names, seed)
        assert sorted(words.split()[2:]) == ["Friday", "Monday", "and"]


def filled(frame, names=NAMES, seed=1):
    """(words, labels) of a frame of its own."""
    found = language(f"[words decide]\n{frame}", names)
    sentence = Filler(found, Random(seed)).fill(found.frames.words_decide[0])
    return " ".join(sentence.tokens), " ".join(sentence.tags)


@pytest.fixture
def ward(tmp_path):
    """A folder with own frames and names."""
    (tmp_path / "frames.txt").write_text(FRAMES)
    (tmp_path / "names.txt").write_text(NAMES)
    return tmp_path


# Filling ------------------------------------------------------------------------------------------


def test_names_of_any_type_get_their_labels_and_other_slots_none():
    words, tags = filled("Take {DOSE} {now|now} , or on {weekday} .", NAMES, seed=3)
    dose, _, rest = words.removeprefix("Take ").partition(" now ")
    amount, unit = dose.split()
    assert unit in ("mg", "tablets", "drops")
    assert amount.isdigit()
    assert rest in (", or on Monday .", ", or on Friday .")
    assert tags == "O B-DOSE I-DOSE O O O O O O"


def test_numbers_are_drawn_from_the_whole_range():
    found = {filled("{3..5} times {DRUG}", seed=seed)[0].split()[0] for seed in range(40)}
    assert found == {"3", "4", "5"}


def test_a_name_is_repeated_whole_or_by_its_last_word():
    names = "[PER]\nAda Quill\n[LOC]\nRome\n"
    words, tags = filled("{PER} left {LOC} ; {=PER} , {~PER} 's dog", names)
    assert words == "Ada Quill left Rome ; Ada Quill , Quill 's dog"
    assert tags == "B-PER I-PER O B-LOC O B-PER I-PER O B-PER O O"


def test_a_slot_takes_names_of_every_section_below_it_and_no_name_twice_while_there_are_others():
    names = "[LOC.city]\nRome\n[LOC.city.one]\nBonn\n[LOC.river]\nPo\n[LOCAL]\nx\n"
    found = {filled("{LOC} and {LOC} and {LOC}", names, seed)[0] for seed in range(9)}
    assert all(sorted(words.split()) == ["Bonn", "Po", "Rome", "and", "and"] for words in found)
    cities = {filled("{LOC.city}", names, seed)[0] for seed in range(20)}
    assert cities == {"Rome", "Bonn"}


def test_text_that_touches_a_slot_belongs_to_the_entity():
    names = "[PER]\nAda Quill\n[LOC]\nNew Bonn\n"
    assert filled("{PER}s Rede in #{LOC} !", names) == (
        "Ada Quills Rede in #NewBonn !",
        "B-PER I-PER O O B-LOC O",
    )


def test_names_may_have_slots_and_take_the_type_of_their_section():
    names = "[ORG]\nUniversity of {LOC}\n[LOC]\nNew Bonn\n"
    assert filled("At {ORG} .", names) == (
        "At University of New Bonn .",
        "O B-ORG I-ORG I-ORG I-ORG O",
    )


@pytest.mark.parametrize(
    ("frame", "name", "expected"),
    [
        ("le nord de {LOC}", "Albanie", "le nord d' Albanie"),
        ("le nord de {LOC}", "Éthiopie", "le nord d' Éthiopie"),
        ("le nord de {LOC}", "Belgique", "le nord de Belgique"),
        ("le nord de {LOC}", "Haïti", "le nord d' Haïti"),
        ("le port de {LOC}", "Le Havre", "le port du Havre"),
        ("De {LOC} à Rome", "Albanie", "D' Albanie à Rome"),
        ("le port du {LOC}", "Oman", "le port de l' Oman"),
        ("le port du {LOC}", "Pérou", "le port du Pérou"),
        ("la vie de {LOC}", "Hector Town", "la vie d' Hector Town"),
        ("Y {LOC}", "Hierro", "Y Hierro"),
        ("Y {LOC}", "Hispalis", "E Hispalis"),
        ("in the {LOC}", "The Hague", "in The Hague"),
        ("de l' air , {LOC}", "Albanie", "de l' air , Albanie"),
    ],
)
def test_contractions_are_made_only_where_a_word_meets_a_name(frame, name, expected):
    joins = """[joins]
de V -> d'
du V -> de l'
de Haïti -> d' Haïti
de Le -> du
de Hector* -> d'
y Hie* -> y
y Hi* -> e
the The -> The
"""
    words, tags = filled(frame, f"{joins}[LOC]\n{name}\n")
    assert words == expected
    assert tags.split().count("B-LOC") == 1
    assert len(tags.split()) == len(words.split())


def test_each_register_alters_its_stated_share_of_sentences_and_never_an_entity_by_a_typo():
    found = language("[words decide]\nGesternabend fuhr niemand nach {LOC}", "[LOC]\nNeustadt\n")
    frame = found.frames.words_decide[0]
    for register in REGISTERS:
        filler = Filler(found, Random(5))
        plain = filler.fill(frame).tokens
        counts = Counter()
        for _ in range(3000):
            tokens = filler.altered(filler.fill(frame), register).tokens
            text, written = " ".join(tokens), " ".join(plain)
            counts["lower"] += text == text.lower()
            counts["upper"] += text == text.upper()
            counts["typo"] += text.lower() != written.lower()
            assert tokens[-1].lower() == "neustadt"
        rates = VARIANTS[register]
        for kind in ("lower", "upper", "typo"):
            assert counts[kind] / 3000 == pytest.approx(getattr(rates, kind), abs=0.02)


def test_the_page_states_the_rates_of_each_register():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) % \| (\d+) % \| (\d+) % \|$", PAGE, re.M)
    stated = {name: [int(rate) / 100 for rate in rates] for name, *rates in rows}
    assert stated == {name: [one.lower, one.upper, one.typo] for name, one in VARIANTS.items()}


def test_the_files_that_the_page_shows_are_read():
    blocks = re.findall(r"^```text\n(.*?)^```", PAGE, re.M | re.S)
    frames = [block for block in blocks if "decide" in block]
    names = [block for block in blocks if "decide" not in block]
    assert len(frames) == len(names) == 2
    for block in frames:
        assert read_frames([(Text(block), "page")]).words_decide
    own = read_language("en", [(Text(frames[1]), "page")], [(Text(names[1]), "page")])
    assert own.entity_types() == ["DOSE", "DRUG"]
    assert {"PER.made", "last"} < set(read_names([(Text(names[0]), "page")]).sections)


# Faults of files ----------------------------------------------------------------------------------

GOOD_NAMES = "[PER]\nAda\n[LOC]\nRome\n"
BAD_FRAMES = [
    ("[words decide]\nHi {PER\n", "line 2: found '{' without '}' in 'Hi {PER', expected slots"),
    ("[words decide]\nHi PER}\n", "line 2: found '}' without '{'"),
    (
        "[words decide]\nHi {ORG} .\n",
        r"line 2: found the slot {ORG}, expected a section .* PER, LOC",
    ),
    (
        "[words decide]\nHi {PER!} .\n",
        "line 2: found the slot '{PER!}', expected {LOC.city}, {month}",
    ),
    ("[words decide]\nHi {9..2} {PER}\n", "line 2: found the range '9..2', expected the smaller"),
    ("[words decide]\n{a |b} {PER}\n", "line 2: found a space at the end of a text of {a |b}"),
    (
        "[words decide]\nHi .\n",
        "line 2: found no entity in 'Hi .', expected at least one slot of a",
    ),
    ("[words decide]\nHi {?} {PER}\n", "line 2: found a slot {[?]} in"),
    (
        "[words decide]\n{=PER} and {PER}\n",
        "line 2: found {=PER} in .*, expected a slot {PER} before",
    ),
    (
        "[words decide]\n{PER}-{LOC}\n",
        "line 2: found slots of PER and LOC in one word, expected one",
    ),
    (
        "[words decide]\n{PER}/{PER}\n",
        "line 2: found slots of PER and PER in one word, expected one",
    ),
    ("[words decide]\nHi { PER }\n", "line 2: found the slot '{ PER }', expected {LOC.city}"),
    (
        "[words decide]\nHi {PER}\n[tails]\nby {PER}\n",
        "line 4: found a slot in the tail 'by {PER}'",
    ),
    ("[words decide]\nHi {PER}\n[tails]\nlol\nlol\n", "line 5: found the tail 'lol' again"),
    ("[words decide]\nHi {PER}\n[boards]\nvan, van: GO\n", "line 4: found the scene 'van' again"),
    (
        "[words decide]\nHi {PER}\n[boards]\nspaceship: GO\n",
        "line 4: found the scene 'spaceship', expected one of O, abstract",
    ),
    ("[words decide]\n\n[tails]\nlol\n", "line 1: found .words decide. without a line, expected"),
    (
        "[words decide: shouting]\nHi {PER}\n",
        "line 1: found the section .*encyclopaedia, news, posts",
    ),
    ("Hi {PER}\n", "line 1: found 'Hi {PER}', expected a line such as .words decide. first"),
    ("[words decide]\nHi {PER}\n[no entity]\n{LOC} .\n", "line 4: found an entity in '{LOC} .'"),
    ("[words decide]\nHi {PER}\n[no entity]\nHm .\nHm .\n", "line 5: found the frame 'Hm .' again"),
    ("[image decides]\n{?} and {?}\n", "line 2: found 2 slots {[?]} and 0 of a type, expected one"),
    (
        "[words decide]\nHi {PER}\n[boards]\nvan: ÉTÉ\n",
        "line 4: found 'van: ÉTÉ', expected scenes and",
    ),
    ("[tails]\nlol\n", "found no section .words decide., expected at least one frame"),
    ("", "found no section, expected some, such as .words decide."),
    (b"[words decide]\nHi \xe9 {PER}\n", "line 2: found byte 0xe9 at place 4, expected UTF-8"),
]


@pytest.mark.parametrize(("frames", "message"), BAD_FRAMES)
def test_a_fault_of_frames_names_file_and_line(frames, message):
    with pytest.raises(WordsError, match=f"^frames.txt(, |: ){message}"):
        language(frames, GOOD_NAMES)


BAD_NAMES = [
    ("[PER]\n", "line 1: found .PER. without a line"),
    (
        "[PER]\nAda\nAda\n",
        "line 3: found the name 'Ada' again, expected it once .names.txt, line 2",
    ),
    ("[PER]\n{=PER} x\n", "line 2: found the slot of '{=PER} x', expected one of a section"),
    ("[PER]\nDr {ORG}\n", "line 2: found the slot {ORG}, expected a section of the names: PER"),
    ("[PER]\nDr {LOC}\n[LOC]\n{PER} Street\n", "found a name of .LOC. that contains itself"),
    (
        "[PER]\n{|Dr} {|Ada}\n",
        "line 2: found the name '{|Dr} {|Ada}', which may be empty, expected",
    ),
    ("[PER]\n{title}\n[title]\n{|Dr}\n", "line 2: found the name '{title}', which may be empty"),
    ("[O]\nAda\n", "line 1: found the type 'O', expected one such as PER, DRUG"),
    ("[B-PER]\nAda\n", "line 1: found the type 'B-PER', expected one such as PER, DRUG"),
    (
        "[joins]\na V -> an\na V -> am\n[PER]\nAda\n",
        "line 3: found the join 'a V' again, expected it once",
    ),
    (
        "[PER]\n{a0}\n" + "".join(f"[a{n}]\n{{a{n + 1}}}\n" for n in range(30)) + "[a30]\nx\n",
        "line 42: found slots within slots 21 deep, '{a20}', expected at most 20",
    ),
    ("[PER, inventd]\nAda\n", r"line 1: found the section .PER, inventd., expected a name such as"),
    (
        "[joins]\nde V = d'\n[PER]\nAda\n",
        "line 2: found .*, expected a contraction such as a V -> an",
    ),
]


@pytest.mark.parametrize(("names", "message"), BAD_NAMES)
def test_a_fault_of_names_names_file_and_line(names, message):
    with pytest.raises(WordsError, match=f"^names.txt, (line . ?:? ?)?.*{message}"):
        language("[words decide]\nHi {PER} .\n", names)


def test_too_few_names_or_frames_to_divide_are_named():
    few = language(names=NAMES.replace("Belmox forte\nCorvadon\n", ""))
    with pytest.raises(
        WordsError, match=r"names.txt, line 2: found 2 names .DRUG., expected at least 3"
    ):
        divide([few], 1, SENTENCE_SHARES)
    kept = divide([few], 1, TRAIN_ALONE)[0].of_split["train"]
    assert len(kept.frames.words_decide) == 3
    assert len(kept.names.sections["DRUG"].names) == 2


def test_a_text_without_a_label_has_no_entity_within():
    names = "[motto]\nI love {LOC}\n[LOC]\nRome\n[PER]\nAda of {old}\n[old]\nOld {LOC}\n"
    language("[words decide]\nHi {PER} .\n", names)  # within a name it belongs to the entity
    with pytest.raises(WordsError, match=r"names.txt, line 2: found the entity {LOC} in a text of"):
        language("[words decide]\nHi {PER} .\n[no entity]\nOh : {motto}\n", names)


# Splits -------------------------------------------------------------------------------------------


def texts_of(division, split):
    """The frames and invented names of one split."""
    of = division.of_split[split]
    names = [name for one in of.names.sections.values() if one.invented for name in one.names]
    return {pattern.text for pattern in (*of.frames.every(), *names)}


@pytest.mark.parametrize("seed", [7, 19, 20])
def test_no_frame_and_no_invented_name_is_in_two_splits_of_any_languages(seed):
    languages = [
        *map(embedded_language, SAMPLE_LANGUAGES),
        embedded_like("it"),
        embedded_like("nl"),
    ]
    found = {"train": set(), "validation": set(), "test": set()}
    for division in divide(languages, seed, SENTENCE_SHARES):
        for split, texts in found.items():
            texts |= texts_of(division, split)
    assert min(map(len, found.values())) > 100
    assert not found["train"] & (found["validation"] | found["test"])
    assert not found["validation"] & found["test"]


def test_a_name_of_two_languages_and_sections_is_in_the_same_split_of_all():
    one = language()
    other = language(names=NAMES.replace("[DOSE]", "Ardux\n[DOSE, invented]\nZolamid\n"), lang="fr")
    for seed in range(20):
        splits = {}
        for division in divide([one, other], seed, SENTENCE_SHARES):
            for split in SENTENCE_SHARES:
                for text in texts_of(division, split):
                    splits.setdefault(text, set()).add(split)
        assert {len(found) for found in splits.values()} == {1}
        assert splits["Zolamid"] <= {*SENTENCE_SHARES}


# Data sets ----------------------------------------------------------------------------------------


def test_the_command_writes_a_data_set_of_own_types_that_says_it_is_generated(ward, capsys):
    out = ward / "set"
    words = ["--frames", str(ward / "frames.txt"), "--names", str(ward / "names.txt")]
    options = ["--languages", "en", "--sentences", "90", "--seed", "7", "--out", str(out)]
    assert main(["generate", *options, *words]) == 0
    assert f"{out}: built" in capsys.readouterr().out
    data = load_dataset(str(out))
    assert {split: len(data[split]) for split in data} == {
        "train": 63,
        "validation": 12,
        "test": 15,
    }
    labels = data["train"].features["ner_tags"].feature.names
    assert labels == ["O", "B-DOSE", "I-DOSE", "B-DRUG", "I-DRUG"]
    assert all(data["train"]["decidable_from_text"])
    card = (out / "README.md").read_text()
    assert "This data set is generated" in card
    assert "Seed 7, 90 sentences a language, from own frames or names." in card
    findings = json.loads((out / "audit.json").read_text())["findings"]
    assert not [one for one in findings if one["count"] and one["severity"] in ("error", "warning")]


def test_own_images_decide_own_types_and_none_is_in_two_splits(ward):
    for number, kind in enumerate(["DRUG", "DOSE", "O"] * 4):
        folder = ward / "images" / kind
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * number, 90, 90)).save(folder / f"{number}.png")
    source = generated_source(
        ["en"],
        sentences=60,
        frames=[ward / "frames.txt"],
        names=[ward / "names.txt"],
        images=ward / "images",
    )
    opened = OpenSource(source)
    rows = list(opened.rows())
    shown = {}
    for split, row in rows:
        if row["image"] is not None:
            shown.setdefault(row["image_id"], set()).add(split)
        if not row["decidable_from_text"]:
            kind = next(tag[2:] for tag in row["ner_tags"] if tag != "O")
            assert row["image"].split("/")[-2] == kind
    assert sum(not row["decidable_from_text"] for _, row in rows) > 5
    assert all(len(splits) == 1 for splits in shown.values())
    report = build(source, None, ward / "set")
    assert report.warnings.total() == 0


def test_too_few_frames_for_the_types_that_an_image_decides_are_named():
    frames = FRAMES.replace("[tails]\nThanks .\n", "")
    plan = Plan(3, 60, SENTENCE_SHARES, Drawings())
    names = NAMES.replace("DRUG", "PER").replace("DOSE", "ORG")
    few = language(frames.replace("DRUG", "PER").replace("DOSE", "ORG"), names)
    with pytest.raises(
        WordsError, match=r"found 1 frames .image decides. and 0 tails for validation"
    ):
        next(Writer(divide([few], 3, SENTENCE_SHARES)[0], "validation", plan).rows())


def test_drawings_need_types_that_are_drawn(ward):
    own = {"frames": [ward / "frames.txt"], "names": [ward / "names.txt"]}
    with pytest.raises(
        WordsError, match=r"drawn: found images of PER, .*, expected at least two of"
    ):
        generated_source(["en"], sentences=9, images="drawn", **own)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"languages": ["xx"]}, "found 'xx', expected some of en, .*, or --frames"),
        ({"languages": ["en", "en"]}, "found 'en' twice"),
        ({"languages": ["../en"]}, "expected a language code"),
        ({"sentences": 0}, "sentences: found 0, expected at least 1"),
        ({"shares": (0, 0, 0)}, "shares of the splits: found"),
        ({"sentences": 2}, "sentences: found 2, of which validation gets none, expected more, or"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SourceError, match=message):
        generated_source(**({"languages": ["en"], "sentences": 9} | settings))


def test_a_missing_file_or_folder_is_named(tmp_path):
    for given in ({"frames": [tmp_path / "no.txt"]}, {"images": tmp_path}):
        with pytest.raises(WordsError, match=f"{tmp_path}.*: found no f"):
            generated_source(["en"], sentences=9, **given)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("DRUG/9.png", b"not an image", r"9.png: found .*, expected "),
        (
            "DRUGS/9.png",
            None,
            "DRUGS: found a folder of no type, expected .* DOSE, DRUG, and perhaps O/",
        ),
        ("O/notes.txt", b"none", "O: found 0, expected at least 3 different images"),
    ],
)
def test_a_fault_of_own_images_is_named_before_anything_is_written(ward, name, content, message):
    for number, kind in enumerate(["DRUG", "DOSE"] * 3):
        folder = ward / "images" / kind
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * number, 90, 90)).save(folder / f"{number}.png")
    path = ward / "images" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((folder / "1.png").read_bytes() if content is None else content)
    words = ["--frames", str(ward / "frames.txt"), "--names", str(ward / "names.txt")]
    options = [
        "--languages",
        "en",
        "--images",
        str(ward / "images"),
        "--out",
        str(ward / "a" / "set"),
    ]
    with pytest.raises(ValueError, match=message):
        main(["generate", *options, *words])
    assert not (ward / "a").exists()


def test_an_image_under_two_names_is_in_one_split(ward):
    images = ward / "images"
    for number in range(12):
        for kind, name in (
            ("DRUG", f"{number}.png"),
            ("DRUG", f"x{number}.png"),
            ("DOSE", "y.png"),
        ):
            (images / kind).mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (40, 40), (20 * number, 90, 90))
            image.save(images / kind / name.replace("y", f"{11 - number}y"))
    folder = ImageFolder(images, ["DRUG", "DOSE"], 3, SENTENCE_SHARES)
    contents = {"train": set(), "validation": set(), "test": set()}
    for split, found in contents.items():
        for kind in folder.types:
            chosen = {folder.choose(kind, split, Random(n)) for n in range(60)}
            found |= {Path(path).read_bytes() for path in chosen}
    assert sum(map(len, contents.values())) == len(set.union(*contents.values())) == 12


def test_languages_are_folders(ward):
    for lang in ("nl", "pt"):
        (ward / lang).mkdir()
        (ward / lang / "frames.txt").write_text(FRAMES)
        (ward / lang / "names.txt").write_text(NAMES)
    source = generated_source(["nl", "pt"], sentences=9, frames=[ward], names=[ward])
    assert {row["lang"] for _, row in OpenSource(source).rows()} == {"nl", "pt"}
    with pytest.raises(SourceError, match="expected a folder with a file for each language"):
        generated_source(["nl", "pt"], sentences=9, frames=[ward / "frames.txt"], names=[ward])


@pytest.mark.parametrize("lang", ["it", "nl"])
def test_the_example_languages_make_data_that_the_audit_does_not_warn_of(lang, tmp_path, capsys):
    folder = tmp_path / lang
    words = ["--frames", str(WORDS), "--names", str(WORDS), "international"]
    command = ["generate", "--languages", lang, *words, "--sentences", "1000", "--out", str(folder)]
    assert main(command) == 0
    assert len(embedded_like(lang).frames.words_decide) >= 200
    assert main(["audit", str(folder)]) == 0
    shown = capsys.readouterr()
    assert "warning" not in (shown.out + shown.err).lower()


def embedded_like(lang):
    files = [[(WORDS / lang / f"{kind}.txt", kind)] for kind in ("frames", "names")]
    files[1].append(international_names())
    return read_language(lang, *files)


def test_the_same_seed_gives_the_same_sentences_and_another_one_others():
    def rows(seed):
        plan = Plan(seed, 60, SENTENCE_SHARES)
        division = divide([embedded_language("de")], seed, SENTENCE_SHARES)[0]
        return [row["tokens"] for row in Writer(division, "test", plan).rows()]

    assert rows(1) == rows(1) != rows(2)


def test_a_data_set_without_a_test_part_learns_from_every_frame_and_name():
    source = generated_source(["en"], sentences=900, shares=(100, 0, 0))
    assert {part.split for part in source.find(None, None)} == {"train"}
    language = embedded_language("en")
    kept = divide([language], 19, TRAIN_ALONE)[0].of_split["train"]
    assert len(kept.frames.words_decide) == len(language.frames.words_decide)


def test_sentences_that_the_image_decides_are_never_the_same_with_another_label():
    frames = "[image decides]\nSee {?} !\nOh {?} .\nWhy {?} ?\n[tails]\nlol\n[words decide]\n"
    frames += "".join(f"{word} met {{PER}} in {{LOC}} .\n" for word in ("He", "She", "They"))
    source_frames = language(frames, GOOD_NAMES)
    plan = Plan(3, 300, SENTENCE_SHARES, Drawings())
    division = divide([source_frames], 3, SENTENCE_SHARES)[0]
    drafts = [
        draft.sentence.tokens
        for draft in Writer(division, "train", plan)._image_decides(plan.count("train"))
    ]
    texts = [" ".join(tokens) for tokens in drafts]
    assert len(texts) == len(set(texts)) > 0
