"""Records of weights that were tampered with: each loads, or ends in one line, soon and in little memory."""

import json
import math
import socket
import sys
import time
import unicodedata
from collections import Counter
from random import Random

import pytest
from fuzz import records
from fuzz.runner import EITHER, VALID, WRONG, limits
from helpers.paths import GOLDEN, ROOT

import gatezoo
from gatezoo.factory import load_model
from gatezoo.pretrained import MANIFEST, read_manifest
from gatezoo.pretrained.entries import read_entries

# Of the processor; other tests may have it for a while, so that more are waited for.
SECONDS, WAIT, BYTES, MESSAGE_CHARS = 5, 30, 1 << 30, 400
KINDS = ("header", "config", "manifest")
CASES, QUICK_CASES = 2000, 200
watched: list[str] = []


def watch(event, args):
    """Note files of the names that the records give to what must not be opened."""
    if event == "open" and "trap" in str(args[0]):
        watched.append(str(args[0]))


sys.addaudithook(watch)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Real documents of each kind with the file of their weights, if they have one."""
    root = tmp_path_factory.mktemp("bases")
    network = gatezoo.create_model("test_dignet", num_classes=3)
    folder = gatezoo.save_pretrained(network, root / "m", ["a", "b", "c"], license="MIT")
    fcn = gatezoo.save_pretrained(gatezoo.create_model("test_fcn", num_classes=2), root / "fcn", ["a", "b"])
    config = json.loads((folder / "config.json").read_text())
    recipe = {"steps": 3, "lr": 0.1, "scale_range": [0.5, 2.0], "opt": "sgd"}
    facts = {"palette": [[0, 0, 0], [9, 9, 9], [255, 0, 1]], "recipe": recipe, "label_format": {"ids": {"0": 1}}}
    config["pretrained_cfg"] |= {**facts, "metrics": {"miou": 0.5, "iou": [0.2, None, 0.8], "protocol": "val"}}
    saved = json.loads((GOLDEN / "format2/metadata.json").read_text())
    present = {
        key: config["pretrained_cfg"][key]
        for key in ("num_classes", "mean", "std", "class_names", "in_chans", "versions", "license", *facts)
    }
    weights = (folder / "model.safetensors").read_bytes()
    present |= {"architecture": "test_dignet", "format_version": 3, "model_kwargs": {"iterations": 2}, "step": 3}
    older = {**saved, "in_chans": 3, "license": "MIT"}
    return {
        "config": [(config, weights)],
        "header": [(present, weights), (older, (fcn / "model.safetensors").read_bytes())],
        "manifest": [(json.loads((ROOT / MANIFEST).read_text()), b"")],
    }


def make_case(number, bases, folder):
    """Write the files of a case, and return its kind, what was done to it, what must happen and what loads it."""
    kind = KINDS[number % 3]
    random = Random(f"record {number}")
    document, weights = random.choice(bases[kind])
    record = records.record_of(kind, document, random)
    mutation, expected = records.nothing, VALID
    on_bytes = random.random() < 0.15
    if not on_bytes:
        mutation = random.choice(records.MUTATIONS)
        expected = mutation(random, record)
    text = record.text(ensure_ascii=kind == "header" or random.random() < 0.5 or mutation is records.unprintable)
    data = text.encode("utf-8", "surrogatepass")
    if on_bytes and kind != "header":
        mutation = random.choice(records.BYTE_MUTATIONS)
        data, expected = mutation(random, data)
    if kind == "header":
        data = records.checkpoint(text, weights)
        if on_bytes:
            mutation = records.damaged_checkpoint
            data, expected = mutation(random, data)
    path = folder / {"header": "w.safetensors", "config": "config.json", "manifest": "manifest.json"}[kind]
    path.write_bytes(data)
    if kind == "config":
        (folder / "model.safetensors").write_bytes(weights)
    return kind, mutation.__name__, expected, lambda: LOADERS[kind](path)


def load_manifest(path):
    return [(cfg, {}) for cfg in read_entries(read_manifest(path)["weights"]).values()]


def load_network(model):
    return [(model.pretrained_cfg, model.model_kwargs)]


LOADERS = {
    "header": lambda path: load_network(load_model(str(path))),
    "config": lambda path: load_network(gatezoo.create_model(f"local-dir:{path.parent}", pretrained=True)),
    "manifest": load_manifest,
}


def leaves(value):
    """Every number and text in a value, keys too."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def flaw(cfg, model_kwargs):
    """Return what is wrong with a record that was taken, by a rule of its own; None if nothing is."""
    fields = cfg.to_dict() | {"tag": cfg.tag, "architecture": cfg.architecture}
    for value in leaves({**fields, "sources": [], "file": ""}):
        if isinstance(value, float) and not math.isfinite(value):
            return f"{value} in the record"
        if isinstance(value, str) and (
            len(value) > 10_000 or {unicodedata.category(char) for char in value} & {"Cc", "Cs", "Zl", "Zp"}
        ):
            return f"{value[:20]!r} in the record"
    if not gatezoo.is_model(cfg.architecture) and "/" in cfg.architecture:
        return f"architecture {cfg.architecture}"
    if any(isinstance(value, str) and set(value) & set("/\\:") for value in leaves(model_kwargs)):
        return f"keywords {model_kwargs}"
    if min(cfg.std) <= 0 or len(cfg.mean) != len(cfg.std) or cfg.num_classes < 1:
        return "no normalization or no classes"
    if {len(cfg.class_names), len(cfg.palette)} - {0, cfg.num_classes}:
        return "names or colors of other classes"
    if any(type(value) is not int or not 0 <= value <= 255 for value in leaves(cfg.palette)):
        return f"palette {cfg.palette}"
    return None


def fault(expected, load, folder):
    """Run a case; return whether it was refused, and what is wrong with how it ended. The folder's path is no fault."""
    watched.clear()
    start, message, loaded = time.process_time(), "", []
    try:
        with limits(WAIT, BYTES):
            loaded = load()
    except ValueError as error:
        message = str(error).replace(str(folder), "") or "no message"
    except BaseException as error:
        return False, f"{type(error).__name__}: {str(error)[:200]}"
    seconds = time.process_time() - start
    if watched or seconds > SECONDS:
        return bool(message), f"opened {watched}, {seconds:.1f} s"
    if not message:
        found = [text for cfg, model_kwargs in loaded if (text := flaw(cfg, model_kwargs))]
        return False, found[0] if found else ("it was taken" if expected == WRONG else None)
    if expected == VALID:
        return True, f"it was refused: {message[:300]}"
    if "allocate" in message:
        return True, f"it took too much memory: {message[:300]}"
    if not message.isprintable() or len(message) > MESSAGE_CHARS:
        return True, f"a message of {len(message)} characters: {message[:600]!r}"
    return True, None


def run_cases(numbers, bases, folder, monkeypatch):
    """Run cases, and check that a fair share of each kind and of each change is refused."""

    def connect(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)
    faults, counts = [], Counter()
    for number in numbers:
        place = folder / "case"
        place.mkdir(exist_ok=True)
        kind, name, expected, load = make_case(number, bases, place)
        refused, found = fault(expected, load, place)
        counts[kind, refused] += 1
        counts[name, expected, refused] += 1
        if found:
            faults.append(f"{number} ({kind}, {name}): {found}")
    assert not faults, f"{len(faults)} faults\n" + "\n".join(faults)
    for kind in KINDS:
        refused, taken = counts[kind, True], counts[kind, False]
        assert 0.5 < refused / (refused + taken) < 0.95, (kind, refused, taken)
    return counts


def test_tampered_records(bases, tmp_path, monkeypatch):
    run_cases(range(QUICK_CASES), bases, tmp_path, monkeypatch)


@pytest.mark.slow
def test_tampered_records_of_every_kind(bases, tmp_path, monkeypatch):
    counts = run_cases(range(CASES), bases, tmp_path, monkeypatch)
    changes = {name for name, *_ in counts} - set(KINDS)
    assert len(changes) == len(records.MUTATIONS) + len(records.BYTE_MUTATIONS) + 1
    for name in changes - {"nothing", "printable_names", "same_values_in_another_order"}:
        assert sum(counts[name, expected, True] for expected in (WRONG, EITHER)) > 10, name
