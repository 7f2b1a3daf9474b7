import csv
import json
from functools import partial

import numpy as np
import pytest
import torch
from helpers import trees
from helpers.commands import run
from helpers.headers import header
from PIL import Image
from safetensors.torch import save_file

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.data.corruptions import Corruption
from gatezoo.evaluation.corruptions import corruption_table, evaluate_corruptions, write_corruptions


@pytest.fixture
def data(tmp_path):
    random = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number in range(2):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"images/{number}.png")
        Image.fromarray(random.integers(0, 2, (40, 50), dtype=np.uint8)).save(tmp_path / f"labels/{number}.png")
    return FolderDataset(tmp_path, 2)


def test_evaluate_corruptions_scores_each_severity_of_the_changed_images(data, tmp_path):
    torch.manual_seed(0)
    model = gatezoo.create_model("test_fcn", num_classes=2).eval()
    torch.nn.init.normal_(model.head.weight)
    with torch.no_grad():  # both classes are predicted
        model.head.bias -= model(model.make_normalize()(data[0]["image"][None])).mean((0, 2, 3))
    evaluate = partial(gatezoo.evaluate, model)
    clean = evaluate(data).scores
    found = evaluate_corruptions(evaluate, data, ["noise", "brightness"])
    assert data.transform is None
    data.transform = Corruption("brightness", 3)
    assert found["brightness"][2].miou == evaluate(data).scores.miou
    assert found["brightness"][2].miou != clean.miou
    table = corruption_table(clean, found)
    assert table.row_count == 4
    values = [float(value) for value in table.columns[3].cells if value]
    assert values[-1] == pytest.approx(sum(values[:-1]) / 2, abs=1e-4)
    write_corruptions(tmp_path / "corruptions.csv", clean, found)
    rows = list(csv.DictReader((tmp_path / "corruptions.csv").open()))
    assert len(rows) == 1 + 2 * 3
    assert float(rows[-1]["miou"]) == found["brightness"][2].miou
    with pytest.raises(ValueError, match="transform that is None"):
        evaluate_corruptions(evaluate, data)


def test_eval_command_scores_components_and_corruptions(monkeypatch, capsys, tmp_path):
    trees.nuclei(tmp_path)
    names = ["background", "nucleus", "boundary"]
    torch.manual_seed(0)
    model = gatezoo.create_model("test_fcn", num_classes=3).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors", header(classes=names))
    command = ["eval", tmp_path / "w.safetensors", "--dataset", "nuclei", "--data-dir", tmp_path, "--workers", 0]
    command += ["--data-kwargs", "boundary=True", "--out", tmp_path / "out", "--components"]
    code, out, err = run(monkeypatch, capsys, *command, "nucleus+boundary", "--corruptions")
    assert code == 0, err
    assert "count error" in out
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["scores"]["count_error"] is not None
    assert scores["protocol"]["components"] == {"reach": 5.0, "min_pixels": 16}
    rows = list(csv.DictReader((tmp_path / "out/corruptions.csv").open()))
    assert len(rows) == 1 + 5 * 3
    assert float(rows[0]["miou"]) == scores["scores"]["miou"]
    code, _, err = run(monkeypatch, capsys, *command, "nuclei")
    assert code == 2
    assert "a class of components must be one of background, nucleus, boundary; got 'nuclei'" in err
