"""`MMNERD`: the sources of `sources.py` as a `datasets` builder, with Arrow files in its cache.

>>> builder = MMNERD(config_name="de", source="mmnerd", data_dir="MMNERD/")
>>> builder.download_and_prepare()
>>> builder.as_dataset(split="train")

`build.py` reads the same sources and writes Parquet shards instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import (
    BuilderConfig,
    DatasetInfo,
    GeneratorBasedBuilder,
    SplitGenerator,
    Version,
)

from .quoting import quoted, shorten
from .schema import ALL_LANGUAGES, Row
from .sources import DEFAULT_SHARES, OpenSource, ReadOptions, SourceError


@dataclass
class MMNERDConfig(BuilderConfig):
    """The configuration of `MMNERD`.

    `name` is a language of the source, or `all`. The other fields are arguments of `OpenSource` and
    `ReadOptions`.
    """

    version: Version = field(default_factory=lambda: Version("1.0.0"))
    source: str = "mmnerd"
    entity_types: tuple[str, ...] | None = None
    shares: tuple[int, ...] = DEFAULT_SHARES
    image_dir: str | None = None
    lang: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    tag_names: tuple[str, ...] | None = None
    config: str | None = None
    several_images: bool = False

    def open(self) -> OpenSource:
        return OpenSource(
            self.source,
            self.data_dir,
            entity_types=self.entity_types,
            shares=self.shares,
            options=ReadOptions(
                image_dir=None if self.image_dir is None else Path(self.image_dir),
                lang=self.lang,
                columns=self.columns,
                tag_names=self.tag_names,
                config=self.config,
                several_images=self.several_images,
            ),
        )

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """The id of `datasets`, extended by the size and time of each source file, so that a
        changed file is not read from an old cache.
        """
        stamps = []
        for part in self.open().parts:
            if part.path is not None:
                status = part.path.stat()
                stamps.append(f"{part.path} {status.st_size} {status.st_mtime_ns}")
        return super().create_config_id(config_kwargs | {"files": stamps}, custom_features)


class MMNERD(GeneratorBasedBuilder):
    """One configuration for each language of the source, and `all`."""

    BUILDER_CONFIG_CLASS = MMNERDConfig
    DEFAULT_WRITER_BATCH_SIZE = 100  # rows; each may carry an image

    config: MMNERDConfig

    def _info(self) -> DatasetInfo:
        opened = self.config.open()
        languages = opened.languages()
        if self.config.name not in (ALL_LANGUAGES, *languages):
            there = shorten(", ".join((ALL_LANGUAGES, *languages)))
            raise SourceError(f"config: found {quoted(self.config.name)}, expected one of {there}")
        return DatasetInfo(features=opened.features, description=opened.source.about)

    def _split_generators(self, dl_manager: Any) -> list[SplitGenerator]:
        splits = self.config.open().splits
        return [SplitGenerator(split, gen_kwargs={"split": split}) for split in splits]

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Row]]:
        languages = None if self.config.name == ALL_LANGUAGES else [self.config.name]
        for index, (split_of_row, row) in enumerate(self.config.open().rows(languages)):
            if split_of_row == split:
                yield index, {key: row[key] for key in self.info.features}


__all__ = ["MMNERD", "MMNERDConfig"]
