"""The command line: build or generate a data set, fill its visual context, audit it, push it.

2mner data build --source mmnerd --data-dir MMNERD/ --out mmnerd/
2mner data build --source sample --out mmnerd/
2mner data generate --languages en de --sentences 20000 --out generated/
2mner data context mmnerd/ --objects backbones/tagger --ocr tesseract
2mner data audit mmnerd/ --against twitter2017/
2mner data push mmnerd/ --repo-id me/mmnerd --private
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .audit import audit
from .build import build
from .build_report import BuildReport
from .card import CardFacts
from .columns import parse_columns
from .context_folder import fill_context
from .extractors import Captioner, Extractor, ObjectTagger, TesseractReader
from .files import check_replaceable, recover_folder, write_text
from .generating import generated_source
from .ppocr import PPOCRReader
from .push import push
from .sample import SAMPLE_LANGUAGES
from .sources import SOURCES, ReadOptions


def _shares(text: str) -> tuple[int, ...]:
    try:
        shares = tuple(int(share) for share in text.split("/"))
    except ValueError:
        shares = ()
    if len(shares) != 3:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected weights such as 80/10/10")
    return shares


def parser(prog: str = "2mner data") -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = argparse.ArgumentParser(
        prog=prog,
        description="Build, check and publish data sets of sentences with images and entities.",
        epilog=f"example: {prog} build --source sample --out mmnerd/",
    )
    commands = top.add_subparsers(dest="command", required=True)

    command = commands.add_parser(
        "build",
        help="make a data set folder from files",
        epilog=f"example: {prog} build --source conll --data-dir my_data/ --out my_set/",
    )
    command.add_argument("--source", required=True, choices=SOURCES)
    command.add_argument(
        "--data-dir",
        type=Path,
        help="a folder, a file, an archive, or a data set's name",
    )
    command.add_argument("--config", help="of a data set (--source dataset)")
    command.add_argument("--image-dir", type=Path, help="the images, if elsewhere")
    command.add_argument(
        "--several-images", action="store_true", help="of the sample: three images a sentence"
    )
    command.add_argument("--out", type=Path, required=True, help="the new folder")
    command.add_argument("--languages", nargs="+", metavar="LANG", help="take only these")
    command.add_argument("--language", metavar="LANG", help="of data that does not name its own")
    command.add_argument(
        "--columns", nargs="+", metavar="COLUMN=NAME", help="other names, such as tokens=words"
    )
    command.add_argument(
        "--tag-names", nargs="+", metavar="LABEL", help="the labels of numbers, in order"
    )
    command.add_argument("--entity-types", nargs="+", metavar="TYPE", help="refuse all others")
    command.add_argument("--split", type=_shares, default=(80, 10, 10), metavar="80/10/10")
    command.add_argument("--title", help="for the data card; default: the folder's name")
    command.add_argument("--license", help="a licence id of the Hub, for the data card")
    command.add_argument("--origin", help="where the data comes from, for the data card")
    command.add_argument("--no-audit", action="store_true", help="only build")
    command.add_argument("--strict", action="store_true", help="warnings are errors")
    command.add_argument("--overwrite", action="store_true", help="replace the folder")

    command = commands.add_parser(
        "generate",
        help="make a data set folder of generated sentences",
        epilog=f"example: {prog} generate --languages en de --sentences 20000 --out generated/",
    )
    known = ", ".join(SAMPLE_LANGUAGES)
    command.add_argument(
        "--languages",
        nargs="+",
        metavar="LANG",
        required=True,
        help=f"{known}, or any with --frames and --names",
    )
    command.add_argument(
        "--sentences", type=int, default=1000, metavar="N", help="a language, over all splits"
    )
    command.add_argument("--seed", type=int, default=19, metavar="N")
    command.add_argument("--out", type=Path, required=True, help="the new folder")
    command.add_argument("--split", type=_shares, metavar="70/13/17", help="weights of the splits")
    for words in ("frames", "names"):
        own = f"own {words}: files, or a folder with LANG/{words}.txt"
        command.add_argument(
            f"--{words}", nargs="+", type=Path, default=(), metavar="FILE", help=own
        )
    command.add_argument(
        "--images", type=Path, metavar="DIR", help="a folder of images for each type, or `drawn`"
    )
    command.add_argument("--title", help="for the data card; default: the folder's name")
    command.add_argument("--license", help="a licence id of the Hub, for the data card")
    command.add_argument("--overwrite", action="store_true", help="replace the folder")

    command = commands.add_parser(
        "context",
        help="fill the columns made from images",
        epilog=f"example: {prog} context mmnerd/ --objects backbones/tagger --ocr tesseract",
    )
    command.add_argument("folder", type=Path)
    command.add_argument(
        "--objects", metavar="MODEL", help="a detector, zero-shot detector or image classifier"
    )
    command.add_argument("--object-count", type=int, metavar="N", help="the most names an image")
    command.add_argument("--object-score", type=float, metavar="P", help="least score of a name")
    command.add_argument(
        "--object-names", nargs="+", metavar="NAME", help="what a zero-shot detector looks for"
    )
    command.add_argument("--captions", metavar="MODEL", help="an image-text-to-text model")
    command.add_argument("--caption-count", type=int, metavar="N", help="captions an image")
    command.add_argument("--ocr", choices=["tesseract", "ppocr"], help="what reads text")
    command.add_argument(
        "--ocr-model",
        type=Path,
        default=Path("backbones/ppocr"),
        metavar="FOLDER",
        help="of ppocr (default: %(default)s)",
    )

    command = commands.add_parser(
        "audit",
        help="find faults of a data set folder",
        epilog=f"example: {prog} audit mmnerd/ --against twitter2017/",
    )
    command.add_argument("folder", type=Path)
    command.add_argument("--against", type=Path, help="another data set folder, to find overlaps")
    command.add_argument("--json", type=Path, help="also write the findings to this file")
    command.add_argument("--strict", action="store_true", help="warnings are errors")

    command = commands.add_parser(
        "push",
        help="send a data set folder to the Hub",
        epilog=f"example: {prog} push mmnerd/ --repo-id me/mmnerd --private --dry-run",
    )
    command.add_argument("folder", type=Path)
    command.add_argument("--repo-id", required=True, metavar="OWNER/NAME")
    command.add_argument("--private", action="store_true")
    command.add_argument(
        "--dry-run", action="store_true", help="list what would be sent, send nothing"
    )
    return top


def _build(options: argparse.Namespace) -> int:
    report = build(
        options.source,
        options.data_dir,
        options.out,
        options=ReadOptions(
            image_dir=options.image_dir,
            lang=options.language,
            columns=parse_columns(options.columns or ()),
            tag_names=None if options.tag_names is None else tuple(options.tag_names),
            config=options.config,
            several_images=options.several_images,
        ),
        languages=options.languages,
        entity_types=options.entity_types,
        shares=options.split,
        facts=CardFacts(options.title or options.out.name, options.license, options.origin),
        with_audit=not options.no_audit,
        strict=options.strict,
        overwrite=options.overwrite,
    )
    _print_built(report, options.out)
    return 0


def _generate(options: argparse.Namespace) -> int:
    source = generated_source(
        options.languages,
        sentences=options.sentences,
        seed=options.seed,
        shares=options.split,
        frames=options.frames,
        names=options.names,
        images=options.images,
    )
    origin = "generated by 2mner data generate"
    facts = CardFacts(options.title or options.out.name, options.license, origin)
    _print_built(
        build(source, None, options.out, facts=facts, overwrite=options.overwrite), options.out
    )
    return 0


def _print_built(report: BuildReport, out: Path) -> None:
    for (lang, split), part in sorted(report.parts.items()):
        numbers = f"{part.written.rows:,} sentences, {part.entities.total():,} entities"
        print(f"{lang} {split}: {numbers}, {part.images:,} images")
    if report.audit is not None:
        print(report.audit)
    print(f"{out}: built")


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are on the command line."""
    return {name: value for name, value in settings.items() if value is not None}


def _context(options: argparse.Namespace) -> int:
    objects = {
        "count": options.object_count,
        "threshold": options.object_score,
        "names": options.object_names,
    }

    def extractors(languages: Sequence[str], device: str | None) -> list[Extractor]:
        found: list[Extractor] = []
        # First: a missing program is an error before a large model is loaded.
        if options.ocr == "tesseract":
            found.append(TesseractReader(languages))
        elif options.ocr == "ppocr":
            found.append(PPOCRReader(options.ocr_model))
        if options.objects is not None:
            found.append(ObjectTagger(options.objects, device=device, **_given(objects)))
        if options.captions is not None:
            captions = _given({"count": options.caption_count})
            found.append(Captioner(options.captions, device=device, **captions))
        return found

    report = fill_context(options.folder, extractors)
    if report is None:
        return 0
    for name, made in report.columns.items():
        found = f"{made.strings:,} strings on {made.images:,} images"
        print(f"{name}: {found}, nothing on {made.nothing_found:,}, by {made.made_by}")
        for image, fault in made.failed:
            print(f"{name}: {image} failed: {fault}")
    print(f"{options.folder}: {report.read:,} read, {report.shards_replaced} shards written")
    return 0


def _audit(options: argparse.Namespace) -> int:
    if options.json is not None:
        check_replaceable(options.json)
    report = audit(options.folder, options.against)
    print(report)
    if options.json is not None:
        write_text(options.json, report.to_json())
    return int(report.failed(strict=options.strict))


def _push(options: argparse.Namespace) -> int:
    files = push(options.folder, options.repo_id, private=options.private, dry_run=options.dry_run)
    for name, size in files:
        print(f"{size:>14,}  {name}")
    done = "would be sent" if options.dry_run else "sent"
    total = sum(size for _, size in files)
    print(f"{len(files)} files, {total:,} bytes {done} to datasets/{options.repo_id}")
    return 0


def main(argv: Sequence[str] | None = None, prog: str = "2mner data") -> int:
    """Run one command.

    Args:
        argv: `build`, `generate`, `context`, `audit` or `push` with its options; by default the
            command line of this process.
        prog: the program's name in help and usage messages.

    Returns:
        The exit status: 0, or 1 if an audit has found errors.

    Raises:
        ValueError, OSError, ContextError: if the data has a fault.
        PublishError: if the data set cannot be pushed.
        ProcessesError: if several processes were started without a common process group.
    """
    top = parser(prog)
    options = top.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if options.command == "context" and not (options.objects or options.captions or options.ocr):
        top.error("context: found nothing to fill, expected --objects, --captions or --ocr")
    if options.command not in ("build", "generate"):
        recover_folder(options.folder)
    commands = {
        "build": _build,
        "generate": _generate,
        "context": _context,
        "audit": _audit,
        "push": _push,
    }
    return commands[options.command](options)


__all__ = ["main", "parser"]
