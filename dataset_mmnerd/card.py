"""The data card: `README.md`, written from the data, with a chart and a strip of images.

Licence and source are those of the command line, or "not stated". Words of the data are escaped, so
that they are never read as markup.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import DatasetInfo, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard, DatasetCardData

from .build_report import BuildReport
from .card_images import image_strip, label_chart
from .card_reading import dataset_infos, read_card
from .files import write_text
from .markdown import code, escaped, listed, table
from .schema import ALL_LANGUAGES, LANGUAGES, SPLITS, Row, entity_types
from .sources import OpenSource

_CONTEXT_HEADING = "\n## Text made from the images\n"
_TEMPLATE = Path(__file__).with_name("card_template.md")
_MOST_EXAMPLES = 6
_EXAMPLE_WORDS = 40


@dataclass(frozen=True)
class CardFacts:
    """Facts that the data does not contain. `license` is a Hub licence id such as `cc-by-4.0`."""

    title: str
    license: str | None = None
    origin: str | None = None


def write_card(
    folder: Path, name: str, opened: OpenSource, report: BuildReport, facts: CardFacts
) -> None:
    """Write `README.md` and `assets/` into a folder whose shards are written.

    Args:
        folder: the folder.
        name: its final name, for the `load_dataset` example.
        opened: the source.
        report: the counts of the build.
        facts: title, licence and origin.
    """
    (folder / "assets").mkdir()
    languages = sorted({lang for lang, _ in report.parts})
    types = entity_types(report.labels)
    counts = {lang: _entity_counts(report, lang) for lang in languages}
    (folder / "assets" / "labels.png").write_bytes(label_chart(counts, types))
    examples = _chosen(report)
    if examples:
        image_strip([image for _, image in examples]).save(folder / "assets" / "examples.png")
    written = [part.written for part in report.parts.values()]
    images = sum(part.images for part in report.parts.values())
    card = DatasetCard.from_template(
        card_data=_metadata(opened, report, languages, facts),
        template_path=str(_TEMPLATE),
        title=escaped(facts.title),
        name=code(name),
        name_on_the_hub=code(f"owner/{name}"),
        python_name=json.dumps(name),
        first_language=json.dumps(languages[0]),
        sentences=f"{sum(part.rows for part in written):,}",
        images=f"{images:,}" if images else "",
        languages=listed([LANGUAGES.get(lang, escaped(lang)) for lang in languages]),
        about=opened.source.about,
        is_sample=opened.source.is_sample,
        several_images=opened.several_images,
        license=escaped(facts.license or "not stated"),
        origin=escaped(facts.origin or "not stated"),
        labels=", ".join(map(code, report.labels)),
        size_table=_size_table(report, languages),
        entity_table=_entity_table(report, languages, types),
        examples=[_marked(row) for row, _ in examples],
        shards=sum(len(part.shards) for part in written),
        image_storage=_storage(report),
        warnings=[
            f"{count:,} {escaped(kind)}; the first: {escaped(report.first[kind])}"
            for kind, count in report.warnings.items()
        ],
        audit=_audit_table(report),
    )
    card.save(folder / "README.md")


def update_card(folder: Path, context: str, sizes: Mapping[tuple[str, str], int]) -> None:
    """Replace the section about the columns made from images in a data card, and its sizes.

    Args:
        folder: the data set's folder, with its card.
        context: the new text of the section.
        sizes: the size of the rows for a reader in bytes, by language and split.
    """
    card = read_card(folder)
    _update_sizes(folder, card, sizes)
    before, heading, behind = card.text.partition(_CONTEXT_HEADING)
    if heading:
        behind = behind[behind.find("\n## ") :] if "\n## " in behind else ""
    else:
        before, heading, behind = card.text.partition("\n## Sizes\n")
        behind = heading + behind
    card.text = f"{before}{_CONTEXT_HEADING}\n{context}{behind}"
    write_text(folder / "README.md", str(card))


def _update_sizes(folder: Path, card: DatasetCard, sizes: Mapping[tuple[str, str], int]) -> None:
    infos = dataset_infos(folder, card)
    for name, info in infos.items():
        chosen = {lang for lang, _ in sizes if name in (ALL_LANGUAGES, lang)}
        info.splits = info.splits or SplitDict()
        for split in info.splits.values():
            split.num_bytes = sum(sizes.get((lang, split.name), 0) for lang in chosen)
        info.dataset_size = sum(split.num_bytes for split in info.splits.values())
        folders = (folder / "data" / lang for lang in chosen)
        shards = (path for each in folders for path in each.glob("*.parquet"))
        info.download_size = sum(path.stat().st_size for path in shards)
    infos.to_dataset_card_data(card.data)


# Metadata -----------------------------------------------------------------------------------------


def _metadata(
    opened: OpenSource, report: BuildReport, languages: Sequence[str], facts: CardFacts
) -> DatasetCardData:
    """The YAML metadata: configurations, splits, sizes and features."""
    infos, configs = {}, []
    for name in (ALL_LANGUAGES, *languages):
        chosen = languages if name == ALL_LANGUAGES else [name]
        splits, data_files = [], []
        for split in SPLITS:
            parts = [report.parts[lang, split] for lang in chosen if (lang, split) in report.parts]
            if not parts:
                continue
            written = [part.written for part in parts]
            size = sum(part.expanded_bytes for part in written)
            rows = sum(part.rows for part in written)
            splits.append(SplitInfo(split, num_bytes=size, num_examples=rows))
            glob = "*" if name == ALL_LANGUAGES else name
            data_files.append({"split": split, "path": f"data/{glob}/{split}-*.parquet"})
        stored = [p.written.stored_bytes for (lang, _), p in report.parts.items() if lang in chosen]
        by_name = SplitDict()
        for split in splits:
            by_name.add(split)
        infos[name] = DatasetInfo(
            config_name=name,
            features=opened.features,
            splits=by_name,
            dataset_size=sum(split.num_bytes for split in splits),
            download_size=sum(stored),
        )
        default = {"default": True} if name == ALL_LANGUAGES else {}
        configs.append({"config_name": name, **default, "data_files": data_files})
    sentences = sum(part.written.rows for part in report.parts.values())
    data = DatasetCardData(
        language=[lang for lang in languages if lang in LANGUAGES],
        license=facts.license,
        pretty_name=facts.title,
        task_categories=["token-classification"],
        task_ids=["named-entity-recognition"],
        size_categories=[_size_category(sentences)],
        configs=configs,
    )
    DatasetInfosDict(infos).to_dataset_card_data(data)
    return data


def _size_category(count: int) -> str:
    """The Hub's name for a number of rows: `1K<n<10K` and so on."""
    if count < 1000:
        return "n<1K"
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    step = min(len(str(count)) - 4, len(names) - 2)
    return f"{names[step]}<n<{names[step + 1]}"


# Tables -------------------------------------------------------------------------------------------


def _size_table(report: BuildReport, languages: Sequence[str]) -> str:
    rows = []
    for lang in languages:
        for split in SPLITS:
            if (lang, split) in report.parts:
                part = report.parts[lang, split]
                numbers = [part.written.rows, part.words, part.entities.total(), part.images]
                rows.append([f"{LANGUAGES.get(lang, lang)}, {split}", *numbers])
    return table(["", "sentences", "words", "entities", "with image"], rows)


def _entity_counts(report: BuildReport, lang: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (part_lang, _), part in report.parts.items():
        if part_lang == lang:
            counts.update(part.entities)
    return counts


def _entity_table(report: BuildReport, languages: Sequence[str], types: Sequence[str]) -> str:
    rows = []
    for lang in languages:
        counts = _entity_counts(report, lang)
        rows.append([LANGUAGES.get(lang, lang), *(counts[name] for name in types)])
    return table(["", *types], rows)


def _storage(report: BuildReport) -> str:
    shown = sum(part.written.image_bytes for part in report.parts.values())
    stored = sum(part.written.distinct_image_bytes for part in report.parts.values())
    if not shown:
        return "there are none"
    return f"{stored / 2**20:,.1f} MiB of images instead of {shown / 2**20:,.1f} MiB"


def _audit_table(report: BuildReport) -> str:
    if report.audit is None:
        return "No audit was made (`2mner data audit`)."
    found = [finding for finding in report.audit.findings if finding.count]
    if not found:
        return "The audit found nothing."
    rows = [
        [finding.check, finding.severity, finding.count, finding.of, finding.meaning]
        for finding in found
    ]
    return "The audit (`audit.json` has examples):\n\n" + table(
        ["check", "severity", "found", "of", "meaning"], rows
    )


# Examples ----------------------------------------------------------------------------------


def _chosen(report: BuildReport) -> list[tuple[Row, bytes]]:
    """A few of the report's examples, of many languages and entity types."""
    left = list(report.examples)
    chosen: list[tuple[Row, bytes]] = []
    used: Counter[str] = Counter()
    while left and len(chosen) < _MOST_EXAMPLES:
        best = min(left, key=lambda example: sum(used[trait] for trait in _traits(example[0])))
        left.remove(best)
        chosen.append(best)
        used.update(_traits(best[0]))
    return chosen


def _traits(row: Row) -> list[str]:
    return [row["lang"], next(tag for tag in row["ner_tags"] if tag.startswith("B-"))]


def _marked(row: Row) -> str:
    """A sentence as Markdown, with its entities in bold and their types."""
    words: list[tuple[str, str]] = []  # each with its entity type, or ""
    for token, tag in zip(row["tokens"], row["ner_tags"], strict=True):
        if tag.startswith("I-") and words:
            words[-1] = (f"{words[-1][0]} {escaped(token)}", words[-1][1])
        else:
            words.append((escaped(token), escaped(tag[2:])))
    shown = [f"**{text}** ({entity_type})" if entity_type else text for text, entity_type in words]
    shown = shown if len(shown) <= _EXAMPLE_WORDS else [*shown[:_EXAMPLE_WORDS], "…"]
    return f"({escaped(row['lang'])}) {' '.join(shown)}"


__all__ = ["CardFacts", "update_card", "write_card"]
