"""CamVid (Brostow et al., 2009) with the 11 classes that SegNet made usual, 480 x 360.

Layout: ``train/images/*.jpg`` with ``train/labels/*.png``, and ``val`` alike; label 255 is ignored.
Licence of the data: CC BY-NC 4.0, research use.
"""

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
PALETTE = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
