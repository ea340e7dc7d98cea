"""Templates of self-contained pages: the environment that fills them in, and its filters.

`page.css`, which every page includes, has the colours and the text of a page, light and dark.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from .runs import percent

__all__ = ["p_in_words", "p_value", "page_template", "signed"]


def page_template(path: Path) -> Template:
    """The template of a page. What is filled in is escaped, and what is missing is an error."""
    environment = Environment(
        loader=FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "signed": signed}
    environment.filters |= {"p_value": p_value, "p_in_words": p_in_words}
    return environment.get_template(path.name)


def signed(fraction: float) -> str:
    """+1.2 of 0.012, with a true minus sign; 0.0 of what is too little to be shown."""
    points = round(100 * fraction, 1)
    return f"{points:+.1f}".replace("-", "\N{MINUS SIGN}") if points else "0.0"


def p_value(p: float) -> str:
    """A p-value as precisely as resampling knows it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_in_words(p: float) -> str:
    """The same in a sentence: p = 0.012, or p < 0.001."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
