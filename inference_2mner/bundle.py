"""One file out of several modules of this project: what a module needs of them, and no more.

    source = bundled("inference_2mner.tagger", "A model without torch.")

The top-level statements of all modules that are imported, directly or not, are joined in the order
of their imports; the imports among them are left out. Statements whose names nothing uses are left
out, too. What is joined shares one namespace: two statements for one name are an error.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

__all__ = ["BundleError", "bundled"]

OWN = ("modeling_2mner", "inference_2mner")
"""The packages whose modules are joined."""

SECTION = 100
"""The length of a line that begins a module."""


class BundleError(ValueError):
    """Modules that cannot be joined."""


@dataclass
class _Statement:
    """A top-level statement, with the comments before it and the string behind it."""

    text: str
    names: set[str]
    uses: set[str]


@dataclass
class _Module:
    """A module that is to be joined.

    Attributes:
        imports: other libraries' names: the statement that imports each.
        own: the modules of this project that it imports.
    """

    name: str
    docstring: str
    imports: dict[str, str] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    statements: list[_Statement] = field(default_factory=list)


def bundled(name: str, title: str) -> str:
    """The source of one file that does what a module does.

    Args:
        name: of the module; all that it defines is kept.
        title: the first lines of the file's docstring.

    Raises:
        BundleError: if two modules have different statements for one name.
    """
    modules = list(_in_order(name, {}))
    defined: dict[str, str] = {}
    imports: dict[str, str] = {}
    for module in modules:
        for one, line in module.imports.items():
            if imports.setdefault(one, line) != line:
                raise BundleError(f"{module.name}: {one} is {line!r}, and {imports[one]!r} before")
        for statement in module.statements:
            for one in statement.names:
                if defined.setdefault(one, statement.text.strip()) != statement.text.strip():
                    raise BundleError(f"{module.name} defines {one}, as another module does")
    clash = defined.keys() & (imports.keys() | set(dir(builtins)))
    if clash:
        raise BundleError(f"{min(clash)} is both imported and defined")

    needed = _needed(modules)
    parts = [f'"""{title}\n\n{modules[-1].docstring}\n"""', _import_lines(imports, needed)]
    written: set[str] = set()
    for module in modules:
        kept = [
            one
            for one in module.statements
            if (not one.names or one.names & needed) and not (one.names and one.names <= written)
        ]
        if not kept:
            continue
        heading = f"# {module.name} "
        lines = [heading + "-" * (SECTION - len(heading))]
        if module is not modules[-1]:
            lines += ["#", *(f"# {line}".rstrip() for line in module.docstring.splitlines())]
        parts.append("\n".join(lines))
        for statement in kept:
            written |= statement.names
            parts.append(statement.text.strip("\n"))
    joined = "\n\n\n".join(parts) + "\n"
    return joined.replace('"""\n\n\nfrom __future__', '"""\n\nfrom __future__', 1)


def _needed(modules: list[_Module]) -> set[str]:
    """The names that the last module uses, directly or not."""
    uses: defaultdict[str, set[str]] = defaultdict(set)
    waiting: list[str] = []
    for module in modules:
        for statement in module.statements:
            for name in statement.names:
                uses[name] |= statement.uses
            if module is modules[-1]:
                waiting += statement.names | statement.uses
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += uses[name]
    return found


def _import_lines(imports: dict[str, str], needed: set[str]) -> str:
    """The statements that import what is needed: the standard library's, then the others'."""
    plain: set[str] = set()
    listed: defaultdict[str, set[str]] = defaultdict(set)
    for name in imports.keys() & needed:
        origin, _, what = imports[name].rpartition("import ")
        if origin:
            listed[origin.split()[1]].add(what)
        else:
            plain.add(what)
    lines = [f"import {what}" for what in sorted(plain)]
    for origin, names in sorted(listed.items()):
        line = f"from {origin} import {', '.join(sorted(names))}"
        if len(line) > SECTION:
            line = f"from {origin} import (\n" + "".join(f"    {n},\n" for n in sorted(names)) + ")"
        lines.append(line)
    is_standard = [_package(line) in sys.stdlib_module_names for line in lines]
    groups = (
        [line for line, standard in zip(lines, is_standard, strict=True) if standard == wanted]
        for wanted in (True, False)
    )
    return "\n\n".join(["from __future__ import annotations", *map("\n".join, groups)])


def _package(statement: str) -> str:
    return statement.split()[1].partition(".")[0]


def _in_order(name: str, seen: dict[str, _Module]) -> Iterator[_Module]:
    """A module behind all that it imports."""
    if name in seen:
        return
    module = seen[name] = _parsed(name)
    for other in module.own:
        yield from _in_order(other, seen)
    yield module


def _parsed(name: str) -> _Module:
    spec = find_spec(name)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    lines, tree = source.splitlines(keepends=True), ast.parse(source)
    module = _Module(name, ast.get_docstring(tree) or "")
    end = 0
    for number, node in enumerate(tree.body):
        assert node.end_lineno is not None
        if isinstance(node, ast.Import | ast.ImportFrom):
            _add_import(module, node)
        elif _is_string(node):  # the module's docstring, or what describes the statement before
            if number and module.statements:
                module.statements[-1].text += "".join(lines[end : node.end_lineno])
        elif "__all__" not in (names := _names(node)):
            text = "".join(lines[end : node.end_lineno])
            module.statements.append(_Statement(text, names, _uses(node)))
        end = node.end_lineno
    return module


def _is_string(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _add_import(module: _Module, node: ast.Import | ast.ImportFrom) -> None:
    origin = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
    if isinstance(node, ast.ImportFrom) and node.level:
        origin = f"{module.name.rpartition('.')[0]}.{origin}"
    if origin == "__future__":
        return
    if origin.partition(".")[0] in OWN:
        renamed = next((one for one in node.names if one.asname), None)
        if renamed is not None:
            raise BundleError(f"{module.name} imports {renamed.name} under another name")
        module.own.append(origin)
        return
    for one in node.names:
        line = f"import {one.name}" + (f" as {one.asname}" if one.asname else "")
        name = one.asname or one.name.partition(".")[0]
        module.imports[name] = f"from {origin} {line}" if origin else line


def _names(node: ast.stmt) -> set[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    stored = (one for one in ast.walk(node) if isinstance(one, ast.Name))
    return {one.id for one in stored if isinstance(one.ctx, ast.Store)}


def _uses(node: ast.stmt) -> set[str]:
    """The names that occur in a statement, also as forward references."""
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    strings = (one.value for one in ast.walk(node) if isinstance(one, ast.Constant))
    return names | {one for one in strings if isinstance(one, str) and one.isidentifier()}
