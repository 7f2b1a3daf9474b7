"""Options of every command with values of every kind, read from the command line's own description of itself."""

from __future__ import annotations

import inspect
from pathlib import Path

import typer.main
from fuzz import image_files, label_files
from fuzz.commands import ONE_STEP, QUICK
from fuzz.runner import EITHER, VALID, WRONG, Case

from gatezoo.cli.app import app

NO_INTEGERS = ("x", "1.5", "", "nan", "1e3", "0x10", "--1", "1 2")
NO_NUMBERS = ("x", "", "1,5", "1.5.2", "0x10", "--1")
INFINITE = ("nan", "inf", "-inf", "1e309")
TEXTS = ("", " ", "nope", "nope" * 800, "a\nb", "[red]x", "\x1b[31m", "../..", "🚗", "None", "-1", "0", "%s{}")
PATHS = ("gone", "/dev/null/x", "/proc/nope", "x" * 300, "x" * 5000, "a\nb", "/dev/zero", "loop")
# Values of any sign are possible.
SIGNED = {"ignore_index", "seed"}
# Long trainings and many processes are no nonsense, but no test either.
WITHOUT_LARGE = {"steps", "grad_accum_steps", "workers"}
# No limit of the norm is a limit.
MAY_BE_INFINITE = {"clip_grad"}
# Texts that must be one of several, so that "nope" is none of them.
CHOICES = {
    "opt", "sched", "loss", "amp_dtype", "class_weights", "device", "dataset", "recipe", "merge",
    "ablate", "scales", "log_with", "iterations", "task", "split", "train_split", "pretrained_backbone",
    "model_kwargs", "label_map", "data_kwargs", "trainable_prefix", "crop_schedule", "decay_steps", "label_suffix",
    "classes", "frozen_layers",
}  # fmt: skip
# Files and folders that are read: none of the paths above is one.
READ = {"checkpoint", "initial_checkpoint", "labels", "depth_map", "val", "data_dir", "scores"}
MORE_TEXTS = {
    "device": ("cuda:99", "cuda:x", "cpu:7", "meta", "CPU "),
    "model_kwargs": ("nope=1", "num_classes=x", "backbone=nope", "=1", "num_classes=", "in_chans=0"),
    "data_kwargs": ("nope=1", "=1", "depth"),
    "scales": ("0", "-1", "nan", "1,", "1;2", "inf", ","),
    "iterations": ("-1", "0", "1.5", "nan", "²", str(10**30)),
    "loss": ("dice+", "dice+nope", "+"),
    "label_map": ("0", "0=0=0", "=", "a=b"),
    "classes": ("ground,ground", ",", "ground,", "ground"),
}


def leaves(command, names=()):
    """Yield (names, command) of every command that is no group."""
    for name, own in getattr(command, "commands", {}).items():
        yield from leaves(own, (*names, name))
    if not hasattr(command, "commands"):
        yield names, command


COMMANDS = dict(leaves(typer.main.get_command(app)))
# It serves until it is interrupted: see tests/app.
del COMMANDS["app",]


def kind_of(command, name):
    """int, float, str, Path or bool: what the values of a parameter are."""
    text = str(inspect.signature(command.callback, eval_str=True).parameters[name].annotation)
    return next(kind for kind in (bool, Path, float, int, str) if kind.__name__ in text)


class Inputs:
    """Files that commands read: images, labels and networks, and places where they write."""

    def __init__(self, random, folder, networks):
        self.folder, self.networks, self.data = folder, networks, folder / "data"
        label_files.make_folder(random, self.data)
        (folder / "loop").symlink_to("loop")
        self.image = self.data / "images" / "first.png"
        self.fcn, self.dignet, self.instance = (networks[n] for n in ("test_fcn", "test_dignet", "test_maskrcnn_fpn"))
        self.untouched = sorted(path for path in self.data.rglob("*.png"))

    def arguments(self, *names):
        """A command line that succeeds, without the options that make no difference."""
        named, out, here = "dignet_lite0_8s.camvid", self.folder / "out", ["--data", self.data]
        training = ["--classes", "ground,disc", "--out", out, *ONE_STEP]
        metadata = ["--tag", "t", "--license", "mit", "--data-license", "mit", "--train-data", "x", "--command", "y"]
        weights = Path(self.fcn.partition(":")[2]) / "model.safetensors"
        lines = {
            ("info",): ["test_dignet"],
            ("predict",): [self.dignet, self.image, "--out", out, "--device", "cpu"],
            ("gates",): [self.dignet, self.image, "--out", out / "gates.png", "--device", "cpu"],
            ("compare",): [self.fcn, self.dignet, self.image, "--out", out / "compare.png", "--device", "cpu"],
            ("eval",): [self.dignet, *here, *QUICK],
            ("train",): ["test_fcn", *here, "--val", self.data, *training],
            ("finetune",): [self.fcn, *here, "--val", self.data, *training],
            ("data", "check"): [self.data, "--classes", "ground,disc"],
            ("data", "convert"): [self.data, "--classes", "ground,disc", "--out", out],
            # An export takes too long, so this is refused: the folder is in use.
            ("export",): [self.fcn, "--out", self.data],
            ("publish",): [weights, "--repo", "a/b", *metadata],
            **{("weights", name): [named] for name in ("list", "verify", "download", "path", "fetch", "where")},
        }
        return [*names, *lines.get(names, [])]


def option_case(random, folder, networks):
    """A command line with one option or argument that is odd."""
    inputs = Inputs(random, folder, networks)
    return random.choice((_value_case, _value_case, _value_case, _form_case, _conflict_case))(random, inputs)


def _case(inputs, what, arguments, expected, says=""):
    names = [str(argument).replace(str(inputs.folder), "") for argument in arguments[:2]]
    return Case(f"{' '.join(names)}: {what}", arguments, expected, says, inputs.untouched)


def _value_case(random, inputs):
    """An option of a random command with a random value."""
    weights = [len(command.params) for command in COMMANDS.values()]
    names, command = random.choices(list(COMMANDS.items()), weights)[0]
    arguments = inputs.arguments(*names)
    options = [param for param in command.params if param.opts[0].startswith("-")]
    if not options:
        return _form_case(random, inputs)
    param = random.choice(options)
    flag, kind = random.choice([opt for opt in param.opts if opt.startswith("--")]), kind_of(command, param.name)
    if kind is bool:
        value = random.choice(("x", "", "1"))
        return _case(inputs, f"{flag}={value!r}", [*arguments, f"{flag}={value}"], WRONG, flag)
    value, expected = VALUES[kind](random, param.name, inputs)
    if param.name == "epochs" and "--steps" in arguments:
        place = arguments.index("--steps")
        arguments[place : place + 2] = []
    says = "nope" if value == "nope" and expected == WRONG else ""
    values = [value, *["0.5"] * (param.nargs - 1)]
    return _case(inputs, f"{flag} {str(value)[:40]!r}", [*arguments, flag, *values], expected, says)


def _integer(random, name, inputs):
    if random.random() < 0.4:
        return random.choice(NO_INTEGERS), WRONG
    large = () if name in WITHOUT_LARGE else (10**30, -(10**30))
    value = random.choice((-1, -1, 0, *large))
    return str(value), EITHER if value >= 0 or name in SIGNED else WRONG


def _number(random, name, inputs):
    if random.random() < 0.25:
        return random.choice(NO_NUMBERS), WRONG
    value = random.choice((*INFINITE, *INFINITE, "-1", "-1e-9", "0", "1e30"))
    if value in ("0", "1e30"):
        return value, EITHER
    return value, EITHER if name in MAY_BE_INFINITE and value in ("inf", "1e309") else WRONG


def _text(random, name, inputs):
    if name in MORE_TEXTS and random.random() < 0.5:
        return random.choice(MORE_TEXTS[name]), WRONG
    value = random.choice((*TEXTS, "nope", "nope", "nope"))
    return value, WRONG if name in CHOICES and value in ("nope", "nope" * 800, "\x1b[31m", "🚗") else EITHER


def _path(random, name, inputs):
    if name == "out":
        value = random.choice((inputs.image, inputs.data / "images", "/dev/null", *PATHS[1:5], "", "loop"))
        return value, EITHER if value == "" else WRONG
    value = random.choice((*PATHS, "", inputs.folder, inputs.image, Path(__file__)))
    wrong = name in READ and value not in ("", inputs.image) and not (name == "data_dir" and value == inputs.folder)
    return value, WRONG if wrong else EITHER


VALUES = {int: _integer, float: _number, str: _text, Path: _path}


def _form_case(random, inputs):
    """A command line of a wrong form, or one that only asks for help."""
    names, command = random.choice(list(COMMANDS.items()))
    arguments = inputs.arguments(*names)
    flags = [opt for param in command.params for opt in param.opts if opt.startswith("-")]
    required = [param for param in command.params if param.required]
    kinds = ("plain", "help", "unknown option", "no value", "too many", "misspelt", "nothing", "no command")
    kind = random.choice(kinds)
    if kind == "plain":
        # No checkpoint to publish is at hand.
        return _case(inputs, kind, arguments, EITHER if names in (("publish",), ("export",)) else VALID)
    if kind == "help":
        return _case(inputs, kind, [*names, "--help"], VALID)
    if kind == "unknown option":
        return _case(inputs, kind, [*arguments, "--nope"], WRONG, "--nope")
    if kind == "no value" and flags:
        flag = random.choice(flags)
        expected = EITHER if "bool" in str(kind_of(command, _name_of(command, flag))) else WRONG
        return _case(inputs, f"{flag} without a value", [*arguments, flag], expected, flag if expected == WRONG else "")
    if kind == "misspelt" and flags:
        flag = random.choice(flags)
        return _case(inputs, f"{flag}x", [*arguments, f"{flag}x"], EITHER if len(flag) == 2 else WRONG)
    if kind == "nothing" and required:
        return _case(inputs, "no arguments", [*names], WRONG, required[0].name.partition("_")[0])
    if kind == "too many" and not any(param.nargs == -1 for param in command.params):
        return _case(inputs, kind, [*arguments, "nope", "nope"], WRONG)
    word = random.choice(("nope", "", "-", "--", "predic", "PREDICT", "data nope", "weights nope", "-x", "\n"))
    return _case(inputs, f"command {word!r}", word.split(" "), EITHER if word in ("-", "--", "") else WRONG)


def _name_of(command, flag):
    return next(param.name for param in command.params if flag in param.opts)


def _conflict_case(random, inputs):
    """Options that contradict each other, or that the network does not have."""
    predict = ["predict", inputs.dignet, inputs.image, "--out", "out", "--device", "cpu"]
    fcn = ["predict", inputs.fcn, *predict[2:]]
    instance = ["predict", inputs.instance, *predict[2:]]
    evaluate, gates = inputs.arguments("eval"), inputs.arguments("gates")
    train, compare = inputs.arguments("train"), inputs.arguments("compare")
    twin = inputs.data / "images" / "first.jpg"
    checkpoint = Path(inputs.fcn.partition(":")[2]) / "model.safetensors"
    arguments, expected, says = random.choice(
        (
            ([*fcn, "--iterations", "2"], WRONG, "iterations"),
            ([*fcn, "--iterations", "auto"], WRONG, "iterations"),
            ([*fcn, "--score-threshold", ".5"], WRONG, "score-threshold"),
            ([*fcn, "--depth"], WRONG, "depth"),
            ([*fcn, "--depth-map", inputs.image], WRONG, "depth"),
            ([*instance, "--flip"], WRONG, "flip"),
            ([*instance, "--iterations", "2"], WRONG, "iterations"),
            ([*predict, "--iterations", "auto", "--flip"], WRONG, "iterations"),
            ([*predict, "--show-iterations", "--scales", ".5,1"], WRONG, "whole images"),
            ([*predict, "--window-overlap", ".5"], EITHER, "window"),
            ([*predict, "--window-size", "40", "--window-overlap", "1"], WRONG, "overlap"),
            ([*predict, "--window-size", "1"], WRONG, "window"),
            ([*predict, "--iterations", "2", "--iterations", "3"], EITHER, ""),
            ([*predict[:2], twin, *predict[2:]], WRONG, "first"),
            ([*predict[:3], inputs.image, *predict[3:]], EITHER, "first"),
            ([*predict[:2], *predict[3:]], WRONG, "images"),
            ([*predict, "--labels", inputs.image], WRONG, "first.png"),
            ([*predict, "--checkpoint", checkpoint], WRONG, "checkpoint"),
            (["predict", checkpoint, inputs.image, "--out", "out", "--checkpoint", checkpoint], WRONG, "one file"),
            ([*evaluate, "--iiou"], WRONG, "iiou"),
            ([*evaluate, "--dataset", "cityscapes"], WRONG, ""),
            ([*evaluate, "--dataset", "coco"], WRONG, ""),
            (["eval", inputs.instance, "--data", inputs.data], WRONG, "coco"),
            (["eval", inputs.fcn, "--data", inputs.data, "--all-iterations"], EITHER, ""),
            (["eval", inputs.fcn, "--data", inputs.data, "--merge", "max"], EITHER, ""),
            ([*evaluate, "--classes", "a,b,c"], WRONG, "class"),
            ([*gates, "--labels", inputs.image], WRONG, "--ablate"),
            ([*gates, "--iterations", "1"], WRONG, "gates"),
            ([*gates, "--out", "out.txt"], WRONG, "out.txt"),
            (["gates", inputs.fcn, *gates[2:]], WRONG, "gates"),
            (["gates", inputs.instance, *gates[2:]], WRONG, "gates"),
            ([*gates, "--out", inputs.image], WRONG, "first.png"),
            (["compare", inputs.image, "--out", "c.png"], WRONG, "names"),
            (["compare", inputs.instance, *compare[2:]], WRONG, "instance"),
            ([*compare, "--out", inputs.image], WRONG, "first.png"),
            (["compare", f"{inputs.dignet}@0", *compare[2:]], WRONG, ""),
            (["compare", f"{inputs.fcn}@2", *compare[2:]], WRONG, ""),
            ([*train, "--pretrained"], WRONG, "test_fcn"),
            (["train", *train[2:]], WRONG, "NAME"),
            ([*train, "--scale-range", "2", "1"], WRONG, "scale_range"),
            ([*train, "--mean", "1", "1"], WRONG, "mean"),
            ([*train, "--std", "0", "0", "0"], WRONG, "std"),
            ([*train, "--seg-loss-weight", "0"], WRONG, "loss"),
            ([*train, "--depth-loss-weight", "1"], WRONG, "depth"),
            ([*train, "--recipe", "gff_small_camvid"], WRONG, ""),
            ([*train, "--classes", "one,two,three", "--rgb"], WRONG, "rgb"),
            ([*train, "--classes", "one"], WRONG, "one"),
            ([*train, "--initial-checkpoint", inputs.image], WRONG, "first.png"),
            (["train", "test_maskrcnn_fpn", *train[2:]], WRONG, "instance"),
            (["publish", "x", "--all", "--org", "o"], WRONG, "--all"),
            (["publish", "--all"], WRONG, "--org"),
            (["publish", "nope", "--repo", "a"], WRONG, ""),
        )
    )
    if twin in arguments:
        twin.write_bytes(image_files.encoded(random, "jpg"))
        arguments = [inputs.image if argument == inputs.image else argument for argument in arguments]
        arguments.insert(3, inputs.image)
    what = " ".join(str(argument).rpartition("/")[2] for argument in arguments[1:])
    return _case(inputs, what, arguments, expected, says)
