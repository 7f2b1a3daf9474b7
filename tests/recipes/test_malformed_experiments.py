"""Files of experiments that are malformed in one place each."""

import contextlib
import copy

import pytest
import yaml

from gatezoo.recipes.experiments import read_experiments

VALID = {
    "paper": "a paper",
    "source": "Table 1",
    "dataset": "camvid",
    "train_split": "train",
    "val_split": "val",
    "recipe": {"steps": 10, "batch_size": 2, "crop_size": 64, "lr": 0.1, "scale_range": [0.5, 2.0]},
    "assumed": ["lr"],
    "experiments": {
        "test_fcn.camvid": {
            "model": "test_fcn",
            "model_kwargs": {"head": "fcn"},
            "data": {},
            "protocol": {"scales": [1.0], "flip": False, "pad_to": 513, "merge": ""},
            "stages": [{"name": "one", "recipe": {"steps": 5}}],
            "paper_results": {"miou": 50.0},
            "results": None,
        }
    },
}
VALUES = (None, True, 3, 0.5, "x", [], {}, [None], [["x"]], {"x": None}, {3: 3}, float("nan"))


def places(value, path=()):
    """Paths of all values in a tree."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def changed(path, value, remove=False):
    """The valid file with one value replaced, or removed."""
    tree = copy.deepcopy(VALID)
    if not path:
        return value
    *parents, last = path
    node = tree
    for key in parents:
        node = node[key]
    if remove:
        del node[last]
    else:
        node[last] = value
    return tree


def malformed():
    for path in places(VALID):
        yield from (changed(path, value) for value in VALUES)
        if path:
            yield changed(path, None, remove=True)
            yield changed((*path[:-1], "no_such_field"), 1) if isinstance(path[-1], str) else VALID


def message_of(path):
    """The error that reading a file raises; ValueError("no error") without one."""
    try:
        read_experiments(path)
    except ValueError as error:
        return str(error)
    raise ValueError("no error")


def test_malformed_experiments_are_read_or_refused_in_one_line(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(VALID))
    assert read_experiments(path)["test_fcn.camvid"].stages[0].recipe.steps == 5
    messages = []
    for tree in malformed():
        path.write_text(yaml.safe_dump(tree))
        with contextlib.suppress(ValueError):
            messages.append(message_of(path))
    assert len(messages) > 250
    assert all(message.startswith("table.yaml must be a file of experiments") for message in messages)
    assert not [message for message in messages if "\n" in message or len(message) > 1000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file must be a dict"),
        ("a: [", "it must be YAML"),
        ("? [a]\n: 1", "it must be YAML"),
        ("paper: a\npaper: b", "keys must be unique; 'paper' occurs twice"),
        ("a: !!python/object/apply:os.mkdir [x]", "it must be YAML"),
        ("#" * (1 << 20) + "\n", "it must have at most"),
        ("a: &a [*a]\nexperiments: {}", "must be a file of experiments"),
    ],
)
def test_files_that_are_not_experiments(tmp_path, text, message):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_experiments(tmp_path / "t.yaml")
    assert "\n" not in str(caught.value)


def test_aliases_that_grow_without_bound_take_no_time(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    rows = "experiments: {test_fcn.x: {paper: *a11, assumed: *a11}}"
    (tmp_path / "t.yaml").write_text("\n".join([*lines, rows]))
    with pytest.raises(ValueError, match="it must hold at most") as caught:
        read_experiments(tmp_path / "t.yaml")
    assert len(str(caught.value)) < 1000
