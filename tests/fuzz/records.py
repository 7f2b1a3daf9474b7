"""Records of weights that are wrong in one way: headers of checkpoints, config.json files and manifests."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fuzz.runner import EITHER, VALID, WRONG

from gatezoo.registry import get_model_spec

NUMBERS = ("num_classes", "in_chans", "ignore_index")
# A path of each kind and an address of each kind; none of them exists or is asked for.
PATHS = ("/etc/trap", "../../trap", "..\\trap", "C:\\trap", "~/trap", "./trap.pth", "//host/trap", "file:///trap")
URLS = (
    "http://trap/x",
    "https://trap/x.pth",
    "ftp://trap/x",
    "hf-hub:trap/x",
    "hf_hub:trap/x",
    "s3://trap",
    "local-dir:/trap",
    "//trap/x",
)
UNPRINTABLE = ("\ud800", "\x1b[31m", "a\tb", "a\nb", "\u202eb", "\u2028", "\0", "\x7f", "\u200b", "\x85", "\ufeff")
NAMES = (
    "th\u00e9\u00a0noir",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u0645\u06cc\u200c\u0634",
    "\u9053 \u8def",
)
OF_ANY_TYPE = (None, True, 0, -1, 7, 2.5, "x", "", [], [1], ["x"], {}, {"a": 1}, [[1]], [None], {"a": {"a": []}})
LOADING = (
    "pretrained_backbone",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
)
WRONG_VALUES = {
    "num_classes": (0, -1, 10**5, 2.0, True, "3"),
    "in_chans": (0, -3, 10**4, True),
    "mean": ([], [1e9] * 3, ["a"] * 3, "abc", {"0": 1}, [None] * 3, [[0.5]] * 3, [True] * 3),
    "std": ([0, 1, 1], [-1, 1, 1], [0.0] * 3, [1e-30] * 3, [], None, [1e9] * 3),
    "palette": ([[0, 0, 256]], [[0, 0, -1]], [[0, 0]], [[0, 0, 0, 0]], [0, 0, 0], [[0.5, 0, 0]], "abc"),
    "ignore_index": (-2, 10**6, 255.0, "255", None),
    "format_version": (0, -1, 99, "3", 1.5, True, None, [3]),
    "label_format": ([], {"ids": {"0": 999}}, {"suffix": "/x"}, {"x": 1}, {"colors": [[1]]}, {"ids": {"-1": 0}}, None),
    "image_max": (0, -1, "x", True, [1]),
    "versions": ({"torch": 1}, ["2"], {"torch": {}}, "2.0"),
    "recipe": (3, [], "x", None),
    "license": (1, None, ["mit"], {}),
}
WRONG_DIGESTS = ("", "x", "0" * 63, "0" * 65, "G" * 64, "A" * 64, 0, None)


@dataclass
class Record:
    """A document with a record in it.

    Attributes:
        kind: "header", "config" or "manifest".
        document: content of the JSON.
        fields: the fields of a record, a part of the document.
        kwargs: keywords of the builder, likewise; an empty dict that is no part of it where there are none.
        raw: JSON text for each stand-in of a value that Python cannot write.
    """

    kind: str
    document: dict[str, Any]
    fields: dict[str, Any]
    kwargs: dict[str, Any]
    raw: dict[str, str] = field(default_factory=dict)

    def stand_in(self, text: str) -> str:
        """Return a value that :meth:`text` writes as ``text``."""
        name = f"stand-in {len(self.raw)}"
        self.raw[name] = text
        return name

    def text(self, ensure_ascii: bool = True) -> str:
        """Return the document as JSON."""
        text = json.dumps(self.document, ensure_ascii=ensure_ascii)
        for name, raw in self.raw.items():
            text = text.replace(json.dumps(name), raw)
        return text


def record_of(kind: str, document: dict[str, Any], random: Random) -> Record:
    """Return a copy of a document as a :class:`Record`."""
    document = json.loads(json.dumps(document))
    if kind == "config":
        return Record(kind, document, document["pretrained_cfg"], document["model_args"])
    if kind == "manifest":
        return Record(kind, document, random.choice(list(document["weights"].values())), {})
    return Record(kind, document, document, document.setdefault("model_kwargs", {}))


def nothing(random, record):
    return VALID


def printable_names(random, record):
    names = record.fields["class_names"]
    names[random.randrange(len(names))] = random.choice(NAMES)
    return VALID


def another_type(random, record):
    record.fields[random.choice(sorted(record.fields))] = random.choice(OF_ANY_TYPE)
    return EITHER


def another_type_at_the_top(random, record):
    record.document[random.choice(sorted(record.document))] = random.choice(OF_ANY_TYPE)
    return EITHER


def another_type_of_a_keyword(random, record):
    names = get_model_spec("test_dignet").parameter_names()
    record.kwargs[random.choice(names)] = random.choice(OF_ANY_TYPE)
    return EITHER


def wrong_value(random, record):
    key = random.choice(sorted(WRONG_VALUES))
    place = record.document if record.kind == "config" and key == "format_version" else record.fields
    place[key] = random.choice(WRONG_VALUES[key])
    return WRONG


def not_finite(random, record):
    value = record.stand_in(random.choice(("NaN", "Infinity", "-Infinity", "1e999", "-1e400")))
    key = random.choice(("mean", "std", "image_max", "recipe", *(["metrics"] if record.kind != "header" else [])))
    if key == "image_max":
        record.fields[key] = value
    elif key in ("mean", "std"):
        record.fields[key][random.randrange(3)] = value
    else:
        record.fields.setdefault(key, {})["lr"] = value
    return WRONG


def long_text(random, record):
    text = random.choice("x\u00e9\U0001f468") * random.choice((10_001, 50_000, 1_000_000))
    if random.random() < 0.3:
        record.fields["class_names"][0] = text
    elif record.kwargs and random.random() < 0.3:
        record.kwargs["head"] = text
    else:
        record.fields[random.choice(("license", "command", "train_data", "architecture"))] = text
    return WRONG if record.kind != "header" or "architecture" in record.fields else EITHER


def deep(random, record):
    levels, (start, end) = random.choice((8, 100, 2000, 100_000)), random.choice((("[", "]"), ('{"a":', "}")))
    value = record.stand_in(start * levels + "1" + end * levels)
    place = random.choice((record.fields["recipe"], record.fields, record.kwargs or record.fields))
    place["label_format" if place is record.fields else "backbone_args"] = value
    return WRONG


def long_integer(random, record):
    value = record.stand_in(random.choice(("", "-")) + "1" + "0" * random.choice((13, 30, 400, 4000, 5000, 100_000)))
    if random.random() < 0.3:
        record.fields[random.choice(("mean", "std"))][0] = value
    elif record.kwargs and random.random() < 0.5:
        record.kwargs[random.choice(("num_classes", "in_chans", "iterations", "shallowest"))] = value
    else:
        record.fields[random.choice(NUMBERS)] = value
    return WRONG


def unknown_key(random, record):
    key = random.choice(("x", "color", "url", "hf_hub_id", "__class__", "a" * 5000, "\ud800", "1", " ", "file_"))
    record.fields[key] = random.choice(OF_ANY_TYPE)
    return EITHER if record.kind == "header" else WRONG


def missing_key(random, record):
    del record.fields[random.choice(("num_classes", "mean", "std"))]
    return WRONG


def any_missing_key(random, record):
    place = random.choice((record.document, record.fields))
    del place[random.choice(sorted(place))]
    return EITHER


def address_or_path(random, record):
    value = random.choice(PATHS + URLS)
    if record.kind == "manifest" or (record.kind == "config" and random.random() < 0.2):
        key = random.choice(("file", "sources", "sha256"))
        record.fields[key] = [value] if key == "sources" else value
    elif random.random() < 0.2:
        record.document["architecture"] = value
    else:
        place = random.choice(({"backbone": value}, {"head": value}, {"backbone_args": {"norm_layer": value}}))
        record.kwargs.update(random.choice((place, {"backbone_args": {"a": [{"b": value}]}})))
    return WRONG


def keyword_that_loads(random, record):
    if record.kind == "manifest":
        return address_or_path(random, record)
    loading = {random.choice(LOADING): random.choice((True, "x", {"url": "http://trap/x"}, {"file": "/etc/trap"}))}
    record.kwargs.update(random.choice((loading, {"backbone_args": loading}, {"backbone_args": {"a": [loading]}})))
    return WRONG


def wrong_length(random, record):
    values = record.fields[random.choice(("class_names", "palette", "mean", "std"))]
    count = random.choice((1, 2, 9, 5000))
    if count < 9 and len(values) > count:
        del values[:count]
    else:
        values += values[:1] * count
    return WRONG


def wrong_length_of_a_color(random, record):
    color = random.choice(record.fields["palette"])
    color[:] = random.choice(([], [0], [0, 0], [0] * 4, [0] * 5000, [[0]] * 3, ["0"] * 3))
    return WRONG


def unprintable(random, record):
    text = random.choice(UNPRINTABLE)
    key = random.choice(("class_names", "license", "train_data", "command", "base_model", "recipe", "versions"))
    if key == "class_names":
        record.fields[key][0] = f"a{text}"
    elif key in ("recipe", "versions"):
        record.fields.setdefault(key, {})[random.choice((f"a{text}", "torch"))] = text
    else:
        record.fields[key] = text
    return WRONG


def wrong_digest(random, record):
    if record.kind == "header":
        return wrong_value(random, record)
    record.fields["sha256"] = random.choice(WRONG_DIGESTS)
    return WRONG


def another_architecture(random, record):
    names = ("test_dignt", "os.system", "test_pspnet", "", " ", "test_fcn\n", "__init__", 3, None, ["test_fcn"], {})
    if record.kind == "manifest":
        entries = record.document["weights"]
        entries[random.choice(("", ".", ".a", "a", "a.", "a b.c", "../x.c", "x" * 5000, "\ud800.c"))] = record.fields
    else:
        record.document["architecture"] = random.choice(names)
    return WRONG


def large_network(random, record):
    count = random.choice((20, 99, 500, 9999, 10**5, 10**6))
    options = (
        {"backbone_args": {"layers": [count] * 4}},
        {"backbone_args": {"channels": [count] * 4}},
        {"backbone_args": {"layers": [count] * 4, "channels": [1] * 4}},
        {"backbone_args": {"stem_width": count}},
        {"backbone_args": {"groups": count, "base_width": count}},
        {"bins": [count] * random.choice((1, 4, 99, 5000))},
        {"iterations": count},
        {"num_classes": count},
        {"in_chans": count},
        {"width": count},
        {"backbone": random.choice(("vit_giant_patch14_224", "resnetv2_152x4_bit", "nope", "")), "backbone_args": {}},
    )
    record.kwargs.update(random.choice(options))
    return EITHER


def duplicate_key(random, record):
    key = random.choice(sorted(record.fields))
    record.fields[record_key := f"{key} again"] = record.fields[key]
    record.raw[record_key] = json.dumps(key)
    return WRONG


def same_values_in_another_order(random, record):
    items = list(record.fields.items())
    random.shuffle(items)
    record.fields.clear()
    record.fields.update(items)
    return VALID


MUTATIONS: tuple[Callable, ...] = (
    nothing, printable_names, same_values_in_another_order, another_type, another_type_at_the_top,
    another_type_of_a_keyword, wrong_value,
    not_finite, long_text, deep, long_integer, unknown_key, missing_key, any_missing_key, address_or_path,
    keyword_that_loads, wrong_length, wrong_length_of_a_color, unprintable, wrong_digest, another_architecture,
    large_network, duplicate_key,
)  # fmt: skip


def cut(random, data):
    return data[: random.randrange(len(data))], WRONG


def changed_bytes(random, data):
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 3, 20))):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data), EITHER


def another_encoding(random, data):
    start = random.choice((b"\xff", b"\xef\xbb\xbf", b"\0", b"\xc3", b"[", b"// comment\n", b"{}"))
    return random.choice((start + data, data + start, data.decode().encode("utf-16"))), WRONG


def large_file(random, data):
    return data + b" " * (8 << 20), WRONG


BYTE_MUTATIONS = (cut, changed_bytes, another_encoding, large_file)


def checkpoint(text: str, saved: bytes) -> bytes:
    """Return a safetensors file with other metadata; ``saved`` is the file that it is made from."""
    (length,) = struct.unpack("<Q", saved[:8])
    header = json.loads(saved[8 : 8 + length]) | {"__metadata__": {"gatezoo": text}}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + saved[8 + length :]


def damaged_checkpoint(random: Random, data: bytes) -> tuple[bytes, str]:
    """Return a safetensors file whose length, header or size is another, and whether it must be refused."""
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length]
    what = random.choice(("length", "cut", "bytes", "tensor"))
    if what == "length":
        lie = random.choice(
            (0, 1, length - 1, length + 1, length * 2, 2**31, 2**63, 2**64 - 1, random.randrange(length))
        )
        return struct.pack("<Q", lie) + data[8:], WRONG
    if what == "cut":
        return data[: random.randrange(len(data))], WRONG
    if what == "bytes":
        header = changed_bytes(random, header)[0]
        return data[:8] + header + data[8 + length :], EITHER
    old, new = random.choice(
        (
            (b'"F32"', b'"F33"'),
            (b'"F32"', b'"I64"'),
            (b'"data_offsets": [0', b'"data_offsets": [4'),
            (b'"shape": [', b'"shape": [9'),
        )
    )
    header = header.replace(old, new, 1)
    return struct.pack("<Q", len(header)) + header + data[8 + length :], WRONG
