"""Figures as files and as SVG inside a page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lmht_deploy.plot._style import INK, LINE, MUTED, SERIES

from ._document import Figure

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure as Canvas

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    **{color: f"--series-{index}" for index, color in enumerate(SERIES)},
}
"""Variables of the style sheet by the color that stands for them in a figure."""
RESOLUTION = 300
"""Pixels per inch of PNG files, and of images inside other files."""
PAGE_RESOLUTION = 110
"""The same for images inside a page, where size matters."""
SETTINGS: dict[Any, Any] = {"font.size": 10, "pdf.fonttype": 42, "svg.image_inline": True}
_TEXTS: dict[Any, Any] = {"svg.fonttype": "none"}
"""Texts stay texts: a page renders them in its own font, and a reader can search them."""
_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_NAMESPACE = re.compile(r' xmlns(:\w+)?="[^"]*"')
_TAG = re.compile(r"<[^>]+>")
_DIGITS = re.compile(r"(\d\.\d\d)\d+")
_NO_ROTATION = re.compile(r' transform="rotate\(-0 [^"]*"')
_FONT = re.compile(r"font-family: [^;\"]*;? ?")
_SHAPE = re.compile(r'(?<=<svg)[^>]*?viewBox="([^"]*)"[^>]*>')


def inline(figure: Figure) -> Markup:
    """Return a figure as an SVG element: with a title and a description, without any address.

    Its colors are variables of the style sheet, so that they follow the light or dark page.
    """
    from markupsafe import Markup

    found = _PROLOG.sub("", render(figure, "svg", PAGE_RESOLUTION, _TEXTS).decode(), count=1)
    found = _METADATA.sub("", _NAMESPACE.sub("", found)).replace("xlink:href", "href")
    found = _TAG.sub(_compact, re.sub(r">\s+<", "><", found))
    for color, variable in VARIABLES.items():
        found = found.replace(color, f"var({variable})")
    found = _own_names(found, figure.name)
    title, description = f"{figure.name}-title", f"{figure.name}-description"
    head = (
        f' viewBox="\\1" role="img" aria-labelledby="{title} {description}">'
        f'<title id="{title}">{_safe(figure.title)}</title>'
        f'<desc id="{description}">{_safe(figure.caption)}</desc>'
    )
    return Markup(_SHAPE.sub(head, found, count=1).strip())


def _compact(tag: re.Match[str]) -> str:
    """Shorten a tag: two decimals are enough for a screen, and the page has fonts of its own."""
    return _FONT.sub("", _NO_ROTATION.sub("", _DIGITS.sub(r"\1", tag[0])))


def _safe(text: str) -> str:
    from markupsafe import escape

    return str(escape(text)).replace("\\", "\\\\")


def _own_names(found: str, name: str) -> str:
    """Remove the names of groups, and make those that are referred to unique in the page."""
    found = re.sub(r'(<g) id="[^"]*"', r"\1", found)
    found = re.sub(r' id="([^"]*)"', rf' id="{name}-\1"', found)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", found)


def render(
    figure: Figure, kind: str, dpi: int = RESOLUTION, settings: dict[Any, Any] | None = None
) -> bytes:
    """Return a figure as the content of a file.

    Args:
        figure: The figure.
        kind: "svg", "png" or "pdf".
        dpi: Pixels per inch of images.
        settings: Settings of Matplotlib; they are restored afterwards.
    """
    with _settings(figure.name, settings or {}), io.BytesIO() as file:
        canvas = _draw(figure)
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        canvas.savefig(file, format=kind, dpi=dpi, metadata=metadata, transparent=kind != "png")
        return file.getvalue()


def _draw(figure: Figure) -> Canvas:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=figure.size, layout="constrained")
    figure.draw(canvas.subplots())
    return canvas


@contextmanager
def _settings(name: str, settings: dict[Any, Any]) -> Iterator[None]:
    """Use own settings of Matplotlib, and accept letters that its font lacks."""
    from matplotlib import rc_context

    with rc_context({**SETTINGS, "svg.hashsalt": name, **settings}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
