"""The sections of a study about measures of trained models, from figures that are known."""

from pathlib import Path

import numpy as np
import pytest

from reporting_2mner.runs import Run
from reporting_2mner.study import attention, contrastive, corruption, selection
from reporting_2mner.study.ratios import bootstrap_means, bootstrap_ratios
from reporting_2mner.study.sections import Part, Result, Section

PAIRS = 40


def section_of(kind, cells: dict[str, list], records: list[dict] | None = None) -> Section:
    """The section of some cells, whose trainings of seeds 1, 2, ... measured these figures."""
    run = Run(Path("run"), {"test": {"overall": {"f1": 0.875}}}, records or [], [])
    results = {
        name: [Result(seed, run, one) for seed, one in enumerate(measured, 1)]
        for name, measured in cells.items()
    }
    titles = {name: name.replace("_", " ") for name in cells}
    part = Part(kind.__name__.rpartition(".")[2], "", tuple(cells), next(iter(cells)), {}, titles)
    return kind.section(part, results)


def text_of(section: Section) -> str:
    return "\n".join(section.findings)


# Means --------------------------------------------------------------------------------------------


def test_means_are_of_the_sentences_that_have_a_value():
    score = bootstrap_means([[[1, None, 3], [None, None, None]], [[5, 5, None], [None, None, 7]]])
    assert score.values == pytest.approx([(2 + 5) / 2, (0 + 7) / 2])
    assert score.interval(0).low >= 1
    assert score.interval(0).high <= 5


def test_a_ratio_of_sums_and_its_interval():
    below = np.arange(1, 31, dtype=float)[None, None]
    exact = bootstrap_ratios(below / 4, below).interval()
    assert (exact.value, exact.low, exact.high) == pytest.approx((0.25, 0.25, 0.25))
    uneven = bootstrap_ratios(np.minimum(below, 10), below).interval()
    assert uneven.value == pytest.approx((55 + 20 * 10) / 465)
    assert uneven.low < uneven.value < uneven.high


# Alignment ----------------------------------------------------------------------------------------


def pairs(image_hits: int, text_hits: int, matched: float, level: str = "sentence") -> dict:
    """Pairs in two languages, of which so many are found among the first five of twenty."""
    found = {
        "alignment_level": level,
        "lang": ["en"] * (PAIRS // 2) + ["de"] * (PAIRS // 2),
        "decidable_from_text": [place % 2 == 0 for place in range(PAIRS)],
        "candidates": [PAIRS // 2] * PAIRS,
        "matched": [matched] * PAIRS,
        "mismatched": [0.1] * PAIRS,
    }
    for way, hits in (("image", image_hits), ("text", text_hits)):
        found[f"{way}_at_5"] = [float(place < hits) for place in range(PAIRS)]
        found[f"{way}_at_1"] = [1 / 20] * PAIRS
    return found


def test_alignment_is_decided_against_chance():
    cells = {
        "full": [pairs(30, 26, 0.6), pairs(30, 26, 0.6)],
        "by_chance": [pairs(10, 10, 0.1)],
        "entity_level": [pairs(0, 0, 0.0, "entity")],
    }
    found = section_of(contrastive, cells)
    assert found.findings[0].startswith(
        "“full”: of 20 candidates the own one is among the first 5 in 70.0 % of the cases ("
    )
    assert "by chance in 25.0 %. The loss aligns sentences and images" in found.findings[0]
    assert "Own pairs are nearer than others: cosine 0.600 against 0.100." in found.findings[0]
    assert found.findings[1:3] == [
        "“by chance”: not told apart from chance.",
        "“entity level”: below chance.",
    ]
    assert found.findings[3].startswith("“full” has the highest recall (70.0), and the highest F1")
    assert found.findings[4].startswith("“entity level”: the loss aligns entities with patches")
    verdicts = {name: figures["verdict"] for name, figures in found.figures.items()}
    assert verdicts == {"full": "aligned", "by_chance": "not shown", "entity_level": "below chance"}
    assert found.figures["full"]["recall_at_5"]["chance"] == 0.25
    assert found.tables[0].rows[0][3:7] == ["5.0", "5.0", "70.0", "25.0"]
    by_language = {tuple(row[:2]): row[6:] for row in found.tables[1].rows}
    assert by_language["full", "en"] == ["100.0", "100.0", "25.0"]
    assert by_language["full", "de"] == ["50.0", "30.0", "25.0"]
    assert [row[1] for row in found.tables[2].rows[:2]] == ["the words decide", "the image decides"]


def test_vectors_that_tell_nothing_are_not_aligned_by_rounding():
    equal = pairs(0, 0, 0.99)
    equal["mismatched"] = [0.99] * PAIRS
    equal |= {
        "candidates": [15] * PAIRS,
        "image_at_5": [1 / 3] * PAIRS,
        "text_at_5": [1 / 3] * PAIRS,
    }
    found = section_of(contrastive, {"full": [equal]})
    assert found.figures["full"]["verdict"] == "not shown"
    assert "that the loss aligns anything is not shown" in found.findings[0]
    assert found.findings[0].endswith("Nearly all vectors point the same way.")


# Corruption ---------------------------------------------------------------------------------------


def way(right: int, gate: float | None = None, sentences: int = 60) -> dict:
    """Sentences of which the first so many are right; the last half is decided by the image."""
    found: dict = {"counts": [[int(place < right), 1, 1] for place in range(sentences)]}
    if gate is not None:
        found |= {"gate_entities": [gate] * sentences, "gate_others": [0.2] * sentences}
    return found


def conditions(**kinds: list[dict]) -> list[dict]:
    return [
        {"kind": kind, "strength": strength, "amount": f"amount {strength}", **one}
        for kind, ways in kinds.items()
        for strength, one in zip((2, 5), ways, strict=True)
    ]


def test_what_images_do_to_f1_and_to_the_gate():
    measured = {
        "real": way(60, 0.5),
        "text_view": way(30),
        "image_decided": [place >= 30 for place in range(60)],
        "conditions": conditions(
            blur=[way(60, 0.5), way(40, 0.4)],
            grey=[way(60, 0.5), way(60, 0.5)],
            exchange=[way(45, 0.5), way(10, 0.6)],
        ),
    }
    found = section_of(corruption, {"full": [measured]})
    exchange, damage, gate = found.findings
    assert exchange.startswith(
        "“full”: with amount 5 of the images exchanged F1 is 16.7 in place of 100.0, −83.3 points"
    )
    assert "worse than without any image: wrong images mislead it (50.0)." in exchange
    assert exchange.endswith("only the image decides F1 is 0.0 in place of 100.0.")
    assert "blur costs most at full strength, −33.3 points" in damage
    assert damage.endswith("blur from amount 5 on; it does not change with loss of colour.")
    assert "0.500 with the images as they are" in gate
    assert gate.endswith("It closes for blur alone.")
    rows = {(row[0], row[1]): row[2:] for row in found.tables[0].rows}
    assert rows["as they are", ""] == ["100.0", "", "", "100.0", "0.500", "0.200"]
    assert rows["no image", ""][0] == "50.0"
    assert rows["no image", ""][3:] == ["0.0", "", ""]
    assert rows["blur", "amount 5"][0] == "66.7"
    assert rows["blur", "amount 5"][3:] == ["33.3", "0.400", "0.200"]
    figures = found.figures["full"]["conditions"]
    assert [one["kind"] for one in figures] == [
        "real",
        "text_view",
        *["blur"] * 2,
        *["grey"] * 2,
        *["exchange"] * 2,
    ]
    assert figures[-1]["gate_entities"]["value"] == pytest.approx(0.6)
    assert [chart.name for chart in found.charts] == ["corruption-0-all", "corruption-0-decided"]


def test_damages_are_judged_at_every_strength_and_in_both_directions():
    measured = {
        "real": way(30),
        "text_view": way(30),
        "conditions": conditions(blur=[way(5), way(30)], grey=[way(30), way(59)]),
    }
    found = section_of(corruption, {"full": [measured]})
    assert found.findings == [
        "“full”: F1 falls beyond chance with blur at amount 2. "
        "F1 rises beyond chance with loss of colour from amount 5 on."
    ]


def test_without_gates_and_image_decided_entities_nothing_is_said_of_them():
    measured = {
        "real": way(50),
        "text_view": way(50),
        "conditions": conditions(noise=[way(50), way(50)]),
    }
    found = section_of(corruption, {"full": [measured]})
    assert found.findings == [
        "“full”: no damage changes F1 beyond chance, at any strength that was tried."
    ]
    assert list(found.tables[0].head) == ["images", "strength", "F1", "change", "its 95 % interval"]


# Attention ----------------------------------------------------------------------------------------


def record(place: int, right: bool, alone: bool) -> dict:
    gold = {"label": "PER", "start": 0, "end": 1}

    def found(is_right: bool) -> list[dict]:
        return [{**gold, "label": "LOC", "end": 1 if is_right else 2, "score": 0.9}]

    return {
        "id": str(place),
        "lang": "en",
        "tokens": ["Ana", "!"],
        "gold": [gold],
        "predicted": found(right),
        "controls": {"none": found(alone)},
    }


def words(entropy: float, mass: float | None, area: float | None) -> dict:
    return {"entropy": entropy, "mass": mass, "area": area}


def test_attention_against_equal_weights_and_boundaries():
    measured = {
        "entities": [words(0.5, 0.6, 0.4)] * 10 + [words(0.8, 0.2, 0.4)] * 10,
        "others": [words(0.9, 0.4, 0.4)] * 19 + [None],
        "image_decided": [True] * 10 + [False] * 10,
    }
    records = [record(place, right=True, alone=place < 10) for place in range(20)]
    found = section_of(attention, {"full": [measured, measured]}, records)
    entities, by_image, by_words, entropy, boundaries = found.findings
    assert "40.0 % of their attention on the object, which covers 40.0 % of the image" in entities
    assert "not told apart from equal weights (ratio 1.00, " in entities
    assert by_image.endswith("That is more than equal weights would (ratio 1.50, 1.50 to 1.50).")
    assert by_words.endswith("That is less than equal weights would (ratio 0.50, 0.50 to 0.50).")
    assert "attend to fewer patches than other words (entropy 0.650 against 0.900)" in entropy
    assert "F1 of 100.0. Images help to find where entities begin and end: +50.0" in boundaries
    assert [row[1:3] for row in found.tables[0].rows] == [
        ["entities", "20"],
        ["other words", "19"],
        ["entities typed by the words", "10"],
        ["entities typed by the image", "10"],
    ]
    assert [row[1:3] for row in found.tables[1].rows] == [
        ["its own image", "100.0"],
        ["no image", "50.0"],
    ]


def test_without_boxes_there_is_no_mass():
    measured = {"entities": [words(0.9, None, None)] * 5, "others": [words(0.9, None, None)] * 5}
    records = [{**record(place, True, True)} for place in range(5)]
    for one in records:
        del one["controls"]
    found = section_of(attention, {"full": [measured]}, records)
    assert list(found.tables[0].head)[-1] == "95 % interval"
    assert "does not say where an object lies" in found.notes[0]
    assert found.findings == [
        "“full”: words of entities are not told apart from other words by how spread out their "
        "attention is (entropy 0.900 against 0.900).",
        "“full” finds boundaries with an F1 of 100.0.",
    ]


# Selection ----------------------------------------------------------------------------------------


def test_risk_is_the_share_of_wrong_ones_among_the_surest():
    wrong = np.array([0, 1, 0, 1, 1], dtype=float)
    weights = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 0, 2], [0, 0, 0, 0, 0]])
    found = selection.risk_at(wrong, weights, np.array([0.2, 0.4, 0.6, 1.0]))
    assert found[0] == pytest.approx([0, 1 / 2, 1 / 3, 3 / 5])
    assert found[1] == pytest.approx([0, 0, 0, 2 / 5])
    assert found[2] == pytest.approx([0, 0, 0, 0])


def read(right: int, sentences: int = 50) -> dict:
    """Sentences of one entity each, the first so many right, and the surest among them."""
    return {
        "counts": [[int(place < right), 1, 1] for place in range(sentences)],
        "entities": [[[1 - place / 100, place < right]] for place in range(sentences)],
    }


def test_the_gate_against_both_other_ways():
    gate = {
        "text": read(20),
        "image": read(45),
        "gate": read(44),
        "has_image": [True] * 40 + [False] * 10,
        "read": [True] * 10 + [False] * 40,
        "threshold": 0.8,
    }
    found = section_of(selection, {"full": [gate], "text_only": [{"text": read(25)}]})
    first, second, third, fourth = found.findings
    assert first.startswith(
        "“full”: the gate reads 25.0 % of the images and has an F1 of 88.0, which is not told "
        "apart from reading all of them (90.0): −2.0 points"
    )
    assert second.startswith("Against the words alone (40.0) it gains +48.0 points")
    assert third.startswith(
        "Of the surest 80 % of the predicted entities 50.0 % are wrong from the words alone, 0.0 %"
    )
    assert fourth == "“text only” reads words alone: F1 50.0."
    assert [row[:4] for row in found.tables[0].rows] == [
        ["full", "words alone", "0.0", "40.0"],
        ["full", "image always", "100.0", "90.0"],
        ["full", "image gate", "25.0", "88.0"],
        ["text only", "words alone", "0.0", "50.0"],
    ]
    curve = found.figures["full"]["text"]["curve"]
    assert curve[0][-1] == 1
    assert curve[1][-1] == pytest.approx(0.6)
    less = {**gate, "gate": read(42)}
    one, both = (section_of(selection, {name: [less] for name in names}) for names in ("a", "ab"))
    p = one.figures["a"]["gate_over_image"]["p"]
    assert 0 < p < 0.5
    assert both.figures["a"]["gate_over_image"]["p"] == pytest.approx(2 * p)  # of two cells
    worse = {**gate, "gate": read(30)}
    assert "worse than reading all of them" in text_of(section_of(selection, {"full": [worse]}))
