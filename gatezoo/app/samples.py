"""Drawn images to try a network on: no photograph, and no license to keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (480, 360)
_SEED = 5


def draw_sample(name: str) -> Image.Image:
    """Draw the sample image of a name, one of ``SAMPLES``: an RGB image of ``SIZE``, the same at every call."""
    image = SAMPLES[name](np.random.default_rng(_SEED))
    noise = np.random.default_rng(_SEED).normal(0, 3, (SIZE[1], SIZE[0], 1))
    return Image.fromarray((np.asarray(image) + noise).round().clip(0, 255).astype(np.uint8))


def _street(random: np.random.Generator) -> Image.Image:
    """Draw a street between houses and trees, with two cars and a walker, as a camera in a car sees it."""
    width, height = SIZE
    image = Image.new("RGB", SIZE, (196, 208, 220))
    draw = ImageDraw.Draw(image)
    horizon, middle = 170, width // 2
    for left, right, top, color in (
        (0, 120, 40, (142, 112, 94)),
        (120, 190, 90, (168, 150, 128)),
        (300, 370, 80, (150, 132, 118)),
        (370, 480, 30, (128, 104, 92)),
    ):
        draw.rectangle((left, top, right, horizon + 40), fill=color)
        for x in range(left + 12, right - 14, 26):
            for y in range(top + 14, horizon - 10, 34):
                draw.rectangle((x, y, x + 11, y + 17), fill=(64, 72, 84))
    for x, y, size in ((206, 140, 34), (284, 146, 28)):
        draw.rectangle((x - 3, y, x + 3, horizon + 10), fill=(72, 56, 44))
        for _ in range(60):
            dx, dy = random.normal(0, size / 2.4, 2)
            shade = int(random.integers(-16, 16))
            spot = (x + dx - 9, y - 20 + dy - 9, x + dx + 9, y - 20 + dy + 9)
            draw.ellipse(spot, fill=(62 + shade, 88 + shade, 52 + shade))
    draw.polygon([(0, height), (0, 250), (middle - 24, horizon), (middle + 24, horizon), (width, 250), (width, height)],
                 fill=(158, 152, 146))  # fmt: skip
    draw.polygon([(40, height), (middle - 14, horizon), (middle + 14, horizon), (440, height)], fill=(96, 96, 100))
    for near, far in ((350, 310), (290, 262), (248, 230), (220, 208)):
        half = [(y - horizon) / 40 for y in (near, far)]
        corners = [(middle - half[0], near), (middle - half[1], far), (middle + half[1], far), (middle + half[0], near)]
        draw.polygon(corners, fill=(214, 212, 206))
    for x, y, scale, color in ((140, 246, 1.5, (120, 34, 36)), (300, 214, 0.8, (44, 62, 98))):
        body = (x - 34 * scale, y - 26 * scale, x + 34 * scale, y)
        draw.rounded_rectangle(body, 7 * scale, fill=color)
        draw.rounded_rectangle((x - 27 * scale, y - 46 * scale, x + 27 * scale, y - 22 * scale), 8 * scale, fill=color)
        draw.rectangle((x - 22 * scale, y - 42 * scale, x + 22 * scale, y - 27 * scale), fill=(52, 60, 70))
        for side in (-24, 24):
            spot = (x + side * scale - 8 * scale, y - 7 * scale, x + side * scale + 8 * scale, y + 8 * scale)
            draw.ellipse(spot, fill=(26, 26, 28))
    draw.ellipse((397, 198, 411, 214), fill=(196, 152, 126))
    draw.rounded_rectangle((392, 214, 416, 256), 8, fill=(60, 70, 120))
    draw.rectangle((395, 254, 402, 290), fill=(40, 42, 52))
    draw.rectangle((406, 254, 413, 290), fill=(40, 42, 52))
    draw.rectangle((440, 96, 445, 300), fill=(88, 92, 96))
    draw.ellipse((428, 78, 457, 107), fill=(178, 40, 40))
    return image.filter(ImageFilter.GaussianBlur(0.8))


def _cells(random: np.random.Generator) -> Image.Image:
    """Draw bright nuclei on a dark ground, as a fluorescence microscope shows them."""
    image = Image.new("RGB", SIZE, (10, 10, 12))
    for _ in range(46):
        side, stretch = random.uniform(18, 34), random.uniform(0.65, 1)
        value = int(random.uniform(70, 190))
        cell = Image.new("L", (60, 60))
        spot = (30 - side / 2, 30 - stretch * side / 2, 30 + side / 2, 30 + stretch * side / 2)
        ImageDraw.Draw(cell).ellipse(spot, fill=255)
        cell = cell.rotate(float(random.uniform(0, 180))).filter(ImageFilter.GaussianBlur(1.4))
        place = (int(random.integers(-10, SIZE[0] - 40)), int(random.integers(-10, SIZE[1] - 40)))
        image.paste((value, value, value), place, cell)
    return image


def _room(_: np.random.Generator) -> Image.Image:
    """Draw a room with a bed, a table, a window and a frame on the wall."""
    image = Image.new("RGB", SIZE, (214, 204, 186))
    draw = ImageDraw.Draw(image)
    back = (120, 70, 360, 230)
    draw.polygon([(0, 0), back[:2], (120, 230), (0, 350)], fill=(198, 186, 166))
    draw.polygon([(480, 0), (360, 70), (360, 230), (480, 350)], fill=(188, 176, 156))
    draw.polygon([(0, 0), (480, 0), (360, 70), (120, 70)], fill=(234, 230, 222))
    draw.polygon([(0, 360), (0, 350), (120, 230), (360, 230), (480, 350), (480, 360)], fill=(142, 106, 76))
    for x in range(-160, 641, 80):
        draw.line((x, 360, 120 + (x + 160) * 0.3, 230), fill=(120, 88, 62))
    draw.rectangle((156, 92, 232, 170), fill=(238, 240, 236))
    draw.rectangle((161, 97, 227, 165), fill=(166, 196, 222))
    draw.line((194, 97, 194, 165), fill=(238, 240, 236), width=4)
    draw.rectangle((276, 100, 334, 146), fill=(92, 66, 44))
    draw.rectangle((281, 105, 329, 141), fill=(120, 150, 110))
    draw.polygon([(250, 226), (352, 226), (440, 310), (268, 310)], fill=(206, 206, 214))
    draw.polygon([(268, 310), (440, 310), (440, 344), (268, 344)], fill=(96, 104, 140))
    draw.polygon([(250, 226), (268, 310), (268, 344), (250, 252)], fill=(82, 90, 122))
    draw.polygon([(268, 206), (346, 206), (356, 232), (258, 232)], fill=(240, 240, 242))
    draw.polygon([(40, 250), (132, 238), (176, 266), (62, 286)], fill=(112, 74, 44))
    for x, top, bottom in ((44, 256, 322), (64, 286, 352), (170, 266, 326)):
        draw.rectangle((x, top, x + 6, bottom), fill=(86, 56, 34))
    draw.ellipse((92, 226, 122, 240), fill=(70, 110, 84))
    draw.rectangle((97, 232, 117, 258), fill=(70, 110, 84))
    return image.filter(ImageFilter.GaussianBlur(0.8))


SAMPLES: dict[str, Callable[[np.random.Generator], Image.Image]] = {"street": _street, "cells": _cells, "room": _room}
