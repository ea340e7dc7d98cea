"""Checks of the files of a saved processor; every error names the file."""

from .requirements_2mner import LEAST_TRANSFORMERS  # noqa: F401 -- first: it checks the version

# isort: split

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers.utils import cached_file

from .checks_2mner import check_normalisation, check_sizes
from .quoting_2mner import quoted, shorten

__all__ = ["naming_files", "read_processor_files"]

PROCESSOR = "processor_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER = "tokenizer.json"

WHERE = ("cache_dir", "local_files_only", "revision", "subfolder", "token")
"""The arguments of `from_pretrained` that determine where the files are."""


def read_processor_files(name: str, arguments: dict[str, Any]) -> dict[str, Path]:
    """Find the files of a saved processor, and check what the library would load without an error:
    a tokenizer without `tokenizer.json`, for instance, reads every word as unknown.

    Args:
        name: folder, or name on the Hub.
        arguments: of `from_pretrained`.

    Returns:
        The file by its name.

    Raises:
        OSError: if a file is missing or is no JSON object.
        ValueError: if a size of the image processor is out of bounds.
    """
    where = {key: arguments[key] for key in WHERE if key in arguments}
    files = {}
    for file in (PROCESSOR, TOKENIZER_CONFIG, TOKENIZER):
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **where)
        if found is None:
            raise OSError(f"{name}: no file named {file}, which a saved processor has")
        files[file] = Path(found)
    config = _read(files[PROCESSOR])
    image_processor = config.get("image_processor")
    if not isinstance(image_processor, dict):
        raise ValueError(
            f"{files[PROCESSOR]}: image_processor is {quoted(image_processor)}, expected an object"
        )
    try:
        check_sizes("image_processor", image_processor)
        for size in ("size", "crop_size"):
            if isinstance(image_processor.get(size), int):
                check_sizes("image_processor", {f"{size}.height": image_processor[size]})
        if image_processor.get("image_mean") is not None:
            check_normalisation(
                "image", image_processor["image_mean"], image_processor.get("image_std")
            )
    except ValueError as error:
        raise ValueError(f"{files[PROCESSOR]}: {error}") from error
    tokenizer = _read(files[TOKENIZER_CONFIG])
    if not isinstance(tokenizer.get("tokenizer_class"), str):
        raise ValueError(
            f"{files[TOKENIZER_CONFIG]}: tokenizer_class is "
            f"{quoted(tokenizer.get('tokenizer_class'))}, expected the name of a class"
        )
    if tokenizer.get("pad_token", "") is None:
        raise ValueError(f"{files[TOKENIZER_CONFIG]}: pad_token is null, expected a token")
    return files


@contextmanager
def naming_files(files: dict[str, Path]) -> Iterator[None]:
    """Turn an error in loading a processor into one that names the file.

    Raises:
        OSError: if `tokenizer.json` is broken.
        ValueError: if the tokenizer cannot be built, or a field of the processor is wrong.
    """
    try:
        yield
    except Exception as error:  # the tokenizers library raises no other class
        reason = shorten(str(error), 300) or type(error).__name__
        _check_tokenizer(files[TOKENIZER])
        # A field is wrong. The library reads the tokenizer's fields in these two modules.
        places = {Path(frame).name for frame in _frames(error)}
        file = PROCESSOR
        if places & {"tokenization_auto.py", "tokenization_utils_base.py"}:
            file = TOKENIZER_CONFIG
        raise ValueError(f"{files[file]}: {reason}") from error


def _frames(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename
        trace = trace.tb_next


def _check_tokenizer(path: Path) -> None:
    _read(path)
    try:
        Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no other class
        raise OSError(f"{path} is broken: {shorten(str(error), 300)}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise OSError(f"{path} is broken: {shorten(str(error))}") from error
    if not isinstance(content, dict):
        raise OSError(f"{path} is broken: it holds {quoted(content)}, expected an object")
    return content
