"""Bounds of the fields of a saved configuration or processor, and messages that name the field.

A damaged or malicious file must not hang the load or take all memory. Every size has bounds far
beyond every published encoder, which are checked before anything of that size is built.

    check_sizes("text_config", {"num_hidden_layers": 10**18})
    # ValueError: text_config.num_hidden_layers is 1000000000000000000, expected a whole number from
    # 1 to 512
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .labels_2mner import split_label
from .quoting_2mner import quoted, shorten

__all__ = [
    "check_labels",
    "check_normalisation",
    "check_number",
    "check_sizes",
    "check_whole",
]

MOST_LABELS = 1024
"""The CRF holds a score for each pair of labels."""

MOST_PARAMETERS = 2**37
"""137 billion; the largest published text models in use as encoders have 72 billion."""

MOST_LISTED = 512
"""The most values of one field: one for each stage or layer."""

SIZES: tuple[tuple[str, int], ...] = (
    (r"(layers?|blocks|depths?|repeats|stages)$", 512),
    (r"heads?$", 1024),
    (r"coefficient$", 100),  # EfficientNet multiplies its widths and depths; its largest has 3.6
    (r"vocab_size$|positions?(_embeddings)?$|buckets$", 2**24),
    (r"(image|patch|kernel|window|crop)_sizes?$|strides?$|(^|\.)(height|width)$|_edge$", 4096),
    (r"_pixels$", 2**24),
    (r"(_size|_sizes|dim|dims|d_model|n_embd|channels|groups|experts)$", 2**17),
)
"""Patterns of the names of size fields, over all kinds of encoders, and the bound of each."""

STANDARD_SIZES = (
    "vocab_size",
    "hidden_size",
    "hidden_sizes",
    "num_hidden_layers",
    "depths",
    "num_attention_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
    "num_channels",
)
"""Sizes that must be whole numbers of at least 1, in every configuration that has them."""

MAIN_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size")
"""The sizes from which the number of parameters is estimated."""


def check_whole(name: str, value: Any, least: int, most: int) -> None:
    """Require a whole number within bounds.

    Raises:
        ValueError: which names the field, what was found and what was expected.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(
            f"{name} is {quoted(value)}, expected a whole number from {least} to {most}"
        )


def check_number(
    name: str, value: Any, least: float, most: float, open_below: bool = False
) -> None:
    """Require a finite number within bounds; with `open_below` one above `least`.

    Raises:
        ValueError: which names the field, what was found and what was expected.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least <= value <= most  # false for NaN
        or (open_below and value == least)
    ):
        bounds = f"{'above' if open_below else 'at least'} {least:g} and at most {most:g}"
        raise ValueError(f"{name} is {quoted(value)}, expected a number {bounds}")


def check_labels(labels: Any) -> None:
    """Require a list of distinct labels of BIO or BIOES, "O" among them.

    Raises:
        ValueError: which names the label.
    """
    if isinstance(labels, str) or not isinstance(labels, Sequence):
        raise ValueError(f"labels is {quoted(labels)}, expected a list of label names")
    if len(labels) > MOST_LABELS:
        raise ValueError(f"there are {len(labels)} labels, expected at most {MOST_LABELS}")
    for label in labels:
        if not isinstance(label, str):
            raise ValueError(
                f"labels has {quoted(label)}, expected strings: 'O', or B-, I-, E- or S- and a type"
            )
        try:
            split_label(label)
        except ValueError as error:
            raise ValueError(f"labels: {shorten(str(error), 300)}") from error
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(
            f"labels must differ from one another, found {shorten(', '.join(twice))} more than once"
        )
    if "O" not in labels:
        raise ValueError(
            f"labels lack 'O', the label of a word outside entities: found {quoted(list(labels))}"
        )


def check_normalisation(name: str, mean: Any, std: Any) -> None:
    """Require a mean and a standard deviation for each of three channels.

    Args:
        name: what the fields' names begin with: "image" or "global_image".

    Raises:
        ValueError: which names the field.
    """
    for field, values in ((f"{name}_mean", mean), (f"{name}_std", std)):
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
            raise ValueError(f"{field} is {quoted(values)}, expected three numbers")
        for value in values:
            check_number(field, value, -1e3, 1e3)
            if field.endswith("_std"):
                check_number(field, value, 0, 1e3, open_below=True)


def check_sizes(
    name: str, values: Mapping[str, Any], attribute_map: Mapping[str, str] | None = None
) -> None:
    """Check every size in the configuration of an encoder against its bounds.

    Args:
        name: of the configuration in a message, such as "text_config".
        values: the configuration as it is saved; nested ones are checked too.
        attribute_map: the names of `STANDARD_SIZES` in this kind of configuration.

    Raises:
        ValueError: which names the field.
    """
    spelled = {(attribute_map or {}).get(size, size): size for size in STANDARD_SIZES}
    for key, value in values.items():
        field = f"{name}.{key}"
        if isinstance(value, Mapping):
            check_sizes(field, value)
        most = _most(spelled.get(key, str(key)))
        if most is None or value is None:
            continue
        numbers = value if isinstance(value, list | tuple) else [value]
        if len(numbers) > MOST_LISTED:
            raise ValueError(f"{field} has {len(numbers)} values, expected at most {MOST_LISTED}")
        for number in numbers:
            if key in spelled and not isinstance(number, Mapping):
                check_whole(field, number, 1, most)
            elif isinstance(number, int | float) and not isinstance(number, bool):
                check_number(field, number, -most, most)  # negative ones count from the end
    spelling = {size: key for key, size in spelled.items()}
    vocabulary, hidden, layers, inner = (
        value if isinstance(value := values.get(spelling[size]), int) else 0 for size in MAIN_SIZES
    )
    parameters = vocabulary * hidden + layers * hidden * (4 * hidden + 2 * inner)
    if parameters > MOST_PARAMETERS:
        sizes = zip(MAIN_SIZES, (vocabulary, hidden, layers, inner), strict=True)
        raise ValueError(
            f"{name}: {', '.join(f'{size} {value}' for size, value in sizes)} make {parameters} "
            f"parameters, expected at most {MOST_PARAMETERS}"
        )


def _most(size: str) -> int | None:
    """The bound of a field by its name; None if it is no size."""
    return next((most for name, most in SIZES if re.search(name, size)), None)
