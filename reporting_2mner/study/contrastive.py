"""Whether the contrastive loss aligns sentences and images, held out from training.

The test is retrieval: among the test images of a sentence's language, each different, is its own
nearer than chance, and the same for sentences? Similarities alone do not tell, for all vectors may
point one way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..charts import Chart, interval_chart
from ..comparison import Score
from ..runs import percent
from ..statistics import Interval
from .ratios import bootstrap_means
from .scores import between, join
from .sections import Part, Result, Results, Section, Table

__all__ = ["CUTS", "section"]

CUTS = (1, 5)
"""Recall is measured at these ranks."""

ALIGNED, NOTHING, BELOW = "aligned", "not shown", "below chance"

MEANINGS = {
    ALIGNED: "The loss aligns sentences and images that it has not seen.",
    NOTHING: "That is not told apart from chance: that the loss aligns anything is not shown.",
    BELOW: "That is below chance: the loss does not align them.",
}

OTHERS = {
    ALIGNED: "aligned beyond chance",
    NOTHING: "not told apart from chance",
    BELOW: "below chance",
}

ROUNDING = 1e-9

NEAR = 0.9
"""Vectors of different pairs that have a larger cosine point almost the same way."""


Measured = Mapping[str, Any]


@dataclass(frozen=True)
class Retrieval:
    """Recall of some pairs: of images and sentences together, and of each, at each of `CUTS`."""

    both: Mapping[int, Interval]
    image: Mapping[int, Interval]
    text: Mapping[int, Interval]
    chance: Mapping[int, float]
    pairs: int
    candidates: float

    @property
    def verdict(self) -> str:
        """By the widest cut: what its interval says of chance."""
        found, chance = self.both[CUTS[-1]], self.chance[CUTS[-1]]
        # Vectors that tell nothing have exactly the chance level, but for rounding.
        if found.low > chance + ROUNDING:
            return ALIGNED
        return BELOW if found.high < chance - ROUNDING else NOTHING


def section(part: Part, results: Results) -> Section:
    """Similarity, and retrieval against chance, of each cell."""
    measured = {name: [result.measured for result in found] for name, found in results.items()}
    whole = {name: _retrieval(found) for name, found in measured.items()}
    similarity = {name: _similarity(found) for name, found in measured.items()}
    languages = {
        name: {
            code: _retrieval(found, [lang == code for lang in found[0]["lang"]])
            for code in sorted(set(found[0]["lang"]))
        }
        for name, found in measured.items()
    }
    decided = {
        name: {
            kind: _retrieval(found, [value is wanted for value in found[0]["decidable_from_text"]])
            for kind, wanted in (("the words decide", True), ("the image decides", False))
            if wanted in found[0]["decidable_from_text"]
        }
        for name, found in measured.items()
        if "decidable_from_text" in found[0]
    }
    tables = [
        _cell_table(part, results, whole, similarity),
        _group_table(part, "language", languages),
    ]
    if decided:
        tables.append(_group_table(part, "sentences in which", decided))
    return Section(
        title="Does the contrastive loss align sentences and images?",
        question=(
            "Each test sentence with an image that no earlier sentence has, and the images of its "
            "language: is its own image among the first by cosine, and its own sentence among the "
            "sentences?"
        ),
        findings=_findings(part, results, measured, whole, similarity),
        tables=tables,
        charts=[_chart(part, whole)],
        notes=[
            "Recall is the mean of both directions, from sentence to image and from image to "
            "sentence. Candidates of equal similarity count as in random order, so that vectors "
            "that tell nothing have exactly the chance level. Intervals resample pairs and seeds; "
            "the candidates stay the same. A sentence whose words do not tell what its image shows "
            "cannot be found better than by chance, whatever the loss.",
        ],
        figures={
            name: {
                "verdict": whole[name].verdict,
                **_figures(whole[name]),
                "similarity": {
                    key: asdict(similarity[name].interval(place))
                    for place, key in enumerate(("matched", "mismatched"))
                },
                "by_language": {code: _figures(one) for code, one in languages[name].items()},
                "f1": _f1(results[name]),
            }
            for name in results
        },
    )


def _retrieval(measured: Sequence[Measured], kept: Sequence[bool] | None = None) -> Retrieval:
    """Recall over the seeds of a cell, of some pairs."""
    chosen = np.array([True] * len(measured[0]["lang"]) if kept is None else kept)
    columns = {
        f"{way}_{cut}": [np.array(seed[f"{way}_at_{cut}"])[chosen] for seed in measured]
        for way in ("image", "text")
        for cut in CUTS
    }
    for cut in CUTS:
        ways = zip(columns[f"image_{cut}"], columns[f"text_{cut}"], strict=True)
        columns[f"both_{cut}"] = [(image + text) / 2 for image, text in ways]
    names = list(columns)
    score = bootstrap_means(
        [[columns[name][seed] for name in names] for seed in range(len(measured))]
    )
    candidates = np.array(measured[0]["candidates"])[chosen]

    def intervals(way: str) -> dict[int, Interval]:
        return {cut: score.interval(names.index(f"{way}_{cut}")) for cut in CUTS}

    return Retrieval(
        both=intervals("both"),
        image=intervals("image"),
        text=intervals("text"),
        chance={cut: float(np.mean(np.minimum(cut / candidates, 1))) for cut in CUTS},
        pairs=int(chosen.sum()),
        candidates=float(candidates.mean()),
    )


def _similarity(measured: Sequence[Measured]) -> Score:
    """The mean cosine of matched and of mismatched pairs."""
    return bootstrap_means([[seed["matched"], seed["mismatched"]] for seed in measured])


def _f1(found: Sequence[Result]) -> float:
    """The mean F1 over seeds on the run's test part."""
    return float(np.mean([result.run.results["test"]["overall"]["f1"] for result in found]))


# Tables -------------------------------------------------------------------------------------------


def _cell_table(
    part: Part,
    results: Results,
    whole: Mapping[str, Retrieval],
    similarity: Mapping[str, Score],
) -> Table:
    rows = []
    for name, one in whole.items():
        row = [part.titles[name], *(f"{cosine:.3f}" for cosine in similarity[name].values)]
        for cut in CUTS:
            row += [percent(one.both[cut].value), percent(one.chance[cut])]
        rows.append([*row, between(one.both[CUTS[-1]]), one.verdict, percent(_f1(results[name]))])
    head = ["cell", "matched", "mismatched"]
    for cut in CUTS:
        head += [f"recall at {cut}", "chance"]
    caption = (
        "Mean cosine of own and of other pairs; recall, with the interval of the last, and F1 of "
        "the entities, in percent."
    )
    return Table(caption, [*head, "95 % interval", "alignment", "F1"], rows, frozenset({3, 4, 7}))


def _group_table(part: Part, what: str, groups: Mapping[str, Mapping[str, Retrieval]]) -> Table:
    rows = []
    for name, by_group in groups.items():
        for group, one in by_group.items():
            row = [part.titles[name], group, f"{one.pairs:,}"]
            for cut in CUTS:
                row += [percent(way[cut].value) for way in (one.image, one.text)]
                row.append(percent(one.chance[cut]))
            rows.append(row)
    head = ["cell", what, "pairs"]
    for cut in CUTS:
        head += [f"image at {cut}", f"sentence at {cut}", "chance"]
    caption = "Recall in percent: own image found by the sentence, and own sentence by the image."
    return Table(caption, head, rows, spare=frozenset({2, 3, 4, 5}))


def _chart(part: Part, whole: Mapping[str, Retrieval]) -> Chart:
    cut = CUTS[-1]
    chance = next(iter(whole.values())).chance[cut]
    words = "; ".join(
        f"{part.titles[name]} {percent(one.both[cut].value)}" for name, one in whole.items()
    )
    return interval_chart(
        f"{part.name}-recall",
        f"Recall at {cut} of each cell, in percent: {words}. Chance is {percent(chance)}.",
        [{part.titles[name]: one.both[cut] for name, one in whole.items()}],
        xlabel=f"recall at {cut}, %; the line is chance",
        mark=chance,
    )


# In words -----------------------------------------------------------------------------------------


def _findings(
    part: Part,
    results: Results,
    measured: Mapping[str, Sequence[Measured]],
    whole: Mapping[str, Retrieval],
    similarity: Mapping[str, Score],
) -> list[str]:
    """Of the first cell in full, of the others by verdict."""
    first, *others = whole
    findings = [_finding(part.titles[first], whole[first], similarity[first])]
    for verdict, meaning in OTHERS.items():
        names = [part.titles[name] for name in others if whole[name].verdict == verdict]
        if names:
            findings.append(f"{join(names)}: {meaning}.")
    if others:
        cut = CUTS[-1]
        best = max(whole, key=lambda name: whole[name].both[cut].value)
        scored = max(whole, key=lambda name: _f1(results[name]))
        also = (
            "and the highest F1 of the entities"
            if best == scored
            else f"the highest F1 of the entities “{part.titles[scored]}” "
            f"({percent(_f1(results[scored]))}, against {percent(_f1(results[best]))})"
        )
        recall = percent(whole[best].both[cut].value)
        findings.append(f"“{part.titles[best]}” has the highest recall ({recall}), {also}.")
    entities = [
        part.titles[name] for name in whole if measured[name][0]["alignment_level"] == "entity"
    ]
    if entities:
        findings.append(
            f"{join(entities)}: the loss aligns entities with patches; the vectors of whole "
            "sentences, which are compared here, are not what it trains."
        )
    return findings


def _finding(title: str, one: Retrieval, similarity: Score) -> str:
    cut = CUTS[-1]
    recall = one.both[cut]
    text = (
        f"“{title}”: of {one.candidates:.0f} candidates the own one is among the first {cut} in "
        f"{percent(recall.value)} % of the cases ({between(recall)}), by chance in "
        f"{percent(one.chance[cut])} %. {MEANINGS[one.verdict]}"
    )
    matched, mismatched = similarity.values
    nearer = similarity.comparison(1, 0).difference.low > 0
    text += (
        f" Own pairs are {'nearer than others' if nearer else 'not nearer than others'}: cosine "
        f"{matched:.3f} against {mismatched:.3f}."
    )
    return f"{text} Nearly all vectors point the same way." if mismatched > NEAR else text


def _figures(one: Retrieval) -> dict[str, Any]:
    return {
        "pairs": one.pairs,
        **{
            f"recall_at_{cut}": {**asdict(one.both[cut]), "chance": one.chance[cut]} for cut in CUTS
        },
    }
