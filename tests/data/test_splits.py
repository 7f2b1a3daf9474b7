import numpy as np
import pytest
from helpers import trees
from PIL import Image

from gatezoo.data.label_format import LabelFormat
from gatezoo.data.splits import FolderOptions, create_splits


def test_folder_options_are_applied(shapes):
    for path in (shapes / "labels").iterdir():
        labels = np.array(Image.open(path))
        Image.fromarray(np.choose(labels % 254, (1, 2)).astype(np.uint8) * (labels < 255)).save(path)  # 255 % 254 = 1
    folder = FolderOptions(label_format=LabelFormat(reduce_zero_label=True), val_fraction=0.25, seed=3, check=True)
    train_data, val_data = create_splits(shapes, classes="ground,disc", folder=folder)
    assert (len(train_data), len(val_data)) == (18, 6)
    assert set(train_data.labels(0).unique().tolist()) == {0, 1, 255}
    with pytest.raises(ValueError, match="holds 2"):
        create_splits(shapes, classes="ground,disc", folder=FolderOptions(check=True))


def test_channels_and_full_brightness_reach_check_and_data(shapes):
    for path in (shapes / "images").iterdir():
        Image.fromarray(np.array(Image.open(path).convert("L")).astype(np.uint16) * 16).save(path)
    folder = FolderOptions(in_chans=1, image_max=4095, check=True)
    train_data, _ = create_splits(shapes, classes="ground,disc", folder=folder)
    image = train_data[0]["image"]
    assert image.shape == (1, 64, 80)
    assert 150 < image.max() <= 255
    with pytest.raises(ValueError, match=r"in 0 \.\. 1000; this file holds"):
        create_splits(shapes, classes="ground,disc", folder=FolderOptions(image_max=1000, check=True))


def test_data_sets_are_opened_for_the_task(tmp_path, shapes):
    trees.nuclei(tmp_path)
    train_data, val_data = create_splits(tmp_path, "nuclei", task="instance")
    assert (len(train_data), len(val_data)) == (3, 1)
    assert train_data[0].keys() >= {"boxes", "masks"}
    with pytest.raises(ValueError, match="instances must come from a data set that has them; a folder has none"):
        create_splits(shapes, task="instance")
    with pytest.raises(ValueError, match="a folder of images and labels needs classes"):
        create_splits(shapes)
    with pytest.raises(ValueError, match=r"image_max must be given for folders only; got 4095 for nuclei"):
        create_splits(tmp_path, "nuclei", folder=FolderOptions(image_max=4095))


def test_unknown_option_of_a_folder_lists_the_known_ones(shapes):
    for option in ("no_such_option", "classes"):
        with pytest.raises(ValueError, match=rf"the options of folder are color_table, .*depth.*; got '{option}'"):
            create_splits(shapes, classes="ground,disc", options={option: 1})
