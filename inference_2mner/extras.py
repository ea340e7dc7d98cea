"""Modules of libraries that are installed by an extra, such as `pip install "2mner[spacy]"`."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["MissingExtraError", "needed"]


class MissingExtraError(ImportError):
    """A library that is not installed, and the command that installs it, in one line."""


def needed(module: str, extra: str) -> ModuleType:
    """A module of a library that an extra installs.

    Args:
        module: such as "spacy.tokens".
        extra: the extra's name in setup.cfg.

    Raises:
        MissingExtraError: if the library is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise  # the library is there, and something that it needs is missing
        raise MissingExtraError(
            f'found no {library}, which this needs: pip install "2mner[{extra}]"'
        ) from error
