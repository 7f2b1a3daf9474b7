"""Calls of the Python interface with images, depth maps and arguments of every kind."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from fuzz import image_files
from fuzz.runner import EITHER, VALID, WRONG, Case
from PIL import Image

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.inference.gate_maps import compute_gate_maps
from gatezoo.inference.modes import MultiScale, SlidingWindow, WholeImage

DTYPES = sorted((value for value in vars(torch).values() if isinstance(value, torch.dtype)), key=str)
PIL_MODES = ("1", "L", "LA", "P", "CMYK", "I;16", "F")
SIDES = (0, 1, 31, 33, 40)
NUMPY_DTYPES = (
    "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool",
    "complex64", "object", "str", "datetime64[s]",
)  # fmt: skip


def image(random):
    """(name, image, expected) of an image of any kind, good or bad."""
    return random.choice((_tensor, _tensor, _array, _array, _other, _values, _layout))(random)


def _shape(random, channels_last):
    """A shape that is an image or a batch, or not, and whether it is."""
    height, width = random.choice(SIDES), random.choice(SIDES)
    channels, rank = random.choice((1, 2, 3, 3, 3, 3, 4, 5)), random.choice((0, 1, 2, 3, 3, 3, 3, 3, 4, 5))
    image = (height, width, channels) if channels_last else (channels, height, width)
    shape = {0: (), 1: (width,), 2: (height, width), 3: image, 4: (2, *image), 5: (1, 2, *image)}[rank]
    fits = height > 0 and width > 0 and ((rank == 2 and channels_last) or (rank in (3, 4) and channels == 3))
    # Networks may refuse images that are smaller than their stride.
    return shape, WRONG if not fits else VALID if min(height, width) >= 32 else EITHER


def _tensor(random):
    dtype = random.choice(DTYPES)
    shape, expected = _shape(random, False)
    try:
        x = torch.zeros(shape, dtype=dtype)
    except (RuntimeError, TypeError):  # a type of quantized numbers, of which there are no tensors like these
        return "quantized", torch.quantize_per_tensor(torch.zeros(3, 40, 48), 0.1, 0, torch.quint8), WRONG
    if not (dtype.is_floating_point or dtype in (torch.uint8, torch.uint16)):
        expected = WRONG
    elif dtype.itemsize == 1 and dtype.is_floating_point and expected == VALID:
        expected = EITHER
    if random.random() < 0.1 and x.numel():
        x, expected = x.to("meta"), WRONG
    elif random.random() < 0.1 and dtype.is_floating_point:
        x.requires_grad_()
    return f"{dtype} {shape} on {x.device}", x, expected


def _array(random):
    dtype = random.choice(NUMPY_DTYPES)
    shape, expected = _shape(random, True)
    if dtype not in ("uint8", "uint16", "float16", "float32", "float64"):
        expected = WRONG
    return f"{dtype} array {shape}", np.zeros(shape, dtype), expected


def _values(random):
    value = random.choice((math.nan, math.inf, -math.inf, -0.01, 1.01, 255.0, 1e30))
    x = torch.rand(3, 40, 48, dtype=random.choice((torch.float32, torch.float64, torch.bfloat16)))
    x[random.randrange(3), random.randrange(40), random.randrange(48)] = value
    if random.random() < 0.5:
        x = x.float().permute(1, 2, 0).numpy()
    return f"one value is {value}", x, WRONG


def _layout(random):
    wide = torch.rand(3, 80, 96)
    base = np.random.default_rng(0).random((40, 48, 3))
    readonly = base.copy()
    readonly.flags.writeable = False
    return random.choice(
        (
            ("every other pixel", wide[:, ::2, ::2], VALID),
            ("channels last", wide[:, :40, :48].permute(1, 2, 0).contiguous().permute(2, 0, 1), VALID),
            ("mirrored array", base[:, ::-1], VALID),
            ("array of columns", np.asfortranarray(base), VALID),
            ("read-only array", readonly, VALID),
            ("big-endian array", base.astype(">f8"), EITHER),
            ("masked array", np.ma.masked_array(base, base > 2), EITHER),
            ("expanded", torch.rand(1, 40, 48).expand(3, 40, 48), VALID),
            ("sparse", wide.to_sparse(), WRONG),
            ("conjugate", torch.complex(wide, wide).conj(), WRONG),
            ("within inference mode", _inference_tensor(), VALID),
            ("parameter", torch.nn.Parameter(torch.rand(3, 40, 48)), VALID),
        )
    )


def _inference_tensor():
    with torch.inference_mode():
        return torch.rand(3, 40, 48)


def _other(random):
    photo = image_files.photo(random)
    return random.choice(
        (
            ("None", None, WRONG), ("dict", {"image": photo}, WRONG), ("number", 3, WRONG), ("bytes", b"x", WRONG),
            ("generator", (x for x in [photo]), EITHER), ("empty list", [], EITHER), ("list of None", [None], WRONG),
            ("list", [photo, np.zeros((33, 40, 3))], VALID), ("tuple", (photo,), VALID), ("set", {1}, WRONG),
            ("list of lists", [[[0.0] * 3] * 48] * 40, WRONG), ("nested list", [[photo]], WRONG),
            ("path to nothing", Path("nothing.png"), WRONG), ("text", "nothing.png", WRONG), ("no text", "", WRONG),
            ("text with zero", "a\0b.png", WRONG), ("long text", "x" * 5000, WRONG),
            ("class", Image.Image, WRONG), ("module", gatezoo, WRONG), ("bool", True, WRONG), ("nan", math.nan, WRONG),
            ("a folder", Path("/proc/self/fd"), WRONG), ("bytes path", b"/dev/zero", WRONG),
            ("URL", "https://x/y.png", WRONG),
            *((f"PIL {mode}", image_files.photo(random, mode), VALID) for mode in PIL_MODES),
            ("PIL HSV", photo.convert("HSV"), EITHER), ("PIL LAB", Image.new("LAB", (48, 40)), EITHER),
            ("PIL I", photo.convert("I"), EITHER), ("PIL of no pixel", Image.new("RGB", (0, 5)), WRONG),
        )
    )  # fmt: skip


def image_case(random, folder, networks):
    """A prediction from an image."""
    what, x, expected = image(random)
    semantic, gated, instance = (networks.models[name] for name in ("test_fcn", "test_dignet", "test_maskrcnn_fpn"))
    calls = {
        "predict": lambda: gatezoo.predict(semantic, x),
        "probabilities": lambda: gatezoo.predict(gated, x, probabilities=True),
        "instances": lambda: gatezoo.predict_instances(instance, x),
    }
    single = not isinstance(x, (list, tuple)) and getattr(x, "ndim", 3) != 4
    if single and not (isinstance(x, Path) and x.is_dir()):
        calls["gates"] = lambda: compute_gate_maps(gated, x)
        calls["Predictor"] = lambda: gatezoo.Predictor(gated).predict(x, all_passes=True)
    name = random.choice(list(calls))
    return Case(f"{name}, {what}", calls[name], expected, "" if expected == VALID else "image")


def depth_case(random, folder, networks):
    """A prediction from an image and its depth."""
    good = np.full((40, 48), 2.5, np.float32)
    shape, _ = _shape(random, True)
    dtype = random.choice(NUMPY_DTYPES)
    what, depth, expected = random.choice(
        (
            ("float32", good, VALID), ("float64", good.astype(float), VALID), ("tensor", torch.tensor(good), VALID),
            ("unknown", np.where(np.arange(48) > 9, good, np.nan), VALID),
            ("non-contiguous", torch.ones(48, 40).T, VALID),
            ("requires grad", torch.ones(40, 48, requires_grad=True), VALID), ("negative", -good, WRONG),
            ("infinite", good * np.inf, WRONG), ("turned", good.T, WRONG), ("None", None, WRONG),
            ("meta", torch.ones(40, 48, device="meta"), WRONG),
            ("list", good.tolist(), WRONG), ("number", 2.5, WRONG), ("text", "depth.png", WRONG), ("dict", {}, WRONG),
            (f"{dtype} {shape}", np.zeros(shape, dtype), EITHER if shape == (40, 48) else WRONG),
            (f"{dtype} {shape}", np.zeros(shape, dtype), EITHER if shape == (40, 48) else WRONG),
            ("sparse", torch.ones(40, 48).to_sparse(), WRONG), ("half", torch.ones(40, 48).half(), EITHER),
        )
    )  # fmt: skip
    x = image_files.photo(random)
    model = networks.models["test_depthgate_given"]
    return Case(f"depth, {what}", lambda: gatezoo.predict(model, x, depth_map=depth), expected, "depth")


NUMBERS = (-1, 0, 1.5, math.nan, math.inf, -math.inf, "x", "", "1", 10**30, True, None, [], {}, b"1", object(), 1j)
# (function, argument, values that are fine or either way, further values that are wrong)
FINE = {
    "iterations": (None, True, 1, 2, "auto"),
    "tolerance": (0, 0.5, True),
    "blur": (0, 1.5, True, 0.5),
    "score_threshold": (None, 0, 0.5, True),
    "max_detections": (None, True, 5, 10**30),
    "device": (None, "", "cpu", "auto", torch.device("cpu")),
    "mode": (None, WholeImage(), SlidingWindow(40), MultiScale((0.5,))),
    "merge": (None, "max", "mean"),
    "ablate": (None, "G1", "G2", "1", 1),
    "num_classes": (None, 2, 300, True, 1.5),
    "in_chans": (None, 1, 5, True),
    "backbone": (None, "test_resnet"),
    "normalize": (None, torch.nn.Identity()),
}
WORSE = {
    "device": ("cuda:99", "abc", "cpu:7", "meta", "cuda:x", torch.device("meta"), "xla"),
    "mode": ("x", WholeImage, SlidingWindow, MultiScale, torch.nn.Identity()),
    "merge": ("sum", "MAX"),
    "ablate": ("G9", "g", "G", "G1 "),
    "backbone": ("nope", "resnet18.nope", "../x"),
    "iterations": ("AUTO", torch.tensor([1, 2]), 10**6),
}


def argument_case(random, folder, networks):
    """A wrong argument of a call that is right but for it."""
    x = torch.rand(3, 40, 48)
    gated, instance = networks.models["test_dignet"], networks.models["test_maskrcnn_fpn"]
    predictor = {"iterations", "device", "mode", "tolerance", "merge", "blur", "normalize"}
    name = random.choice(list(FINE))
    value = random.choice((*FINE[name], *WORSE.get(name, ()), *WORSE.get(name, ()), *NUMBERS))
    fine = any(value is one or (type(value) is type(one) and value == one) for one in FINE[name])
    if name in predictor:
        extra = {"iterations": "auto"} if name == "tolerance" else {}
        call = lambda: gatezoo.Predictor(gated, **extra, **{name: value}).predict(x)  # noqa: E731
    elif name == "ablate":
        call = lambda: compute_gate_maps(gated, x, value)  # noqa: E731
    elif name in ("score_threshold", "max_detections"):
        call = lambda: gatezoo.predict_instances(instance, x, **{name: value})  # noqa: E731
    else:
        call = lambda: gatezoo.create_model("test_fcn", **{name: value})  # noqa: E731
    return Case(f"{name}={value!r}", call, EITHER if fine else WRONG, name)


def interface_case(random, folder, networks):
    """A call with an argument of another kind altogether."""
    model, instance = networks.models["test_fcn"], networks.models["test_maskrcnn_fpn"]
    x = torch.rand(3, 40, 48)
    junk = random.choice((None, 3, -1, "", "x", "a\0", [], {}, object(), b"x", math.nan, Path("nothing"), "x" * 3000))
    calls = {
        "create_model": lambda: gatezoo.create_model(junk),
        "create_model checkpoint": lambda: gatezoo.create_model("test_fcn", checkpoint_path=junk or "x"),
        "create_model backbone_args": lambda: gatezoo.create_model("test_fcn", backbone_args=junk or 1),
        "create_model keyword": lambda: gatezoo.create_model("test_fcn", nonsense=junk or 1),
        "from_pretrained": lambda: gatezoo.from_pretrained(junk),
        "load_checkpoint": lambda: gatezoo.load_checkpoint(model, junk),
        "predict model": lambda: gatezoo.predict(junk, x),
        "predict other task": lambda: gatezoo.predict(instance, x),
        "predict_instances model": lambda: gatezoo.predict_instances(junk, x),
        "predict_instances other task": lambda: gatezoo.predict_instances(model, x),
        "Predictor": lambda: gatezoo.Predictor(junk),
        "evaluate data": lambda: gatezoo.evaluate(model, junk),
        "evaluate model": lambda: gatezoo.evaluate(junk, []),
        "save_pretrained names": lambda: gatezoo.save_pretrained(model, folder / "saved", junk or ["a"]),
        "save_pretrained model": lambda: gatezoo.save_pretrained(junk, folder / "saved"),
        "Recipe": lambda: gatezoo.Recipe(steps=junk),
        "Recipe lr": lambda: gatezoo.Recipe(lr=junk),
        "Recipe.from_dict": lambda: gatezoo.Recipe.from_dict(junk or 1),
        "FolderDataset": lambda: FolderDataset(junk, 2),
        "MultiScale": lambda: MultiScale(junk),
        "SlidingWindow": lambda: SlidingWindow(junk),
        "list_models": lambda: gatezoo.list_models(junk or 1, task=junk or "x"),
        "get_pretrained_cfg": lambda: gatezoo.get_pretrained_cfg(junk),
    }
    name = random.choice(list(calls))
    return Case(f"{name} of {str(junk)[:20]!r}", calls[name], WRONG)
