"""Uploads: bounded, deleted once they are read, and refused in words."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gatezoo.app import image_file
from gatezoo.app.image_file import ImageFile, take_upload


def upload(path, content):
    path.write_bytes(content)
    return path


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def huge_png():
    """The header of an image of 100 000 x 100 000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0" * 50


def test_upload_is_read_and_deleted(tmp_path):
    content = png(np.full((40, 50, 3), 7, np.uint8))
    path = upload(tmp_path / "a b.png", content)
    assert take_upload(path) == ImageFile("a b.png", content)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not an image", r"an image must be in one of the formats PNG, .*; bad.png is not: convert it"),
        (b"", "bad.png is not"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "bad.png is not"),
        (png(np.zeros((40, 50, 3), np.uint8))[:60], "must be an intact file; bad.png cannot be read"),
        (huge_png(), "bad.png is not"),
    ],
)
def test_bad_file_is_refused_in_words_and_deleted(tmp_path, content, message):
    path = upload(tmp_path / "bad.png", content)
    with pytest.raises(ValueError, match=message) as error:
        take_upload(path)
    assert str(tmp_path) not in str(error.value)
    assert "/" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_bytes_and_pixels_are_bounded(tmp_path, monkeypatch):
    content = png(np.zeros((40, 50, 3), np.uint8))
    monkeypatch.setattr(image_file, "MAX_PIXELS", 1999)
    with pytest.raises(ValueError, match=r"megapixels; a\.png is 50 x 40: reduce it"):
        take_upload(upload(tmp_path / "a.png", content))
    monkeypatch.setattr(image_file, "MAX_BYTES", len(content) - 1)
    with pytest.raises(ValueError, match=r"MB; a.png has .*: reduce it"):
        take_upload(upload(tmp_path / "a.png", content))
    assert list(tmp_path.iterdir()) == []


def test_images_of_other_kinds_are_shown(tmp_path):
    deep = np.linspace(0, 60000, 2000).reshape(40, 50).astype(np.uint16)
    shown = np.array(ImageFile("deep.png", png(deep)).shown())
    assert shown.shape == (40, 50, 3)
    assert (shown.min(), shown.max()) == (0, 255)
    gray = ImageFile("gray.png", png(np.full((40, 50), 9, np.uint8))).shown()
    assert np.array(gray).tolist() == np.full((40, 50, 3), 9).tolist()


def test_file_of_a_picture_is_gone_afterwards():
    file = ImageFile("a.png", b"content")
    with file.as_file() as path:
        assert path.read_bytes() == b"content"
    assert not path.parent.exists()
    with pytest.raises(ValueError, match=r"^a\.png is wrong$"), file.as_file() as path:
        raise ValueError(f"{path} is wrong")
