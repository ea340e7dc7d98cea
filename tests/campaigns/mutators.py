"""Edits of bytes, lines, texts and JSON values. Each takes the random numbers that it is to use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

HOSTILE_TEXTS = (
    "",
    " ",
    "\0",
    "\t",
    "\r",
    "\x1b[31m",
    "\x85",
    "\u2028",
    "\ufeff",
    "\ufffe",
    "\u202egnp.exe",
    "\ud800",
    "\udfff\ud800",
    "e" + "\u0301" * 500,
    "👩‍👩‍👧‍👦" * 50,
    "\U0001f1e6" * 101,
    "\u200d" * 300,
    "’" * 2000,
    "l'" * 1500 + "a",
    "a-" * 3000,
    "@#" * 1000,
    "1.,2" * 1000,
    "U." * 1500,
    "日本語" * 700,
    "x" * 20_000,
    "</s><mask><s>",
    "[SEP][CLS]",
    "<script>alert(1)</script>",
    "| a | b |\n---",
    "{{ 7 * 7 }}{% for x in y %}",
    "%s%n{0}{x!r}",
    "IMGID:",
    "IMGID:../secret",
    "B-",
    "I-\u00a0X",
    "../../secret",
    "/dev/zero",
    "C:\\secret",
    "file:///etc/passwd",
    "a" * 300,
    "NaN",
    "null",
    "-0",
    "1e999",
    "true",
)
"""Texts that have broken readers, tokenizers, terminals or pages somewhere."""

HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 1.7, -0.0, 1e-300, 1e300, 2**31, 2**63, 10**18, 10**400),
    *(float("nan"), float("inf"), [], {}, [[]], [None], {"": None}, ["a", 1], {"a": {"b": []}}),
)
"""Values of JSON, and the numbers that Python's reader adds to it."""


def any_hostile(random: Random) -> Any:
    """A hostile value of JSON, deep or long ones among them."""
    pick = random.random()
    if pick < 0.45:
        return random.choice(HOSTILE_TEXTS)
    if pick < 0.95:
        return random.choice(HOSTILE_VALUES)
    deep: Any = random.choice(HOSTILE_TEXTS)
    for _ in range(random.choice((20, 400))):
        deep = [deep] if random.random() < 0.5 else {"a": deep}
    return deep


# Bytes --------------------------------------------------------------------------------------------


def _span(content: bytes, random: Random) -> tuple[int, int]:
    """A range of bytes, more often a short one."""
    start = random.randrange(len(content) + 1)
    length = random.choice((1, 2, 4, 16, 100, 512, len(content)))
    return start, min(len(content), start + random.randrange(length + 1))


def _flip(content: bytes, random: Random) -> bytes:
    if not content:
        return content
    place = random.randrange(len(content))
    changed = bytearray(content)
    changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def _flip_early(content: bytes, random: Random) -> bytes:
    return _flip(content[:64], random) + content[64:]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _insert(content: bytes, random: Random) -> bytes:
    start, _ = _span(content, random)
    return content[:start] + random.randbytes(random.choice((1, 3, 64, 512))) + content[start:]


def _delete(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    return content[:start] + content[end:]


def _duplicate(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    return content[:end] + content[start:end] + content[end:]


def _overwrite(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    return content[:start] + random.choice((b"\0", b"\xff", b"A")) * (end - start) + content[end:]


def _replace(content: bytes, random: Random) -> bytes:
    return random.choice((b"", b"\0", b"\xff\xfe", random.randbytes(2000), b"PK\x03\x04", b"{}"))


BYTE_EDITS = (_flip, _flip, _flip_early, _cut, _insert, _delete, _duplicate, _overwrite, _replace)


def edit_bytes(content: bytes, random: Random) -> bytes:
    """One change of some bytes: flipped, cut off, inserted, deleted, doubled or overwritten."""
    edit = random.choices(BYTE_EDITS, weights=[4] * (len(BYTE_EDITS) - 1) + [1])[0]
    return edit(content, random)


# Lines and texts ----------------------------------------------------------------------------------


def encoded(text: str) -> bytes:
    """UTF-8, in which lone surrogates are the three bytes that decoders refuse."""
    return text.encode("utf-8", "surrogatepass")


def edit_text(text: str, random: Random) -> str:
    """A text with a hostile one in it, in its place or behind it, or a part of itself."""
    place = random.randrange(len(text) + 1)
    hostile = random.choice(HOSTILE_TEXTS)
    return random.choice(
        (
            text[:place] + hostile + text[place:],
            text[:place] + hostile + text[place:],
            hostile,
            text[:place],
            text[place:] + text,
            text.replace(" ", hostile or "\u00a0"),
        )
    )


def edit_lines(content: bytes, random: Random) -> bytes:
    """One change of whole lines, or of one within a line; sometimes of the bytes instead."""
    if random.random() < 0.3:
        return edit_bytes(content, random)
    lines = content.split(b"\n")
    place = random.randrange(len(lines))
    action = random.randrange(9)
    if action == 0:
        del lines[place]
    elif action == 1:
        lines.insert(place, lines[random.randrange(len(lines))])
    elif action == 2:
        lines.insert(place, encoded(random.choice(HOSTILE_TEXTS)))
    elif action == 3:
        lines[place : place + 2] = [b"".join(lines[place : place + 2])]
    elif action == 4:
        other = random.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    elif action == 5:
        lines[place] = re.sub(rb"\t", random.choice((b" ", b"\t\t", b"")), lines[place], count=1)
    elif action == 6:
        return random.choice((b"\r\n", b"\r", b"\n\n", b"\n \n", b"\x0b")).join(lines)
    else:
        pieces = lines[place].split(b"\t")
        piece = random.randrange(len(pieces))
        changed = edit_text(pieces[piece].decode("utf-8", "replace"), random)
        pieces[piece] = encoded(changed)
        lines[place] = b"\t".join(pieces)
    return b"\n".join(lines)


# Values -------------------------------------------------------------------------------------------


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values inside a value of lists and dictionaries, itself left out."""
    if isinstance(value, dict):
        items: Sequence = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return []
    found = []
    for key, inner in items:
        found += [(*path, key), *places(inner, (*path, key))]
    return found


def edit_value(
    value: Any, random: Random, hostile: Callable[[Random], Any] = any_hostile, depth: int = 99
) -> Any:
    """A copy of a value of lists and dictionaries with one value inside it changed.

    Args:
        value: it is not changed itself.
        random: the random numbers.
        hostile: gives what is put in.
        depth: how deep the change may be: 1 is a key of a dictionary itself.
    """
    paths = [path for path in places(value) if len(path) <= depth]
    if not paths or random.random() < 0.03:
        return hostile(random)
    path = random.choice(paths)
    changed = _copied(value)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    action = random.randrange(8)
    if action == 0:
        del parent[key]
    elif action == 1 and isinstance(parent, list):
        parent.insert(key, parent[key])
    elif action == 1:
        parent[edit_text(str(key), random)] = parent.pop(key)
    elif action == 2:
        parent[key] = [parent[key]] if random.random() < 0.5 else {"a": parent[key]}
    elif action == 3 and isinstance(parent[key], str):
        parent[key] = edit_text(parent[key], random)
    elif action == 3 and isinstance(parent[key], int | float):
        parent[key] = -parent[key] if random.random() < 0.5 else parent[key] * 1000 + 1
    elif action == 4 and isinstance(parent, dict):
        parent[random.choice(HOSTILE_TEXTS)] = hostile(random)
    else:
        parent[key] = hostile(random)
    return changed


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def edit_json(content: bytes, random: Random) -> bytes:
    """A JSON file with one value changed, or some of its bytes."""
    if random.random() < 0.3:
        return edit_bytes(content, random)
    try:
        value = json.loads(content)
    except ValueError:  # an edit before this one has broken it
        return edit_bytes(content, random)
    ascii_only = random.random() < 0.5
    return encoded(json.dumps(edit_value(value, random), ensure_ascii=ascii_only, indent=2))


def edit_json_lines(content: bytes, random: Random) -> bytes:
    """A file of JSON lines with one value of one line changed, or some of its lines or bytes."""
    lines = content.split(b"\n")
    if random.random() < 0.4:
        return edit_lines(content, random)
    place = random.randrange(len(lines))
    try:
        value = json.loads(lines[place])
    except (ValueError, RecursionError):
        return edit_lines(content, random)
    lines[place] = encoded(
        json.dumps(edit_value(value, random), ensure_ascii=random.random() < 0.5)
    )
    return b"\n".join(lines)
