"""The page's look: the colours and letters of maskedge's other pages, light and dark. No font is fetched."""

from importlib.resources import files

import gradio as gr
from gradio.themes.utils.colors import Color

__all__ = ["STYLE", "theme"]

STYLE = (files("maskedge.demo") / "templates" / "page.css").read_text(encoding="utf-8")

LETTERS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Inter", "Roboto", "Helvetica Neue", "sans-serif")
ACCENT = Color(
    "#f4f7fe",
    "#eaf0fd",
    "#cfdcfa",
    "#a9c1f7",
    "#93b2fb",
    "#2456c9",
    "#1f4bb0",
    "#1a3f94",
    "#163579",
    "#122b62",
    "#0d1f47",
)
INK = Color(
    "#ffffff",
    "#fbfaf8",
    "#e0dcd4",
    "#c9c4ba",
    "#a19d94",
    "#67635c",
    "#4b4843",
    "#38383d",
    "#1d1e20",
    "#161618",
    "#0f0f11",
)
PAPER, CARD, TEXT, QUIET, LINE = (
    ("#fbfaf8", "#161618"),
    ("#ffffff", "#1d1e20"),
    ("#1d1c1a", "#ebe9e4"),
    ("#67635c", "#a19d94"),
    ("#e0dcd4", "#38383d"),
)
"""Each in the light and in the dark."""
STRONG, WASH, ON_STRONG = ("#2456c9", "#93b2fb"), ("#eaf0fd", "#232c40"), ("#ffffff", "#10131a")

COLOURED = {
    "body_background_fill": PAPER,
    "background_fill_primary": CARD,
    "background_fill_secondary": PAPER,
    "body_text_color": TEXT,
    "body_text_color_subdued": QUIET,
    "block_background_fill": CARD,
    "block_border_color": LINE,
    "block_label_text_color": QUIET,
    "block_title_text_color": QUIET,
    "block_info_text_color": QUIET,
    "border_color_primary": LINE,
    "border_color_accent": STRONG,
    "color_accent_soft": WASH,
    "link_text_color": STRONG,
    "link_text_color_active": STRONG,
    "link_text_color_hover": STRONG,
    "link_text_color_visited": STRONG,
    "input_background_fill": CARD,
    "input_background_fill_focus": CARD,
    "input_border_color": LINE,
    "input_border_color_focus": STRONG,
    "input_placeholder_color": QUIET,
    "button_primary_background_fill": STRONG,
    "button_primary_background_fill_hover": STRONG,
    "button_primary_text_color": ON_STRONG,
    "button_secondary_background_fill": CARD,
    "button_secondary_background_fill_hover": WASH,
    "button_secondary_border_color": LINE,
    "button_secondary_border_color_hover": STRONG,
    "button_secondary_text_color": TEXT,
    "checkbox_background_color_selected": STRONG,
    "checkbox_border_color_focus": STRONG,
    "checkbox_border_color_selected": STRONG,
    "checkbox_label_background_fill": CARD,
    "checkbox_label_background_fill_hover": WASH,
    "checkbox_label_background_fill_selected": WASH,
    "checkbox_label_border_color": LINE,
    "checkbox_label_border_color_selected": STRONG,
    "checkbox_label_text_color": TEXT,
    "checkbox_label_text_color_selected": TEXT,
}
"""What Gradio lets be coloured, by its names."""


def theme() -> gr.themes.Base:
    """Gradio's plainest theme in these colours."""
    plain = gr.themes.Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=INK,
        font=LETTERS,
        font_mono=("ui-monospace", "Consolas", "monospace"),
        radius_size=gr.themes.sizes.radius_lg,
    )
    both = {
        f"{name}{end}": shade for name, pair in COLOURED.items() for end, shade in zip(("", "_dark"), pair, strict=True)
    }
    return plain.set(
        **both,
        block_border_width="1px",
        block_border_width_dark="1px",
        block_shadow="none",
        block_shadow_dark="none",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_shadow="none",
        input_shadow_focus="0 0 0 2px *border_color_accent",
        button_border_width="1px",
        button_border_width_dark="1px",
        block_label_text_size="*text_sm",
    )
