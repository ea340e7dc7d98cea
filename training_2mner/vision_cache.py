"""A cache on disk of the features that frozen vision encoders compute of each distinct image.

    trainer.data_collator.features = cache_vision_features(trainer, [data["train"], data["test"]])

Images are identified by their content, encoders by weights, configuration and image preparation;
each set of encoders has its own folder. The features are float16 in memory-mapped Arrow files of a
few hundred images, written whole, so that a killed run loses at most one file.

Shapes: `B` sentences, `I` images of a sentence, `P` patches, `C` an encoder's feature size, as in
the model's `read_images`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from dataset_mmnerd.files import replaced
from dataset_mmnerd.image_lists import images_of_row
from dataset_mmnerd.shards import image_digest

from .arguments import RecipeError, TwoMNERTrainingArguments

__all__ = [
    "VISION_ENCODERS",
    "VisionCache",
    "add_weights",
    "cache_folder",
    "encoder_digest",
    "read_images_once",
]

logger = logging.getLogger(__name__)

VISION_ENCODERS = ("vision_model", "global_vision_model")
FILE_IMAGES = 512
"""Images of one file: at most so many are computed again after a kill."""
CPU_IMAGES = 8
"""At most so many are read at once on a CPU: the states of more do not stay in its caches, and each
image takes up to twice as long."""

Place: TypeAlias = tuple[Sequence[Any], int, int]
"""A sequence of rows, the number of one, and the number of an image of it."""


# Names --------------------------------------------------------------------------------------------


def encoder_digest(model: nn.Module, processor: ProcessorMixin) -> str:
    """A digest of a model's vision encoders: weights, configurations and image preparation.

    Args:
        model: a `TwoMNERModel`.
        processor: its processor.
    """
    digest = hashlib.sha256()
    prepared = {
        key: value for key, value in processor.image_processor.to_dict().items() if key[0] != "_"
    }
    digest.update(json.dumps(prepared, sort_keys=True, default=str).encode())
    for name in VISION_ENCODERS:
        encoder: PreTrainedModel | None = getattr(model, name)
        if encoder is not None:
            digest.update(encoder.config.to_json_string(use_diff=False).encode())
            add_weights(digest, encoder)
    return digest.hexdigest()


def add_weights(digest: Any, module: nn.Module) -> None:
    """Add the names and values of all parameters and buffers to a digest of `hashlib`."""
    for key, value in module.state_dict().items():
        digest.update(key.encode())
        digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy())


# Reading ------------------------------------------------------------------------------------------


class VisionCache:
    """The vision features that are stored in a folder.

    Args:
        folder: of one set of encoders; it may hold nothing yet.

    Raises:
        RecipeError: if a file in it is broken.
    """

    def __init__(self, folder: Path) -> None:
        self._place: dict[str, tuple[dict[str, np.ndarray] | None, int]] = {}
        self._digests: dict[str, str | None] = {}  # of files, by path
        self._blank: dict[str, np.ndarray] | None = None
        for path in sorted(folder.glob("*.arrow")):
            try:
                table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
                features = _arrays(table)
            except (pa.ArrowInvalid, KeyError, ValueError) as error:
                raise RecipeError(
                    f"{path}: broken, delete it to have it made again: {error}"
                ) from error
            self._blank = self._blank or features
            readable = table["readable"].to_pylist()
            for row, key in enumerate(table["image"].to_pylist()):
                self._place[key] = (features if readable[row] else None, row)

    def __contains__(self, digest: str) -> bool:
        return digest in self._place

    def __len__(self) -> int:
        return len(self._place)

    def of(self, images: Sequence[Any]) -> dict[str, Any] | None:
        """The features of some images, as the model takes them in place of `pixel_values`.

        Args:
            images: `B`, each as for `image_digest`, or a list of such.

        Returns:
            `vision_features` in float16, zeros where there is no image or none that can be read;
            `image_mask` `[B]`; and `image_ids` `[B]`, a number for the content of each. If some
            sentence has several images, they are `[B, I]`, and the features have these dimensions.
            None if one of the images is not in the cache.
        """
        rows = [images_of_row(image) for image in images]
        most = max([1, *map(len, rows)])
        places = [own[place] if place < len(own) else None for own in rows for place in range(most)]
        digests = [self.digest(image) for image in places]
        if self._blank is None or any(key not in self for key in digests if key is not None):
            return None
        found = [(None, 0) if key is None else self._place[key] for key in digests]
        image_mask = torch.tensor([features is not None for features, _ in found])
        ids = [0 if key is None else int(key[:16], 16) - 2**63 for key in digests]
        image_ids = torch.tensor(ids) * image_mask
        batch: dict[str, Tensor] = {}
        for name, like in self._blank.items():
            values = np.zeros((len(found), *like.shape[1:]), np.float16)
            for row, (features, place) in enumerate(found):
                if features is not None:
                    values[row] = features[name][place]
            batch[name] = torch.from_numpy(values)
        if most > 1:
            image_mask = image_mask.unflatten(0, (-1, most))
            image_ids = image_ids.unflatten(0, (-1, most))
            batch = {name: values.unflatten(0, (-1, most)) for name, values in batch.items()}
        return {"vision_features": batch, "image_mask": image_mask, "image_ids": image_ids}

    def digest(self, image: Any) -> str | None:
        """`image_digest`, each file read only once."""
        path = image
        if isinstance(image, dict):
            path = image["path"] if image.get("bytes") is None else None
        if not isinstance(path, str | Path):
            return image_digest(image)
        if str(path) not in self._digests:
            self._digests[str(path)] = image_digest(path)
        return self._digests[str(path)]


def _arrays(table: pa.Table) -> dict[str, np.ndarray]:
    """The features of a file, as views of the mapped memory."""
    shapes = json.loads(table.schema.metadata[b"shapes"])
    arrays = {}
    for name, shape in shapes.items():
        (chunk,) = table[name].chunks
        arrays[name] = chunk.values.to_numpy(zero_copy_only=True).reshape(len(chunk), *shape)
    return arrays


# Writing ------------------------------------------------------------------------------------------


def cache_folder(arguments: TwoMNERTrainingArguments) -> Path:
    """Where the caches of a run lie."""
    folder = Path(str(arguments.output_dir))
    return Path(arguments.vision_cache_dir or folder / "vision_features")


def read_images_once(
    model: nn.Module,
    processor: ProcessorMixin,
    sources: Iterable[Sequence[Any]],
    folder: Path,
    batch_size: int,
    process: int = 0,
    processes: int = 1,
    wait: Callable[[], Any] = lambda: None,
    quiet: bool = False,
) -> VisionCache:
    """Bring a cache up to date with some images, and open it.

    Args:
        model: a `TwoMNERModel`.
        processor: its processor.
        sources: images, or lists of them, in any number, with repetitions, None among them. They
            are taken from their sequences when they are read, not before.
        folder: where the caches of all encoders lie; this one's is a folder in it.
        batch_size: images that are read at once, on a CPU at most `CPU_IMAGES`.
        process, processes: whose part of the work is done here.
        wait: returns when all processes have come to it.
        quiet: show no progress.
    """
    folder = folder / encoder_digest(model, processor)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    known = VisionCache(folder)
    missing: dict[str, Place] = {}
    for source in sources:
        for row, images in enumerate(source):
            for number, image in enumerate(images_of_row(images)):
                digest = known.digest(image)
                if digest is not None and digest not in known:
                    missing.setdefault(digest, (source, row, number))
    wait()  # until then nobody writes, so that all find the same images missing
    mine = list(missing.items())[process::processes]
    with tqdm(total=len(mine), desc="images", disable=quiet or process > 0) as progress:
        for first in range(0, len(mine), FILE_IMAGES):
            file = mine[first : first + FILE_IMAGES]
            _write(folder, list(_read(model, processor, file, batch_size, progress)))
    wait()
    logger.info("%d images read, the features of all are in %s", len(missing), folder)
    return VisionCache(folder)


@torch.no_grad()
def _read(
    model: nn.Module,
    processor: ProcessorMixin,
    images: Sequence[tuple[str, Place]],
    batch_size: int,
    progress: tqdm,
) -> Iterator[tuple[list[str], Tensor, dict[str, Tensor]]]:
    """Digests, which of them could be read, and the features of all, batch by batch."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    if device.type == "cpu":
        batch_size = min(batch_size, CPU_IMAGES)
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        given = [images_of_row(source[row])[number] for _, (source, row, number) in batch]
        inputs = processor([["."]] * len(batch), images=given)
        features = cast(Any, model).read_images(inputs["pixel_values"].to(device))
        yield (
            [digest for digest, _ in batch],
            inputs["image_mask"],
            {name: _half(name, values) for name, values in features.items()},
        )
        progress.update(len(batch))
    model.train(was_training)


def _half(name: str, values: Tensor) -> Tensor:
    """Features as float16, in the main memory.

    Raises:
        RecipeError: if one of them is too large for it, or is not finite.
    """
    halved = values.half()
    if not halved.isfinite().all():
        raise RecipeError(
            f"cache_vision_features: {name} has a value of {values.abs().max().item():g}, expected "
            f"at most float16's {torch.finfo(torch.float16).max:g}; set cache_vision_features to "
            "false"
        )
    return halved.cpu()


def _write(folder: Path, batches: list[tuple[list[str], Tensor, dict[str, Tensor]]]) -> None:
    """Write one file; it has its name when it is whole."""
    digests = [digest for names, _, _ in batches for digest in names]
    columns = {
        "image": pa.array(digests),
        "readable": pa.array([bool(value) for _, readable, _ in batches for value in readable]),
    }
    shapes = {}
    for name in batches[0][2]:
        values = torch.cat([features[name] for _, _, features in batches])
        shapes[name] = list(values.shape[1:])
        flat = pa.array(values.reshape(-1).numpy())
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, values[0].numel())
    table = pa.table(columns).replace_schema_metadata({"shapes": json.dumps(shapes)})
    with (
        replaced(folder / f"{digests[0][:16]}.arrow") as unfinished,
        pa.ipc.new_file(str(unfinished), table.schema) as file,
    ):
        file.write_table(table)
