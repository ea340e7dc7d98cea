"""Images for generated sentences: drawings, or files of a user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from dataset_mmnerd.files import IMAGE_SUFFIXES
from dataset_mmnerd.schema import DEFAULT_ENTITY_TYPES, SPLITS

from .drawings import draw_image
from .scenes import SCENES, SCENES_OF_KIND
from .splitting import Shares, divided, word_shares
from .words import WordsError, is_within

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

    They are divided among the splits, so that no image of one occurs in another.

    Args:
        folder: the folder of these folders.
        seed: of the division.
        shares: of the splits.

    Raises:
        WordsError: if the folder has no folder with images, or one with fewer images than splits.
    """

    def __init__(self, folder: Path, seed: int, shares: Shares) -> None:
        self._files: dict[tuple[str, str], list[str]] = {}
        found = (
            sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        )
        types = []
        for below in found:
            files = sorted(
                str(path)
                for path in below.iterdir()
                if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
            )
            if not files:
                continue
            types.append(below.name)
            try:
                parts = divided(files, Random(f"{seed} {below.name}"), word_shares(shares))
            except ValueError as error:
                expected = "images, which are divided among the splits"
                raise WordsError(f"{below}: {error} {expected}") from None
            for split in SPLITS:
                self._files[below.name, split] = parts[split]
        if not types:
            expected = "a folder with images for each type, such as PER/"
            raise WordsError(f"{folder}: found no folder with images, expected {expected}")
        self.types = tuple(types)

    def choose(self, kind: str, split: str, random: Random) -> str:
        return random.choice(self._files[kind.partition(".")[0], split])

    def make(self, chosen: str, name: str, random: Random, lines: Sequence[str]) -> dict[str, Any]:
        return {"image": chosen, "image_id": Path(chosen).name, "object_box": None}


__all__ = ["NO_ENTITY", "Drawings", "Illustrations", "ImageFolder"]
