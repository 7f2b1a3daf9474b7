"""HTML of the page: figures, color scales, legends, tables and downloads, with every image within the text.

Images are data URLs, so that no file of a visitor's image is written for the page to show.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from PIL import Image

from ..utils.palette import Color
from ..visualization.pixels import colorize

# Longer sides are reduced for the screen; downloads are not.
MAX_SIDE = 1280
_COLORS = [f"rgb{tuple(color)}" for color in np.asarray(colorize(np.linspace(0, 1, 6)[None]))[0].tolist()]


def escape(text: str) -> str:
    """Return a text in which nothing is markup, nor a placeholder of the templates that show HTML."""
    return html.escape(text).translate({ord(char): f"&#{ord(char)};" for char in "{}$`"})


def data_url(content: bytes, kind: str) -> str:
    """Return a file of a media type as a URL that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png_bytes(image: Image.Image) -> bytes:
    """Return an image as the bytes of a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def shown(image: Image.Image) -> Image.Image:
    """Reduce an image to the size that is shown, by nearest neighbor if it has a palette."""
    scale = min(1.0, MAX_SIDE / max(image.size))
    if scale == 1:
        return image
    resample = Image.Resampling.NEAREST if image.mode == "P" else Image.Resampling.LANCZOS
    return image.resize([max(1, round(side * scale)) for side in image.size], resample)


def img(image: Image.Image, text: str, name: str = "") -> str:
    """Return an ``<img>``: a JPEG of a photograph, a PNG of a palette image.

    Args:
        image: to show.
        text: what it shows, for who cannot see it.
        name: class of the element.
    """
    image = shown(image)
    if image.mode == "P":
        url = data_url(png_bytes(image), "image/png")
    else:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=92)
        url = data_url(file.getvalue(), "image/jpeg")
    return f'<img class="{name}" alt="{escape(text)}" src="{url}">'


def figure(content: str, caption: str, below: str = "") -> str:
    """Return a ``<figure>`` of HTML with a caption in plain text and HTML below it."""
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption>{below}</figure>"


def layers(under: Image.Image, over: Image.Image, text: str) -> str:
    """Return two images one over the other; the page's slider sets the opacity of the upper one."""
    return f'<div class="layers">{img(under, text)}{img(over, "", "over")}</div>'


def map_figure(values: np.ndarray, title: str, low: float | None = None, high: float | None = None) -> str:
    """Return a figure of a map (H, W) of numbers, with a color scale from ``low`` to ``high``.

    Args:
        values: the map.
        title: its name.
        low, high: default: the map's own smallest and largest value.
    """
    smallest, largest = float(values.min()), float(values.max())
    low, high = smallest if low is None else low, largest if high is None else high
    caption = f"{title}: mean {values.mean():.3f}, from {smallest:.3f} to {largest:.3f}"
    drawn = colorize(values, low, high).quantize(256)
    ends = f"<span>{low:.3f}</span><span>{high:.3f}</span>"
    scale = f'<div class="scale" style="background:linear-gradient(to right,{",".join(_COLORS)})"></div>'
    return figure(img(drawn, caption), caption, f'{scale}<div class="ends">{ends}</div>')


def grid(figures: Iterable[str]) -> str:
    """Return figures side by side, as many in a row as the screen has place for."""
    return f'<div class="figures">{"".join(figures)}</div>'


def legend(entries: Iterable[tuple[str, Color | None, str]]) -> str:
    """Return a list of names with their colors, None for what is left clear, and values."""
    items = []
    for name, color, value in entries:
        style = "" if color is None else f' style="background:rgb({color[0]},{color[1]},{color[2]})"'
        items.append(f"<li><i{style}></i><span>{escape(name)}</span><b>{escape(value)}</b></li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts; the first of each row is its name."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in header)
    lines = []
    for name, *cells in rows:
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{values}</tr>')
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def note(text: str) -> str:
    """Return a line of plain text."""
    return f"<p>{escape(text)}</p>"


def downloads(files: Mapping[str, bytes]) -> str:
    """Return links that save files, by name; PNG and JSON."""
    links = []
    for name, content in files.items():
        kind = "application/json" if name.endswith(".json") else "image/png"
        links.append(f'<a download="{escape(name)}" href="{data_url(content, kind)}">{escape(name)}</a>')
    return f'<p class="downloads">Download: {" ".join(links)}</p>'


def json_bytes(record: Mapping[str, object]) -> bytes:
    """Return a record as the bytes of a JSON file."""
    return json.dumps(record, indent=2, ensure_ascii=False).encode()
