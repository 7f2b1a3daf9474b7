import os
import stat
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from gatezoo.utils import images
from gatezoo.utils.images import load_image, pil_to_tensor

RANDOM = np.random.default_rng(0)
DEEP = RANDOM.integers(0, 65536, (6, 9, 4), dtype=np.uint16)


def png16(path, values, orientation=1):
    """Write an array (H, W, C) as a PNG of 16 bits, which Pillow does not for several channels."""
    height, width, channels = values.shape

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = (b"IHDR", header), (b"eXIf", exif.tobytes()[6:]), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks))
    return path


def tiff(path, values, **options):
    tifffile.imwrite(path, values, **options)
    return path


def scaled(values, full):
    return torch.from_numpy(values.astype(np.float64) / full * 255).float()


@pytest.mark.parametrize("write", [png16, tiff])
def test_16_bits_are_scaled_alike_whatever_the_image_holds(tmp_path, write):
    for top in (65536, 1000):
        gray = RANDOM.integers(0, top, (6, 9, 1), dtype=np.uint16)
        path = write(tmp_path / "a.img", gray if write is png16 else gray[..., 0])
        expected = scaled(gray, 65535).permute(2, 0, 1)
        image = load_image(path)
        assert image.dtype == torch.float32
        torch.testing.assert_close(image, expected.expand(3, -1, -1))
        torch.testing.assert_close(load_image(path, 1), expected)
    torch.testing.assert_close(load_image(path, 1, image_max=1000), expected * 65.535)


@pytest.mark.parametrize("write", [png16, tiff])
def test_16_bits_of_color_and_transparency_keep_their_lower_bits(tmp_path, write):
    color, alpha = scaled(DEEP, 65535).permute(2, 0, 1).split([3, 1])
    options = {} if write is png16 else {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    path = write(tmp_path / "a.img", DEEP, **options)
    torch.testing.assert_close(load_image(path), 255 + (color - 255) * alpha / 255)
    torch.testing.assert_close(load_image(path, 4), torch.cat([color, alpha]))
    path = write(tmp_path / "b.img", DEEP[..., :3])
    torch.testing.assert_close(load_image(path), color)
    luminance = torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), color)
    torch.testing.assert_close(load_image(path, 1)[0], luminance)
    with pytest.raises(ValueError, match=r"channels of an image must be 4; .*b\.img has 3: .* in_chans=3"):
        load_image(path, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_full_at_one(tmp_path, dtype):
    values = RANDOM.random((6, 9, 3)).astype(dtype)
    path = tiff(tmp_path / "a.tif", values, photometric="rgb")
    torch.testing.assert_close(load_image(path), scaled(values, 1).permute(2, 0, 1))
    torch.testing.assert_close(load_image(path, image_max=2.5), scaled(values, 2.5).permute(2, 0, 1))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_of_many_channels(tmp_path, dtype, planar):
    values = RANDOM.integers(0, 2, (5, 6, 9)).astype(dtype)
    array = values if planar == "separate" else values.transpose(1, 2, 0)
    path = tiff(tmp_path / "a.tif", array, photometric="minisblack", planarconfig=planar)
    image = load_image(path, 5)
    assert image.dtype == (torch.uint8 if dtype == np.uint8 else torch.float32)
    full = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    torch.testing.assert_close(image.float(), scaled(values, full))
    with pytest.raises(ValueError, match=r"channels of an image must be 3; .*a\.tif has 5"):
        load_image(path)


def test_channels_that_pillow_would_drop_are_kept_or_refused(tmp_path):
    values = RANDOM.integers(0, 256, (6, 9, 4), dtype=np.uint8)
    path = tiff(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(load_image(path, 4).permute(1, 2, 0), values)
    with pytest.raises(ValueError, match=r"channels of an image must be 3; .*a\.tif has 4"):
        load_image(path)


def test_tiff_where_zero_is_white(tmp_path):
    values = DEEP[..., 0]
    image = load_image(tiff(tmp_path / "a.tif", values, photometric="miniswhite"), 1)
    torch.testing.assert_close(image[0], scaled(65535 - values, 65535))


def test_tiff_compressed_and_of_lossless_predictor(tmp_path):
    path = tiff(tmp_path / "a.tif", DEEP[..., :3], photometric="rgb", compression="lzw", predictor=True)
    torch.testing.assert_close(load_image(path), scaled(DEEP[..., :3], 65535).permute(2, 0, 1))


def test_without_packages_for_deep_color(tmp_path, monkeypatch):
    path, png = tiff(tmp_path / "a.tif", DEEP[..., :3], photometric="rgb"), png16(tmp_path / "a.png", DEEP)
    gray = tiff(tmp_path / "gray.tif", DEEP[..., 0])
    for name in ("tifffile", "imagecodecs"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r'^reading .*a\.tif, a TIFF .*: run pip install "gatezoo\[tiff\]"$'):
        load_image(path)
    with pytest.raises(ValueError, match=r'^reading .*a\.png, a color PNG .*: run pip install "gatezoo\[tiff\]"$'):
        load_image(png)
    assert load_image(gray).dtype == torch.float32


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png8", "png16", "tiff16"])
def test_orientation_is_applied(tmp_path, kind, orientation):
    path = tmp_path / "a.img"
    turned = [
        lambda v: v,
        lambda v: v[:, ::-1],
        lambda v: v[::-1, ::-1],
        lambda v: v[::-1],
        lambda v: v.swapaxes(0, 1),
        lambda v: np.rot90(v, -1),
        lambda v: v[::-1, ::-1].swapaxes(0, 1),
        lambda v: np.rot90(v, 1),
    ][orientation - 1](DEEP[..., :3])
    if kind == "png8":
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray((DEEP[..., :3] >> 8).astype(np.uint8)).save(path, format="PNG", exif=exif)
        assert np.array_equal(load_image(path).permute(1, 2, 0), turned >> 8)
        return
    if kind == "png16":
        png16(path, DEEP[..., :3], orientation)
    else:
        tiff(path, DEEP[..., :3], photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    torch.testing.assert_close(load_image(path), scaled(turned, 65535).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_images_of_any_mode(mode):
    gray = Image.fromarray(np.tile(np.linspace(0, 255, 40).astype(np.uint8), (36, 1)))
    image = Image.fromarray(np.array(gray).astype(np.uint16) * 257) if mode == "I;16" else gray.convert(mode)
    for channels in (1, 3):
        loaded = pil_to_tensor(image, channels, image_max=255 if mode in ("I", "F") else None)
        assert loaded.shape == (channels, 36, 40)
        assert loaded[:, 0, 0].max() < 20
        assert loaded[:, 0, -1].min() > 235
        assert loaded.dtype == (torch.float32 if mode[0] in "IF" else torch.uint8)


def test_8_bits_are_those_of_pillow(tmp_path):
    values = RANDOM.integers(0, 256, (36, 40, 4), dtype=np.uint8)
    image = Image.fromarray(values)
    image.save(tmp_path / "a.png")
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    for channels, mode in ((1, "L"), (3, "RGB")):
        expected = np.array(flat.convert("RGB").convert(mode)).reshape(36, 40, channels)
        assert np.array_equal(load_image(tmp_path / "a.png", channels).permute(1, 2, 0), expected)
    assert np.array_equal(load_image(tmp_path / "a.png", 4).permute(1, 2, 0), values)
    assert torch.equal(load_image(tmp_path / "a.png", image_max=255), load_image(tmp_path / "a.png"))
    assert (pil_to_tensor(Image.new("RGBA", (40, 40), (10, 20, 30, 0))) == 255).all()


@pytest.mark.parametrize(
    ("values", "image_max", "message"),
    [
        (np.float32([[0, np.nan]]), None, r"in 0 \.\. 1; .*a\.tif holds nan: fix the file"),
        (np.float32([[0, np.inf]]), None, r"in 0 \.\. 1; .*a\.tif holds inf"),
        (np.float32([[0, -0.5]]), None, r"in 0 \.\. 1; .*a\.tif holds -0\.5"),
        (np.float32([[0, 200]]), None, r"in 0 \.\. 1; .*a\.tif holds 200: .* image_max \(--image-max\)"),
        (np.uint16([[0, 5000]]), 4095, r"in 0 \.\. 4095; .*a\.tif holds 5000"),
        (np.int32([[0, 7]]), None, r"of int32 numbers must come with image_max; .*a\.tif has none"),
        (np.int8([[-7, 7]]), None, r"of int8 numbers must come with image_max; .*a\.tif has none"),
        (np.int32([[-7, 7]]), 9, r"in 0 \.\. 9; .*a\.tif holds -7"),
        (np.uint8([[0, 7]]), 4095, r"more than 8 bits if image_max is 4095; .*a\.tif has 8"),
        (np.uint8([[0, 7]]), 0, "image_max must be a positive number; got 0"),
        (np.uint8([[0, 7]]), float("nan"), "image_max must be a positive number; got nan"),
        (np.complex64([[0, 7]]), None, r"must hold real numbers .*a\.tif holds complex64"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path, values, image_max, message):
    with pytest.raises(ValueError, match=message):
        load_image(tiff(tmp_path / "a.tif", values), image_max=image_max)


def test_what_is_no_image_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    for path, message in (
        (tmp_path / "pipe.png", r"a regular file; .*pipe\.png is a pipe, socket or device$"),
        ("/dev/zero", r"a regular file; /dev/zero is a pipe, socket or device$"),
        (tmp_path / "folder.png", r"a regular file; .*folder\.png is a folder$"),
        (tmp_path / "empty.png", r"an intact file; .*empty\.png cannot be read: it is empty$"),
        (tmp_path / "text.png", r"in one of the formats PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM; .*text\.png is not$"),
        (tmp_path / "none.png", r"a file; there is none at .*none\.png$"),
        (tmp_path / "text.png" / "a.png", r"a file; there is none at .*a\.png$"),
        (tmp_path / ("x" * 300), "a readable file; File name too long: .*xxx$"),
        ("a\0b", "a readable file; embedded null"),
    ):
        with pytest.raises(ValueError, match=f"^an image must be {message}"):
            load_image(path)


def test_unreadable_file(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(images.Path, "open", refuse)
    with pytest.raises(ValueError, match=r"^an image must be a readable file; Permission denied: .*a\.png$"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["png8", "png16", "tiff16", "tiff8", "jpeg", "webp"])
def test_truncated_files_are_refused(tmp_path, kind):
    path, values = tmp_path / "a.img", RANDOM.integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    if kind == "png16":
        png16(path, values)
    elif kind == "tiff16":
        tiff(path, values, photometric="rgb")
    else:
        Image.fromarray((values >> 8).astype(np.uint8)).save(path, format=kind.removesuffix("8"))
    whole = path.read_bytes()
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"^an image must be .*a\.img") as raised:
            load_image(path)
        assert "\n" not in str(raised.value)


def test_other_programs_are_never_started(tmp_path, monkeypatch):
    """An EPS is drawn by Ghostscript, whatever the name of the file."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    (tmp_path / "photo.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    with pytest.raises(ValueError, match=r"one of the formats PNG, .*photo\.jpg is not$"):
        load_image(tmp_path / "photo.jpg")
    assert not (tmp_path / "started").exists()


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("size", [(178_500, 1_000), (60_000, 60_000)])
@pytest.mark.parametrize("kind", ["png8", "png16"])
def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, kind, size):
    path = png16(tmp_path / "a.png", DEEP[..., :3])
    start = bytearray(path.read_bytes())
    start[16:24] = struct.pack(">II", *size)
    start[24] = 16 if kind == "png16" else 8
    start[29:33] = struct.pack(">I", zlib.crc32(bytes(start[12:29])))
    path.write_bytes(start)
    with pytest.raises(ValueError, match=r"must have at most 178 megapixels.*a\.png .*: cut it into tiles$"):
        load_image(path)


def test_tiff_that_states_too_many_pixels(tmp_path):
    path = tiff(tmp_path / "a.tif", np.zeros((6, 9, 5), np.uint16), photometric="minisblack", planarconfig="contig")
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[tag].overwrite(60_000)
    with pytest.raises(ValueError, match=r"at most 178 megapixels of four channels; .*a\.tif is 60000 x 60000 of 5"):
        load_image(path, 5)
