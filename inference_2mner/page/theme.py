"""How the page looks: a theme of Gradio for its components, and a style sheet for its own.

The fonts are those that Gradio's package holds; nothing is loaded from another host.
"""

from __future__ import annotations

from pathlib import Path

from gradio.themes import Base, LocalFont
from gradio.themes.utils import sizes
from gradio.themes.utils.colors import Color

from reporting_2mner.marked_text import STYLE as MARKED_TEXT

__all__ = ["ICON", "THEME", "asset", "style"]

ASSETS = Path(__file__).parent / "assets"
ICON = ASSETS / "icon.png"

TEAL = Color(
    name="teal",
    c50="#eef7f7",
    c100="#d5eaeb",
    c200="#aed6d9",
    c300="#7fbec3",
    c400="#4da3aa",
    c500="#1f8089",
    c600="#0e6670",
    c700="#0b535c",
    c800="#0a424a",
    c900="#08343a",
    c950="#052227",
)
PAPER = Color(
    name="paper",
    c50="#faf9f6",
    c100="#f3f1ec",
    c200="#e5e2da",
    c300="#cfcac0",
    c400="#9b978f",
    c500="#6b6a66",
    c600="#54565a",
    c700="#3a4048",
    c800="#232a33",
    c900="#191f27",
    c950="#11161c",
)

THEME = Base(
    primary_hue=TEAL,
    secondary_hue=TEAL,
    neutral_hue=PAPER,
    font=(LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"),
    font_mono=(LocalFont("IBM Plex Mono", weights=(400,)), "ui-monospace", "monospace"),
    text_size=sizes.text_md,
    radius_size=sizes.radius_md,
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    body_text_color="*neutral_900",
    body_text_color_dark="*neutral_100",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    background_fill_primary="white",
    background_fill_primary_dark="*neutral_900",
    background_fill_secondary="*neutral_100",
    background_fill_secondary_dark="*neutral_800",
    border_color_primary="*neutral_200",
    border_color_primary_dark="*neutral_700",
    block_background_fill="white",
    block_background_fill_dark="*neutral_900",
    block_border_color="*neutral_200",
    block_border_color_dark="*neutral_700",
    block_border_width="1px",
    block_shadow="none",
    block_title_text_color="*neutral_700",
    block_title_text_color_dark="*neutral_200",
    block_title_text_weight="700",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    input_background_fill="*neutral_50",
    input_background_fill_dark="*neutral_950",
    input_border_color="*neutral_400",
    input_border_color_dark="*neutral_500",
    input_border_color_focus="*primary_600",
    input_border_color_focus_dark="*primary_300",
    input_border_width="1px",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    slider_color="*primary_600",
    slider_color_dark="*primary_300",
    checkbox_background_color_selected="*primary_600",
    checkbox_background_color_selected_dark="*primary_600",
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
    checkbox_label_background_fill="transparent",
    checkbox_label_background_fill_dark="transparent",
    checkbox_label_background_fill_hover="transparent",
    checkbox_label_background_fill_hover_dark="transparent",
    checkbox_label_background_fill_selected="transparent",
    checkbox_label_background_fill_selected_dark="transparent",
    checkbox_label_text_color_selected_dark="*neutral_100",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_300",
    button_primary_background_fill_hover_dark="*primary_200",
    button_primary_text_color="white",
    button_primary_text_color_dark="*primary_950",
    button_primary_text_color_hover_dark="*primary_950",
    button_secondary_background_fill="white",
    button_secondary_background_fill_dark="*neutral_800",
    button_secondary_border_color="*neutral_400",
    button_secondary_border_color_dark="*neutral_500",
    button_secondary_text_color="*neutral_800",
    button_secondary_text_color_dark="*neutral_100",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
)


def asset(name: str) -> str:
    """The text of a file of the page."""
    return (ASSETS / name).read_text("utf-8")


def style() -> str:
    """The style sheet of what Gradio does not draw itself."""
    return f"{MARKED_TEXT}\n{asset('page.css')}"
