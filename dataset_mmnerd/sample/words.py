"""The generator's input: frames and names, read from text files.

A file is UTF-8: `[section]` lines, and below each one frame or name a line. A line that begins with
`#` and a space is a comment. Words are separated by spaces as in the CoNLL sets, so punctuation
stands apart.

*Frames* are sentences with slots, in the sections `[image decides]`, `[words decide: REGISTER]`,
`[no entity: REGISTER]`, `[tails]` and `[boards]`; the register is one of `REGISTERS`, or left out.

    {LOC.city}       a name of a section `[LOC.city...]`; `{LOC}` takes any place
    {month}          a text of the section `[month]`: sections in small letters are no entities
    {1950..2020}     a number
    {was|is}         one of these texts, which may be empty
    {=PER}  {~PER}   the last name of that kind in the sentence again; its last word alone
    {?}              a name whose type only the image tells

Text that touches a slot belongs to its words: `{PER.last}s` and `#{LOC.city}` are one word, an
entity. A name loses its spaces behind `#`.

*Names* are in sections such as `[PER.f]`, `[LOC.city]`, `[MISC.film]`; the part before the first
dot is the entity type, in capitals. A name may have slots: `University of {LOC.city}`,
`{5..500} mg`. Names of a section `[PER.f, invented]` are divided among the splits; all others may
occur in each. `[joins]` has the contractions of a language: `a V -> an`, `de Le -> du`, where `V`
is a vowel (see `Join`); the first that fits is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from dataset_mmnerd.quoting import quoted, shorten

from .language import (
    AGAIN,
    CHOICE,
    IMAGE,
    LAST,
    NAME,
    NUMBER,
    REGISTERS,
    Chunk,
    Frame,
    Frames,
    Join,
    Language,
    Names,
    Pattern,
    Place,
    Section,
    Slot,
    WordsError,
    type_of,
)
from .scenes import SCENES

_IMAGE_DECIDES, _WORDS_DECIDE, _NO_ENTITY = "image decides", "words decide", "no entity"
_SLOT = re.compile(r"\{([^{}]*)\}")
_CHUNK = re.compile(r"(?:\{[^{}]*\}|[^\s{}])+")
_KIND = r"[A-Za-z][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_SECTION = re.compile(rf"({_KIND})(, invented)?")
_JOIN = re.compile(r"(\S+) (\S+) -> (\S+(?: \S+)*)")
_MOST_BYTES = 16 * 2**20
_DEEPEST = 20


class TextFile(Protocol):
    """A file of the package or of a user."""

    def read_bytes(self) -> bytes: ...


# Reading lines ------------------------------------------------------------------------------------


def lines_of(file: TextFile, name: str) -> Iterator[tuple[Place, str]]:
    """The lines that are neither empty nor comments."""
    content = file.read_bytes()
    if len(content) > _MOST_BYTES:
        raise WordsError(f"{name}: found {len(content):,} bytes, expected at most {_MOST_BYTES:,}")
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        place = Place(name, number)
        try:
            line = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            found = f"byte 0x{raw[error.start]:02x} at place {error.start + 1}"
            raise place.fault(found, "UTF-8") from None
        if line and line.split()[0] != "#":
            yield place, line


def _sections(file: TextFile, name: str) -> Iterator[tuple[Place, str, list[tuple[Place, str]]]]:
    """(place, name, lines) of each section."""
    title: tuple[Place, str] | None = None
    lines: list[tuple[Place, str]] = []
    for place, line in lines_of(file, name):
        if line.startswith("[") and line.endswith("]"):
            if title is not None:
                yield *title, lines
            title, lines = (place, " ".join(line[1:-1].split())), []
        elif title is None:
            raise place.fault(quoted(line), "a line such as [words decide] first")
        else:
            lines.append((place, line))
    if title is None:
        raise WordsError(f"{name}: found no section, expected some, such as [words decide]")
    yield *title, lines


def _filled(
    sections: Iterable[tuple[Place, str, list[tuple[Place, str]]]],
) -> Iterator[tuple[Place, str, list[tuple[Place, str]]]]:
    """The sections; an empty one is an error."""
    for place, title, lines in sections:
        if not lines:
            raise place.fault(f"[{shorten(title)}] without a line", "at least one below it")
        yield place, title, lines


def _chunks(line: str, place: Place) -> tuple[Chunk, ...]:
    """The words and slots of a line."""
    outside = _SLOT.sub("", line)
    brace = next((char for char in outside if char in "{}"), None)
    if brace is not None:
        other = "}" if brace == "{" else "{"
        raise place.fault(f"{brace!r} without {other!r} in {quoted(line)}", "slots such as {PER}")
    return tuple(_parts(chunk, place) for chunk in _CHUNK.findall(line))


def _parts(chunk: str, place: Place) -> Chunk:
    parts: list[str | Slot] = []
    end = 0
    for found in _SLOT.finditer(chunk):
        if found.start() > end:
            parts.append(chunk[end : found.start()])
        parts.append(_slot(found[1], place))
        end = found.end()
    return (*parts, chunk[end:]) if end < len(chunk) else tuple(parts)


def _slot(text: str, place: Place) -> Slot:
    if text == "?":
        return Slot(IMAGE)
    if bounds := _RANGE.fullmatch(text):
        low, high = int(bounds[1]), int(bounds[2])
        if low > high:
            raise place.fault(f"the range {quoted(text)}", "the smaller number first")
        return Slot(NUMBER, bounds=(low, high))
    if "|" in text:
        choices = tuple(text.split("|"))
        if any(choice != choice.strip() for choice in choices):
            found = f"a space at the end of a text of {{{shorten(text)}}}"
            raise place.fault(
                found, "none: spaces stand between slots, and an empty text takes none"
            )
        return Slot(CHOICE, choices=choices)
    if re.fullmatch(rf"[=~]?{_KIND}", text) and (text[0] not in "=~" or type_of(text[1:])):
        does = {"=": AGAIN, "~": LAST}.get(text[0], NAME)
        return Slot(does, text.lstrip("=~"))
    expected = "{LOC.city}, {month}, {1950..2020}, {was|is}, {=PER}, {~PER} or {?}"
    raise place.fault(f"the slot {quoted('{' + text + '}')}", expected)


def _refuse_repeated(lines: Iterable[tuple[Place, str]], *, what: str) -> None:
    first: dict[str, Place] = {}
    for place, text in lines:
        if text in first:
            where = f"{first[text].file}, line {first[text].line}"
            raise place.fault(f"the {what} {quoted(text)} again", f"it once ({where})")
        first[text] = place


def _texts(patterns: Iterable[Pattern]) -> Iterator[tuple[Place, str]]:
    return ((pattern.place, pattern.text) for pattern in patterns)


# Frames -------------------------------------------------------------------------------------------


def read_frames(files: Sequence[tuple[TextFile, str]]) -> Frames:
    """The frames of some files, each with its name for messages.

    Raises:
        WordsError: if a file has a fault.
    """
    frames = Frames()
    tails: list[tuple[Place, str]] = []
    boards: list[tuple[Place, str, str]] = []
    for file, name in files:
        for place, title, lines in _filled(_sections(file, name)):
            what, _, register = title.partition(": ")
            into = {
                _IMAGE_DECIDES: frames.image_decides,
                _WORDS_DECIDE: frames.words_decide,
                _NO_ENTITY: frames.no_entity,
            }.get(what)
            if title == "tails":
                tails += [(at, _plain(line, at)) for at, line in lines]
            elif title == "boards":
                boards += _boards(lines)
            elif into is not None and register in (*REGISTERS, ""):
                into += [_frame(line, at, what, register) for at, line in lines]
            else:
                registers = ", ".join(REGISTERS)
                expected = (
                    "[image decides], [words decide: R], [no entity: R], [tails] or [boards]; "
                    f"R is one of {registers}"
                )
                raise place.fault(f"the section [{shorten(title)}]", expected)
    _refuse_repeated(_texts(frames.every()), what="frame")
    _refuse_repeated(tails, what="tail")
    _refuse_repeated(((at, scene) for at, scene, _ in boards), what="scene")
    frames.tails = [line for _, line in tails]
    frames.boards = {scene: text for _, scene, text in boards}
    if not frames.words_decide:
        names = ", ".join(name for _, name in files)
        raise WordsError(f"{names}: found no section [words decide], expected at least one frame")
    return frames


def _frame(line: str, place: Place, what: str, register: str) -> Frame:
    frame = Frame(_chunks(line, place), place, line, register or REGISTERS[0])
    slots = list(frame.slots())
    images = sum(slot.does == IMAGE for slot in slots)
    typed = [slot for slot in slots if slot.entity_type]
    if what == _IMAGE_DECIDES and (images != 1 or typed):
        found = f"{images} slots {{?}} and {len(typed)} of a type"
        raise place.fault(found, "one slot {?} and no entity beside it")
    if what == _WORDS_DECIDE and (images or not typed):
        found = "a slot {?}" if images else "no entity"
        raise place.fault(
            f"{found} in {quoted(line)}", "at least one slot of a type, such as {PER}"
        )
    if what == _NO_ENTITY and (images or typed):
        raise place.fault(f"an entity in {quoted(line)}", "none in a section [no entity]")
    for number, slot in enumerate(slots):
        earlier = [other.entity_type for other in slots[:number] if other.does == NAME]
        if slot.does in (AGAIN, LAST) and type_of(slot.kind) not in earlier:
            mark = "=" if slot.does == AGAIN else "~"
            found = f"{{{mark}{slot.kind}}} in {quoted(line)}"
            raise place.fault(found, f"a slot {{{slot.kind}}} before it")
    for chunk in frame.chunks:
        types = [part.entity_type for part in chunk if isinstance(part, Slot) and part.entity_type]
        if len(types) > 1:
            raise place.fault(f"slots of {' and '.join(types)} in one word", "one entity")
    return frame


def _plain(line: str, place: Place) -> str:
    if "{" in line or "}" in line:
        raise place.fault(f"a slot in the tail {quoted(line)}", "words alone")
    return line


def _boards(lines: Iterable[tuple[Place, str]]) -> Iterator[tuple[Place, str, str]]:
    """(place, scene, text) of each scene."""
    known = {"O"}.union(*SCENES.values())
    for place, line in lines:
        scenes, colon, text = line.partition(": ")
        if not colon or not text.isascii():
            raise place.fault(
                quoted(line), "scenes and a text in ASCII, such as van: AT YOUR SERVICE"
            )
        for scene in scenes.split(", "):
            if scene not in known:
                expected = f"one of {shorten(', '.join(sorted(known)))}"
                raise place.fault(f"the scene {quoted(scene)}", expected)
            yield place, scene, text


# Names --------------------------------------------------------------------------------------------


def read_names(files: Sequence[tuple[TextFile, str]]) -> Names:
    """The names of some files, each with its name for messages. Sections of one name are joined.

    Raises:
        WordsError: if a file has a fault.
    """
    sections: dict[str, Section] = {}
    joins: list[Join] = []
    for file, name in files:
        for place, title, lines in _filled(_sections(file, name)):
            if title == "joins":
                _refuse_repeated(
                    ((at, line.partition(" -> ")[0]) for at, line in lines), what="join"
                )
                joins += [_join(line, at) for at, line in lines]
                continue
            found = _SECTION.fullmatch(title)
            if found is None:
                expected = "a name such as [PER.f], [LOC.city, invented] or [month], or [joins]"
                raise place.fault(f"the section [{shorten(title)}]", expected)
            _check_type(found[1], place)
            names = [Pattern(_chunks(line, at), at, line) for at, line in lines]
            _refuse_repeated(_texts(names), what="name")
            kind, invented = found[1], found[2] is not None
            other = sections.get(kind)
            if other is not None and other.invented != invented:
                where = f"{other.place.file}, line {other.place.line}"
                raise place.fault(f"[{title}]", f"[{kind}] invented or not, as in {where}")
            before = other.names if other is not None else ()
            once = {name.text: name for name in (*names, *before)}  # files may share names
            sections[kind] = Section(kind, tuple(once.values()), place, invented)
    return Names(sections, tuple(joins))


def _check_type(kind: str, place: Place) -> None:
    """Entity types are told from labels: `O` is none, and `B-PER` is a label."""
    name = type_of(kind)
    if name is not None and (name == "O" or "-" in name):
        raise place.fault(f"the type {quoted(name)}", "one such as PER, DRUG or BOOK_TITLE")


def _join(line: str, place: Place) -> Join:
    found = _JOIN.fullmatch(line)
    if found is None:
        raise place.fault(quoted(line), "a contraction such as a V -> an")
    return Join(found[1].lower(), found[2], tuple(found[3].split()))


def _check(patterns: Iterable[Pattern], names: Names) -> None:
    """Each slot has a section."""
    for pattern in patterns:
        for slot in pattern.slots():
            if slot.does == NAME and not names.matching(slot.kind):
                found = f"the slot {{{slot.kind}}}"
                known = ", ".join(names.sections)
                raise pattern.place.fault(found, f"a section of the names: {shorten(known)}")


def _check_names(names: Names) -> None:
    """Slots of names have sections, no name leads back to its own section or is empty."""
    patterns = [name for section in names.sections.values() for name in section.names]
    for pattern in patterns:
        wrong = next((s for s in pattern.slots() if s.does not in (NAME, NUMBER, CHOICE)), None)
        if wrong is not None:
            raise pattern.place.fault(f"the slot of {quoted(pattern.text)}", "one of a section")
    _check(patterns, names)
    may_be_empty: dict[str, bool] = {}

    def visit(section: Section, above: tuple[str, ...]) -> None:
        if section.kind in may_be_empty:
            return
        may_be_empty[section.kind] = False
        for name in section.names:
            for below in names.below(name):
                if below.kind in (*above, section.kind):
                    found = f"a name of [{section.kind}] that contains itself: {quoted(name.text)}"
                    raise name.place.fault(found, "slots of other sections")
                if len(above) >= _DEEPEST:
                    found = f"slots within slots {len(above) + 1} deep, {quoted(name.text)}"
                    raise name.place.fault(found, f"at most {_DEEPEST}")
                visit(below, (*above, section.kind))
            if all(can_be_empty(part) for chunk in name.chunks for part in chunk):
                may_be_empty[section.kind] = True
                if type_of(section.kind):
                    found = f"the name {quoted(name.text)}, which may be empty"
                    raise name.place.fault(found, "a word in each of its forms")

    def can_be_empty(part: str | Slot) -> bool:
        if not isinstance(part, Slot):
            return False
        if part.does == NAME:
            return any(may_be_empty[below.kind] for below in names.matching(part.kind))
        return part.does == CHOICE and "" in part.choices

    for section in names.sections.values():
        visit(section, ())


def _check_plain_texts(frames: Iterable[Frame], names: Names) -> None:
    """The texts that are no entity have none within: it would have no label."""
    plain = (
        section
        for frame in frames
        for section in names.below(frame)
        if type_of(section.kind) is None
    )
    for section in names.reached(plain):
        for name in section.names:
            for slot in name.slots():
                if slot.entity_type:
                    found = f"the entity {{{slot.kind}}} in a text of [{section.kind}]"
                    expected = "none in a section in small letters that frames have a slot of"
                    raise name.place.fault(found, expected)


def read_language(
    lang: str, frames: Sequence[tuple[TextFile, str]], names: Sequence[tuple[TextFile, str]]
) -> Language:
    """A language from its files, each with its name for messages.

    Raises:
        WordsError: if a file has a fault, or a frame a slot without a section of names.
    """
    found = Language(lang, read_frames(frames), read_names(names))
    _check_names(found.names)
    _check(found.frames.every(), found.names)
    _check_plain_texts(found.frames.every(), found.names)
    return found


def own_files(paths: Sequence[Path]) -> list[tuple[TextFile, str]]:
    """Files of a user, with their names for messages.

    Raises:
        WordsError: if one is missing.
    """
    for path in paths:
        if not path.is_file():
            raise WordsError(f"{path}: found no file, expected frames or names")
    return [(path, str(path)) for path in paths]


__all__ = ["TextFile", "lines_of", "own_files", "read_frames", "read_language", "read_names"]
