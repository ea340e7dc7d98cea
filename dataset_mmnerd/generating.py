"""`2mner data generate`: generated sentences as a source of a data set.

>>> from dataset_mmnerd.build import build
>>> build(generated_source(["en", "de"], sentences=20_000, seed=7), None, "generated/")
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from .quoting import quoted
from .readers import LANGUAGE_FORM, is_language
from .sample import Plan
from .sample.embedded import (
    INTERNATIONAL,
    SAMPLE_LANGUAGES,
    embedded_frames,
    embedded_names,
    international_names,
)
from .sample.illustrations import Drawings, Illustrations, ImageFolder
from .sample.language import Language, WordsError
from .sample.rows import Writer
from .sample.splitting import SENTENCE_SHARES, Division, Shares, divide
from .sample.words import TextFile, own_files, read_language
from .schema import SPLITS, Row, in_usual_order
from .sources import Part, ReadOptions, Source, SourceError, check_shares

DRAWN = "drawn"
"""The name of the drawn images, in place of a folder."""

FRAMES, NAMES = "frames.txt", "names.txt"
"""The files of a language's folder."""

_ABOUT = (
    "This data set is generated: its sentences are filled frames, which nobody has labelled, and "
    "what they say is not true. {images}`decidable_from_text` is false if only the image tells "
    "the type. Seed {seed}, {sentences:,} sentences a language, from {words}."
)


def generated_source(
    languages: Sequence[str],
    *,
    sentences: int,
    seed: int = 19,
    shares: Sequence[int] | None = None,
    frames: Sequence[Path] = (),
    names: Sequence[Path] = (),
    images: Path | str | None = None,
) -> Source:
    """Generated sentences as a source for `build`.

    Args:
        languages: language codes. Those that are not embedded need `frames` and `names`.
        sentences: the number of sentences a language, over all splits.
        seed: the same seed gives the same data.
        shares: three weights, of train, validation and test; by default 70/13/17. Frames, invented
            names and a user's images are divided among the splits that have a weight.
        frames: files of frames in place of the embedded ones, or a folder with `LANG/frames.txt`.
        names: files of names in place of the embedded ones, or a folder with `LANG/names.txt`;
            `international` among them is the embedded file of that name.
        images: `drawn`, or a folder with a folder of images for each type; by default none.

    Raises:
        WordsError: if a file or folder has a fault.
        ImageError: if an image cannot be decoded.
        SourceError: if a language, a weight or a number cannot be.
    """
    if sentences < 1:
        raise SourceError(f"sentences: found {sentences}, expected at least 1")
    repeated = next((lang for lang in languages if languages.count(lang) > 1), None)
    if repeated is not None:
        raise SourceError(f"languages: found {quoted(repeated)} twice, expected it once")
    read = [_language(lang, frames, names, several=len(languages) > 1) for lang in languages]
    parts_of = _shares(shares)
    types = list(dict.fromkeys(name for language in read for name in language.entity_types()))
    illustrations = _illustrations(images, types, seed, parts_of)
    if illustrations is not None and len({*types} & {*illustrations.types}) < 2:
        found = f"images of {', '.join(illustrations.types)}"
        expected = f"at least two of the frames' types, {', '.join(types)}"
        raise WordsError(f"{images}: found {found}, expected {expected}")
    plan = Plan(seed, sentences, parts_of, illustrations)
    for split in SPLITS:
        if parts_of[split] and not plan.count(split):
            found = f"sentences: found {sentences}, of which {split} gets none"
            raise SourceError(f"{found}, expected more, or the weight 0 for {split}")
    divisions = divide(read, seed, parts_of)

    def rows(division: Division, split: str, number: int, labels: Sequence[str]) -> Iterator[Row]:
        return Writer(division, split, plan, number).rows()

    def find(data_dir: Path, options: ReadOptions) -> list[Part]:
        return [
            Part(split, division.language.lang, partial(rows, division, split, number))
            for number, division in enumerate(divisions)
            for split in SPLITS
            if plan.count(split)
        ]

    about = _ABOUT.format(
        images="" if images is None else _about_images(images),
        seed=seed,
        sentences=sentences,
        words="frames and names of this project"
        if not (frames or names)
        else "own frames or names",
    )
    return Source(find, tuple(in_usual_order(types)), about=about, is_sample=True)


def _about_images(images: Path | str) -> str:
    return "Its images are drawn. " if images == DRAWN else "Its images were chosen by type. "


def _shares(weights: Sequence[int] | None) -> Shares:
    if weights is None:
        return SENTENCE_SHARES
    check_shares(weights, "70/13/17")
    return {split: weight / sum(weights) for split, weight in zip(SPLITS, weights, strict=True)}


def _illustrations(
    images: Path | str | None, types: Sequence[str], seed: int, shares: Shares
) -> Illustrations | None:
    if images is None:
        return None
    return Drawings() if str(images) == DRAWN else ImageFolder(Path(images), types, seed, shares)


def _language(
    lang: str, frames: Sequence[Path], names: Sequence[Path], *, several: bool
) -> Language:
    """A language from the given files, or where there are none from the embedded ones."""
    if not is_language(lang):
        raise SourceError(f"languages: found {quoted(lang)}, expected {LANGUAGE_FORM}")
    known = SAMPLE_LANGUAGES
    for option, given in (("--frames", frames), ("--names", names)):
        if not given and lang not in known:
            expected = f"some of {', '.join(known)}, or {option}"
            raise SourceError(f"languages: found {quoted(lang)}, expected {expected}")
        if several and given and not given[0].is_dir():
            expected = f"a folder with a file for each language ({lang}/...)"
            raise SourceError(f"{option}: found {given[0]}, expected {expected}")
    return read_language(
        lang,
        _files(frames, lang, FRAMES) or embedded_frames(lang),
        _files(names, lang, NAMES) or embedded_names(lang),
    )


def _files(given: Sequence[Path], lang: str, name: str) -> list[tuple[TextFile, str]]:
    """The files for a language: those that are given, or that of a folder."""
    files: list[tuple[TextFile, str]] = []
    for path in given:
        if str(path) == INTERNATIONAL:
            files.append(international_names())
        else:
            files += own_files([path / lang / name if path.is_dir() else path])
    return files


__all__ = ["DRAWN", "generated_source"]
