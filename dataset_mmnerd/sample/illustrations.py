"""Images for generated sentences: drawings, or files of a user."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from dataset_mmnerd.files import IMAGE_SUFFIXES
from dataset_mmnerd.images import load_image, read_image
from dataset_mmnerd.schema import DEFAULT_ENTITY_TYPES, SPLITS

from .drawings import draw_image
from .language import WordsError, is_within
from .scenes import SCENES, SCENES_OF_KIND
from .splitting import Shares, divided, word_shares

NO_ENTITY = "O"
"""The folder, and the group of scenes, of images that show no entity."""


class Illustrations(Protocol):
    """Where images come from."""

    @property
    def types(self) -> tuple[str, ...]:
        """The entity types that it has images of, and perhaps `NO_ENTITY`."""
        ...

    def choose(self, kind: str, split: str, random: Random) -> str:
        """The scene or file for a section (`ORG.firm`), a type, or `NO_ENTITY`."""
        ...

    def make(self, chosen: str, name: str, random: Random, lines: Sequence[str]) -> dict[str, Any]:
        """The columns `image`, `image_id` and `object_box` of a row; `lines` are text for it."""
        ...


class Drawings:
    """Drawn scenes of the four types."""

    types: tuple[str, ...] = (*DEFAULT_ENTITY_TYPES, NO_ENTITY)

    def choose(self, kind: str, split: str, random: Random) -> str:
        fitting = next(
            (SCENES_OF_KIND[one] for one in SCENES_OF_KIND if is_within(kind, one)), None
        )
        return random.choice(fitting or sorted(SCENES[kind.partition(".")[0]]))

    def make(self, chosen: str, name: str, random: Random, lines: Sequence[str]) -> dict[str, Any]:
        drawing = draw_image(chosen, random, lines)
        image = {"bytes": drawing.jpeg, "path": None}
        return {"image": image, "image_id": f"{name}.jpg", "object_box": list(drawing.box)}


class ImageFolder:
    """A user's images, in a folder for each type: `PER/`, `LOC/`, and `O/` for no entity.

    They are divided among the splits, so that no image of one occurs in another under any name.

    Args:
        folder: the folder of these folders.
        types: the types that the sentences have.
        seed: of the division.
        shares: of the splits.

    Raises:
        WordsError: if a folder is of no type, is empty, or has fewer images than there are splits.
        ImageError: if an image cannot be decoded.
    """

    def __init__(self, folder: Path, types: Sequence[str], seed: int, shares: Shares) -> None:
        self._files: dict[tuple[str, str], list[str]] = {}
        expected = f"a folder with images for each of {', '.join(types)}, and perhaps {NO_ENTITY}/"
        folders = _folders(folder)
        if not folders:
            raise WordsError(f"{folder}: found no folder in it, expected {expected}")
        placed: dict[str, str] = {}
        for below in folders:
            if below.name not in (*types, NO_ENTITY):
                raise WordsError(f"{below}: found a folder of no type, expected {expected}")
            files = _images_by_content(below)
            try:
                parts = divided(
                    [*files], Random(f"{seed} {below.name}"), word_shares(shares), placed
                )
            except ValueError as error:
                wanted = "different images, which are divided among the splits"
                raise WordsError(f"{below}: {error} {wanted}") from None
            placed |= {content: split for split in SPLITS for content in parts[split]}
            for split in SPLITS:
                self._files[below.name, split] = [files[content] for content in parts[split]]
        self.types = tuple(below.name for below in folders)

    def choose(self, kind: str, split: str, random: Random) -> str:
        return random.choice(self._files[kind.partition(".")[0], split])

    def make(self, chosen: str, name: str, random: Random, lines: Sequence[str]) -> dict[str, Any]:
        return {"image": chosen, "image_id": Path(chosen).name, "object_box": None}


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.is_dir())
    return sorted(path for path in found if not path.name.startswith("."))


def _images_by_content(folder: Path) -> dict[str, str]:
    """The first file of each content, by its digest. All are decoded once."""
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            content = read_image(path)
            load_image(content, name=str(path), smallest_side=1)
            found.setdefault(hashlib.sha256(content).hexdigest(), str(path))
    return found


__all__ = ["NO_ENTITY", "Drawings", "Illustrations", "ImageFolder"]
