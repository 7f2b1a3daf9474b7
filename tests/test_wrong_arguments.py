"""Wrong arguments of the Python interface: one clear line each, never a TypeError."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.inference.inputs import to_depth_tensor
from gatezoo.inference.modes import MultiScale, SlidingWindow
from gatezoo.registry import get_model_spec


def predictor(**options):
    return gatezoo.Predictor(gatezoo.create_model("test_dignet"), **options)


def predict_instances(**options):
    return gatezoo.predict_instances(gatezoo.create_model("test_maskrcnn_fpn"), torch.rand(3, 64, 64), **options)


CALLS = {
    "no name": lambda: gatezoo.create_model(None),
    "a path": lambda: gatezoo.create_model(Path("test_fcn")),
    "is_model": lambda: gatezoo.is_model(3),
    "entrypoint": lambda: gatezoo.model_entrypoint(None),
    "source": lambda: gatezoo.from_pretrained(None),
    "pretrained is a tag": lambda: gatezoo.create_model("test_fcn", pretrained="camvid"),
    "classes as text": lambda: gatezoo.create_model("test_fcn", num_classes="3"),
    "no class": lambda: gatezoo.create_model("test_fcn", num_classes=0),
    "classes of a builder": lambda: gatezoo.model_entrypoint("test_fcn")(num_classes="3"),
    "negative channels": lambda: gatezoo.create_model("test_fcn", in_chans=-1),
    "passes without end": lambda: gatezoo.create_model("test_dignet", iterations=10**5),
    "a negative width": lambda: gatezoo.create_model("test_gff", width=-1),
    "a width beyond memory": lambda: gatezoo.create_model("test_gff", width=10**6),
    "backbone": lambda: gatezoo.create_model("test_fcn", backbone=["resnet18"]),
    "backbone_args": lambda: gatezoo.create_model("test_fcn", backbone_args="x"),
    "weights": lambda: gatezoo.create_model("test_fcn", pretrained_backbone=3),
    "checkpoint": lambda: gatezoo.create_model("test_fcn", checkpoint_path=b"x"),
    "a long path": lambda: gatezoo.create_model("test_fcn", checkpoint_path="x" * 5000),
    "filter": lambda: gatezoo.list_models(3),
    "list of numbers": lambda: gatezoo.list_models(exclude_filters=[3]),
    "task": lambda: gatezoo.list_models(task="segmentation"),
    "tolerance": lambda: predictor(tolerance=None),
    "blur": lambda: predictor(blur="1"),
    "mode is a class": lambda: predictor(mode=SlidingWindow),
    "normalize": lambda: predictor(normalize=""),
    "score_threshold": lambda: predict_instances(score_threshold="x"),
    "max_detections": lambda: predict_instances(max_detections=1.5),
    "scales": lambda: MultiScale(3),
    "window": lambda: SlidingWindow(object()),
    "recipe": lambda: gatezoo.Recipe.from_dict(3),
    "steps": lambda: gatezoo.Recipe(steps="10"),
    "std": lambda: gatezoo.Recipe(std=(0.0, 1.0, 1.0)),
    "milestones": lambda: gatezoo.Recipe(decay_steps="x"),
    "root": lambda: FolderDataset(None, 2),
    "data": lambda: gatezoo.evaluate(gatezoo.create_model("test_fcn"), 3),
    "saved": lambda: gatezoo.save_pretrained(3, "x"),
    "sparse": lambda: gatezoo.predict(gatezoo.create_model("test_fcn"), torch.rand(3, 64, 64).to_sparse()),
    "meta": lambda: gatezoo.predict(gatezoo.create_model("test_fcn"), torch.rand(3, 64, 64, device="meta")),
    "no pixels": lambda: gatezoo.predict(gatezoo.create_model("test_fcn"), torch.rand(3, 0, 64)),
    "sparse depth": lambda: to_depth_tensor(torch.ones(64, 64).to_sparse()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_wrong_argument_is_one_line(call):
    with pytest.raises(ValueError, match=" must ") as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["test_depthgate", "test_dignet", "test_gff", "test_maskrcnn_fpn", "test_zigzag"])
def test_keywords_of_another_type_are_refused(name):
    for key in get_model_spec(name).parameters():
        with pytest.raises(ValueError, match=f"{key} must be"):
            gatezoo.create_model(name, **{key: object()})


WITHOUT_EXTRAS = """
import sys
BLOCKED = {"accelerate", "h5py", "matplotlib", "pycocotools", "scipy", "segmentation_models_pytorch", "torchmetrics"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocker())
from gatezoo.cli import app
for line in sys.stdin:
    sys.argv = ["gatezoo", *line.split()]
    try:
        app.main()
    except SystemExit as end:
        print("exit", end.code, file=sys.stderr)
"""


def test_commands_name_the_missing_extra_before_any_work(tmp_path):
    options = f"--data {tmp_path}/absent --out {tmp_path}/out"
    lines = [
        f"eval test_fcn {options}",
        f"train test_fcn {options}",
        f"finetune test_fcn {options}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS], input="\n".join(lines), capture_output=True, text=True, cwd=Path.cwd()
    )
    assert done.stderr.count("exit 2") == 3, done.stderr
    assert done.stderr.count('run pip install "gatezoo[train]"') == 3
    assert "Traceback" not in done.stderr
