"""Read the HTML that the page of ``gatezoo app`` shows."""

import base64
import html
import io
import json
import re
import socket

import numpy as np
from PIL import Image

from gatezoo.app.image_file import ImageFile
from gatezoo.app.models import Loaded
from gatezoo.inference.instance import InstancePredictor
from gatezoo.inference.predictor import Predictor


def free_port():
    """A port of this machine that nothing listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def file_of(path):
    """The image of a file, as an upload."""
    return ImageFile(path.name, path.read_bytes())


def loaded(model, name="mine"):
    """A network as the page keeps it."""
    model.eval()
    if model.task == "instance":
        return Loaded(name, InstancePredictor(model, score_threshold=0.05))
    return Loaded(name, Predictor(model, shared=True))


def downloads(text):
    """Files that can be downloaded, by name: arrays of PNGs and contents of JSONs."""
    links = re.findall(r'<a download="([^"]*)" href="data:[^;]*;base64,([^"]*)"', text)
    files = {html.unescape(name): base64.b64decode(content) for name, content in links}
    return {
        name: json.loads(content) if name.endswith(".json") else np.array(Image.open(io.BytesIO(content)))
        for name, content in files.items()
    }


def captions(text):
    """Captions of the figures, in order."""
    return [html.unescape(caption) for caption in re.findall(r"<figcaption>(.*?)</figcaption>", text)]


def legend(text):
    """Value of each entry of the legend."""
    entries = re.findall(r"<span>([^<]*)</span><b>([^<]*)</b></li>", text)
    return {html.unescape(name): html.unescape(value) for name, value in entries}


def rows(text):
    """Cells of the table, row by row, the header first."""
    return [
        [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", text)
    ]
