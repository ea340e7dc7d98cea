"""YAML 1.2, read and written: `no` and `on` are words, `010` is ten, `1e-5` a number.

values, lines = read_yaml(Path("configs/demo.yaml"))
values["seed"], lines["seed",]  # 19, and the number of the line that says so
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode
from ruamel.yaml.reader import ReaderError

from dataset_mmnerd.quoting import quoted, shorten

__all__ = ["read_yaml", "written_as_yaml"]


class _Constructor(SafeConstructor):
    """Plain values only; a date stays text, as in YAML 1.2."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)  # without `pure` a parser of YAML 1.1 is taken
    yaml.Constructor = _Constructor
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    yaml.width = 100
    return yaml


def read_yaml(path: Path) -> tuple[dict[Any, Any], dict[tuple[Any, ...], int]]:
    """The mapping that a file holds, and the line of each key, from 1, by the keys that lead to it:
    `("model_config", "alpha")`.

    Raises:
        ValueError: if it is not UTF-8, not YAML, has a key twice, or is no mapping; it names the
            file and, where there is one, the line.
        OSError: if it cannot be read.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        yaml = _yaml()
        node = yaml.compose(text)
        values = None if node is None else yaml.constructor.construct_document(node)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 ({error.reason})") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"{path}, line {line}: not YAML: {error.reason}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = shorten(f"{error.context or ''} {error.problem}")
        raise ValueError(f"{path}, line {mark.line + 1}: not YAML: {problem}") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise ValueError(f"{path}: not YAML: {shorten(str(error))}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: too many values within values") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: found {quoted(values)}, expected lines of `key: value`")
    return values, _lines(values, node)


def _lines(values: dict[Any, Any], node: MappingNode) -> dict[tuple[Any, ...], int]:
    """The lines of the keys of a mapping, and of the mappings in it. An anchor's is not followed
    again from an alias, of which there may be many."""
    lines: dict[tuple[Any, ...], int] = {}
    waiting: list[tuple[tuple[Any, ...], dict[Any, Any], Any]] = [((), values, node)]
    seen = {id(node)}
    while waiting:
        place, mapping, node = waiting.pop()
        for (key, value), (key_node, value_node) in zip(mapping.items(), node.value, strict=False):
            lines[*place, key] = key_node.start_mark.line + 1
            if isinstance(value, dict) and id(value_node) not in seen:
                seen.add(id(value_node))
                waiting.append(((*place, key), value, value_node))
    return lines


def written_as_yaml(values: dict[str, Any] | list[Any]) -> str:
    """A mapping, or a list, as YAML 1.2; keys stay in their order."""
    text = StringIO()
    _yaml().dump(values, text)
    return text.getvalue().strip()
