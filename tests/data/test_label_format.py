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
