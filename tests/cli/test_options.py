import pytest
import typer.main

from gatezoo.cli.app import app
from gatezoo.cli.option_groups import LabelOptions
from gatezoo.cli.options import check_task_options, parse_kwargs, parse_scales
from gatezoo.data.label_format import LabelFormat
from gatezoo.data.splits import FolderOptions
from gatezoo.pretrained import PretrainedCfg


def command_of(*names):
    command = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    return command


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("train", ["--data-dir", "--data", "--data-root"]),
        ("train", ["--out", "--output"]),
        ("finetune", ["--data-dir", "--data"]),
        ("finetune", ["--out", "--output"]),
        ("finetune", ["--label-map", "--ids"]),
        ("eval", ["--data-dir", "--data"]),
        ("eval", ["--out", "--output"]),
        ("eval", ["--window-size", "--window"]),
        ("eval", ["--window-overlap", "--overlap"]),
        ("eval", ["--depth-blur", "--blur"]),
        ("eval", ["--iiou"]),
        ("predict", ["--window-size", "--window"]),
        ("predict", ["--depth-blur", "--blur"]),
        ("predict", ["--out", "--output"]),
        ("gates", ["--out", "--output"]),
        ("publish", ["--fp16"]),
    ],
)
def test_flags_of_an_option(command, flags):
    assert flags in [param.opts for param in command_of(command).params]


def test_label_options_are_the_same_in_all_commands():
    options = [
        {param.name: (param.opts, param.help, param.default) for param in command_of(*names).params}
        for names in (["train"], ["finetune"], ["data", "check"])
    ]
    names = ("classes", "images", "labels", "ignore_index", "rgb", "reduce_zero_label", "label_map", "label_suffix")
    for name in names:
        assert options[0][name] == options[1][name] == options[2][name]


def test_former_names_of_weights_commands_are_hidden_aliases():
    commands = command_of("weights").commands
    shown = [name for name, command in commands.items() if not command.hidden]
    assert shown == ["list", "verify", "prune", "download", "path"]
    assert commands["fetch"].callback.__wrapped__ is commands["download"].callback.__wrapped__
    assert commands["where"].callback.__wrapped__ is commands["path"].callback.__wrapped__


def test_every_option_and_argument_has_a_help_text():
    def check(command, name):
        for param in command.params:
            assert param.help, (name, param.name)
        for own_name, own in getattr(command, "commands", {}).items():
            check(own, f"{name} {own_name}")

    check(command_of(), "gatezoo")


def test_parse_scales():
    assert parse_scales("") == []
    assert parse_scales("0.5,1") == [0.5, 1.0]
    with pytest.raises(
        ValueError, match=r"scales must be numbers separated by commas; got 'a': pass --scales 0\.5,1,1"
    ):
        parse_scales("a")


def test_parse_kwargs():
    assert parse_kwargs(["shallowest=2", "head=fcn", "blocks=[-1]", "x=a=b"]) == {
        "shallowest": 2,
        "head": "fcn",
        "blocks": [-1],
        "x": "a=b",
    }
    for pair in ("head", "=2", "a b=2"):
        with pytest.raises(ValueError, match="a keyword must be given as KEY=VALUE"):
            parse_kwargs([pair])


def test_check_task_options():
    options = {"semantic": {"flip": True, "scales": ""}, "instance": {"max-detections": None}}
    check_task_options("semantic", options)
    with pytest.raises(
        ValueError, match=r"^--flip is only supported for semantic segmentation; this model's task is 'instance'$"
    ):
        check_task_options("instance", options)
    with pytest.raises(ValueError, match=r"^--max-detections is only supported for instance segmentation"):
        check_task_options("semantic", {"instance": {"max-detections": 3}})


def test_label_options_reach_the_label_format(tmp_path):
    (tmp_path / "classes.txt").write_text("sky 1 2 3\nroad 4 5 6\n")
    classes = str(tmp_path / "classes.txt")
    options = LabelOptions(classes, ignore_index=7, label_map=["9=1", "0=0"], label_suffix="_mask.png")
    assert options.label_format() == LabelFormat(None, False, {9: 1, 0: 0}, "_mask.png")
    assert list(LabelOptions(classes, rgb=True).label_format().color_table) == [(1, 2, 3), (4, 5, 6)]
    assert LabelOptions(reduce_zero_label=True).label_format().reduce_zero_label
    folder = options.folder_options(val_fraction=0.3)
    assert (folder.ignore_index, folder.label_format, folder.val_fraction) == (7, options.label_format(), 0.3)


MASKS = LabelFormat(ids={0: 0, 255: 1}, suffix="_mask.png")


@pytest.mark.parametrize(
    ("given", "ignore_index", "label_format"),
    [
        ({}, 9, MASKS),
        ({"ignore_index": 3}, 3, MASKS),
        ({"label_suffix": ".png"}, 9, LabelFormat(ids=MASKS.ids)),
        ({"label_map": ["1=1"]}, 9, LabelFormat(ids={1: 1}, suffix="_mask.png")),
        ({"reduce_zero_label": True}, 9, LabelFormat(reduce_zero_label=True, suffix="_mask.png")),
    ],
)
def test_label_options_that_were_not_given_are_remembered(given, ignore_index, label_format):
    cfg = PretrainedCfg("a", "b", 2, (0.5,), (0.5,), ignore_index=9, label_format=MASKS.to_dict())
    folder = LabelOptions(**given).folder_options(cfg, seed=4)
    assert (folder.ignore_index, folder.label_format, folder.seed) == (ignore_index, label_format, 4)


def test_label_options_without_memory_are_index_pngs():
    for folder in (
        LabelOptions().folder_options(),
        LabelOptions().folder_options(PretrainedCfg("a", "b", 2, (0.5,), (0.5,))),
    ):
        assert folder == FolderOptions(255, LabelFormat())
