"""The project's entity scores as an `evaluate` module.

    mmner = evaluate.load("metrics/mmner")
    mmner.compute(predictions=[["B-PER", "O"]], references=[["B-PER", "O"]])["overall"]["f1"]

What is unusual: nothing is computed here. `labels_2mner.py` and `metrics.py` beside this file are
the very files that the model and the training use (links, in the repository), and need nothing but
the standard library.
"""

from typing import Any

import datasets
import evaluate

from .labels_2mner import spans_from_labels
from .metrics import f1_both_views, score

_DESCRIPTION = """\
Exact-span scores for named entities: an entity is right when its first word, its last word and its
type are right, as in `seqeval` with `mode="strict"` and `scheme=IOB2`. Overall, by type, by
language, boundaries alone, with and without an image, and for entities that only an image can
type.
"""

_INPUTS = """
Args:
    predictions: for each sentence the predicted label of each word, in BIO or BIOES.
    references: the same, as they should be.
    languages: each sentence's language (optional).
    has_image: whether each sentence comes with an image (optional).
    decidable_from_text: False where only the image says of what type a sentence's entities are
        (optional).
    text_view: the labels predicted from the words alone (optional).

Returns:
    `overall`, `by_type` and `boundaries` (types ignored), each of `precision`, `recall`, `f1`,
    `correct`, `predicted`, `gold`; with `languages` also `by_language` and `mean_over_languages`;
    with `has_image` also `by_image`; with `decidable_from_text` also `image_decided`; with
    `text_view` also the same under `text_view`, and `f1_both_views`, the mean of the two F1.

Examples:
    >>> mmner = evaluate.load("metrics/mmner")
    >>> scores = mmner.compute(
    ...     predictions=[["B-PER", "I-PER", "O"], ["O", "B-LOC"]],
    ...     references=[["B-PER", "I-PER", "O"], ["O", "B-ORG"]],
    ... )
    >>> scores["overall"]["f1"], scores["boundaries"]["f1"]
    (0.5, 1.0)
"""

_CITATION = """\
@article{wang2024mmner,
  title = {{2M-NER}: Contrastive Learning for Multilingual and Multimodal {NER} with Language and
           Modal Fusion},
  author = {Wang, Dongsheng and Feng, Xiaoqin and Liu, Zeming and Wang, Chuan},
  journal = {arXiv preprint arXiv:2404.17122},
  year = {2024}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class MMNER(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        labels = datasets.List(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": labels, "references": labels}),
        )

    def _compute(
        self,
        predictions: list[list[str]],
        references: list[list[str]],
        languages: list[str] | None = None,
        has_image: list[bool] | None = None,
        decidable_from_text: list[bool] | None = None,
        text_view: list[list[str]] | None = None,
    ) -> dict[str, Any]:
        """The scores of labels.

        Raises:
            ValueError: if a sentence has not as many predicted labels as it should, one of them is
                no label, or a column has another length.
        """
        columns = (languages, has_image, decidable_from_text)
        scores = _scores(predictions, references, *columns)
        if text_view is not None:
            alone = scores["text_view"] = _scores(text_view, references, *columns)
            scores["f1_both_views"] = f1_both_views(scores, alone)
        return scores


def _scores(
    predictions: list[list[str]], references: list[list[str]], *columns: list | None
) -> dict[str, Any]:
    if len(predictions) != len(references):
        raise ValueError(
            f"there are predicted labels of {len(predictions)} sentences, expected "
            f"{len(references)}"
        )
    for number, (said, right) in enumerate(zip(predictions, references, strict=True)):
        if len(said) != len(right):
            raise ValueError(
                f"sentence {number} has {len(said)} predicted labels, expected {len(right)}"
            )
    gold, predicted = (
        [spans_from_labels(labels) for labels in side] for side in (references, predictions)
    )
    return score(gold, predicted, *columns)
