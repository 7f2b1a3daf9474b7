import json

import numpy as np
import pytest

from gatezoo.data import FolderDataset
from gatezoo.data.files.labels import index_png
from gatezoo.data.label_format import LabelFormat

COLORS = [(10, 20, 30), (200, 0, 7)]


def test_default_format_is_index_png():
    label_format = LabelFormat()
    assert label_format.values_are_classes
    assert label_format.decoder() is index_png
    assert label_format.class_ids(2, 255) is None
    assert label_format.palette is label_format.id_of_color is None


def test_reduce_zero_label_shifts_ids():
    label_format = LabelFormat(reduce_zero_label=True)
    assert not label_format.values_are_classes
    assert label_format.class_ids(2, 255) == {0: 255, 1: 0, 2: 1, 255: 255}


def test_color_table_gives_the_palette_if_it_is_in_order():
    label_format = LabelFormat(COLORS)
    assert label_format.palette == COLORS
    assert label_format.id_of_color == {COLORS[0]: 0, COLORS[1]: 1}
    table = {COLORS[0]: 1, COLORS[1]: 1}
    assert LabelFormat(table).palette is None
    assert LabelFormat(table).id_of_color == table


def test_contradicting_options_are_errors():
    with pytest.raises(ValueError, match="by reduce_zero_label or by ids; got both: leave out reduce_zero_label"):
        LabelFormat(reduce_zero_label=True, ids={0: 0})


def test_folder_kwargs_open_the_same_folder(shapes):
    label_format = LabelFormat(ids={0: 1, 1: 0, 255: 255})
    data = FolderDataset(shapes, 2, **label_format.folder_kwargs())
    plain = FolderDataset(shapes, 2)
    assert ((data.labels(0) == 0) == (plain.labels(0) == 1)).all()


PLAIN_JSON = [
    (LabelFormat(), {}),
    (LabelFormat(ids={0: 0, 255: 1}), {"ids": {"0": 0, "255": 1}}),
    (LabelFormat(reduce_zero_label=True, suffix="_mask.png"), {"reduce_zero_label": True, "suffix": "_mask.png"}),
    (LabelFormat(((10, 20, 30), (200, 0, 7))), {"colors": [[10, 20, 30], [200, 0, 7]]}),
    (
        LabelFormat({(0, 0, 0): 7, (1, 2, 3): 7}, ids={7: 0}),
        {"color_ids": [[0, 0, 0, 7], [1, 2, 3, 7]], "ids": {"7": 0}},
    ),
]


@pytest.mark.parametrize(("label_format", "content"), PLAIN_JSON)
def test_format_survives_json(label_format, content):
    assert json.loads(json.dumps(label_format.to_dict())) == content
    assert LabelFormat.from_dict(content) == label_format


def test_numbers_of_numpy_are_written_as_plain_json():
    label_format = LabelFormat([tuple(np.uint8([1, 2, 3]))], ids={np.int64(0): np.int64(1)})
    assert json.dumps(label_format.to_dict()) == '{"colors": [[1, 2, 3]], "ids": {"0": 1}}'


GRAYS = [[k, k, k] for k in range(256)]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], r"label_format must be an object; got \[\]"),
        (None, "label_format must be an object"),
        ({"decoder": "os.system"}, "must have no fields but colors, color_ids, .*; got 'decoder'"),
        ({"ids": {}}, "ids of label_format must be a class in 0 .. 255 for each of 1 to 65536 ids"),
        ({"ids": [[0, 0]]}, "ids of label_format"),
        ({"ids": {0: 0}}, "ids of label_format"),
        ({"ids": {"-1": 0}}, "ids of label_format"),
        ({"ids": {"00": 0}}, "ids of label_format"),
        ({"ids": {"٣": 0}}, "ids of label_format"),
        ({"ids": {"1" * 5000: 0}}, "ids of label_format"),
        ({"ids": {"16777216": 0}}, "ids of label_format"),
        ({"ids": {"0": 256}}, "ids of label_format"),
        ({"ids": {"0": True}}, "ids of label_format"),
        ({"ids": {"0": 1.0}}, "ids of label_format"),
        ({"ids": {str(k): 0 for k in range(65537)}}, "ids of label_format"),
        ({"colors": []}, r"colors of label_format must be 1 to 256 different colors \[R, G, B\]"),
        ({"colors": [*GRAYS, [1, 2, 3]]}, "colors of label_format"),
        ({"colors": [[0, 0, 256]]}, "colors of label_format"),
        ({"colors": [[0, 0]]}, "colors of label_format"),
        ({"colors": [[0, 0, [0]]]}, "colors of label_format"),
        ({"colors": [[1, 2, 3], [1, 2, 3]]}, "colors of label_format"),
        ({"color_ids": [[1, 2, 3]]}, "color_ids of label_format must be 1 to 65536 different colors"),
        ({"color_ids": [[1, 2, 3, 1 << 24]]}, "color_ids of label_format"),
        ({"colors": [[1, 2, 3]], "color_ids": [[1, 2, 3, 0]]}, "must have colors or color_ids; got both"),
        ({"reduce_zero_label": 1}, "reduce_zero_label of label_format must be true"),
        ({"reduce_zero_label": True, "ids": {"0": 0}}, "by reduce_zero_label or by ids; got both"),
        ({"suffix": ""}, "suffix of label_format must be the ending of a file's name"),
        ({"suffix": "/../../x.png"}, "suffix of label_format"),
        ({"suffix": "\\x.png"}, "suffix of label_format"),
        ({"suffix": "\x1b[2J.png"}, "suffix of label_format"),
        ({"suffix": "\0.png"}, "suffix of label_format"),
        ({"suffix": "x" * 101}, "suffix of label_format"),
        ({"suffix": 3}, "suffix of label_format"),
    ],
    ids=range(33),
)
def test_stored_format_is_not_trusted(content, text):
    with pytest.raises(ValueError, match=text) as caught:
        LabelFormat.from_dict(content)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_format_that_could_not_be_read_back_is_not_written():
    for label_format in (LabelFormat(suffix="/labels.png"), LabelFormat(ids={0: 300}), LabelFormat([(0, 0, 300)])):
        with pytest.raises(ValueError, match="of label_format must be"):
            label_format.to_dict()


@pytest.mark.parametrize(
    ("label_format", "text"),
    [
        (LabelFormat(), "ids 0 = ground, 1 = disc, 255 = ignored"),
        (LabelFormat(ids={255: 1, 0: 0, 7: 255}), "ids 0 = ground, 7 = ignored, 255 = disc"),
        (LabelFormat(reduce_zero_label=True), "ids 0 = ignored, 1 = ground, 2 = disc, 255 = ignored"),
        (
            LabelFormat(COLORS, suffix="_m.png"),
            "colors (10, 20, 30) = ground, (200, 0, 7) = disc; files are called NAME_m.png",
        ),
        (
            LabelFormat({COLORS[0]: 9, COLORS[1]: 8}, ids={9: 1, 8: 0}),
            "colors (10, 20, 30) = disc, (200, 0, 7) = ground",
        ),
    ],
)
def test_format_is_described_in_one_line(label_format, text):
    assert label_format.describe(("ground", "disc"), 255) == text


def test_folder_has_its_format(shapes):
    assert FolderDataset(shapes, 2).subset([0, 3]).label_format == LabelFormat()
    assert FolderDataset(shapes, 2, ids={0: 1, 1: 0, 255: 255}).label_format == LabelFormat(ids={0: 1, 1: 0, 255: 255})
