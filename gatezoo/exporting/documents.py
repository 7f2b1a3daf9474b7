"""The README of an exported folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..inference.onnx_predictor import PREDICTORS
from .report import ExportReport, Quantization

_SCRIPT = """```
pip install numpy pillow {runtime}
python predict.py IMAGE OUT.png
```

or from Python, beside `predict.py`:

```python
from predict import {predictor}

predictor = {predictor}("{file}")
classes = predictor.predict("IMAGE.jpg")
```

`gatezoo predict {file} IMAGES --out OUT` writes overlays, too; `gatezoo eval {file} --data DATA` computes scores."""

_TORCH = """```python
import torch

model = torch.export.load("model.pt2").module()
output = model(image)
```"""


_INSTANCES = """```
pip install numpy pillow onnxruntime
python predict.py IMAGE OUT.npz
```

or from Python, beside `predict.py`:

```python
from predict import OnnxInstancePredictor

found = OnnxInstancePredictor("model.onnx").predict("IMAGE.jpg", score_threshold=0.5)
found["boxes"], found["labels"], found["scores"], found["names"]
masks = found["masks"].whole()  # (N, H, W) of bool
```"""


def instances_readme(config: Mapping[str, Any], report: ExportReport) -> str:
    """Return the text of ``README.md`` of an instance segmentation network."""
    lines = [
        f"# {config['name']}",
        "",
        f"A network of gatezoo {config['versions']['gatezoo']} for instance segmentation, exported to ONNX "
        f"({report.mb} MB, weights in {config['precision']}): `model.onnx` has the maps and the scores of all anchors, "
        "`boxes.onnx` and `masks.onnx` the heads. `predict.py` prepares the images, and selects proposals and "
        "instances.",
        "",
        f"- classes: {', '.join(config['class_names'][1:])}",
        f"- license of the weights: {config['license'] or 'not stated'}",
        "",
        "## Run",
        "",
        _INSTANCES,
        "",
        "## Comparison with eager mode",
        "",
        f"Difference: the greatest of all outputs of the graphs, as a share of the largest; at most "
        f"{report.tolerance:g} is accepted. Times are those of whole predictions.",
        "",
        *_comparisons(report),
    ]
    return "\n".join(lines) + "\n"


def folder_readme(config: Mapping[str, Any], report: ExportReport) -> str:
    """Return the text of ``README.md``: what the file takes and returns, how to run it, and its comparison."""
    image, low_high = config["input"], config["input"]["sides"]
    height, width = image["size"] or ("H", "W")
    channels = config["in_chans"]
    if config["preprocessing"]:
        shape, values = f"(1, {height}, {width}, {channels})", "values of the image file, 0 .. 255"
    else:
        shape, values = f"(1, {channels}, {height}, {width})", f"(value / 255 - {config['mean']}) / {config['std']}"
    free = "" if image["size"] else f" Each side is in {low_high[0]} .. {low_high[1]}."
    found = "(1, {}, {})" if config["outputs"] == "classes" else f"(1, {len(config['class_names'])}, {{}}, {{}})"
    difference = (
        "Difference: share of pixels of another class"
        if report.measure == "classes"
        else "Difference: the greatest of all logits, as a share of the largest logit"
    )
    predictor = PREDICTORS.get(report.file.suffix)
    run = _TORCH
    if predictor:
        run = _SCRIPT.format(runtime=predictor.runtime, predictor=predictor.__name__, file=report.file.name)
    lines = [
        f"# {config['name']}",
        "",
        f"A network of gatezoo {config['versions']['gatezoo']} for semantic segmentation, exported to "
        f"`{report.file.name}` ({report.mb} MB, weights in {config['precision']}).",
        "",
        f"- input `{image['name']}`: {image['dtype']} {shape}, {values}.{free}",
        f"- output {', '.join(f'`{name}`' for name in config['output_names'])}: {found.format(height, width)}",
        f"- classes: {', '.join(config['class_names'])}",
        f"- license of the weights: {config['license'] or 'not stated'}",
        "",
        "## Run",
        "",
        run,
        "",
        *_quantization(report.quantization),
        "## Comparison with eager mode",
        "",
        *(["Of the float32 export that was quantized.", ""] if report.quantization else []),
        f"{difference}; at most {report.tolerance:g} is accepted.",
        "",
        *_comparisons(report),
    ]
    return "\n".join(lines) + "\n"


def _comparisons(report: ExportReport) -> list[str]:
    """Return the table of the comparison with eager mode, and where more is."""
    return [
        "| image | difference | eager, ms | exported, ms |",
        "| --- | --- | --- | --- |",
        *(
            f"| {one.size[0]} x {one.size[1]} | {one.difference:.2g} | {one.eager_ms} | {one.exported_ms} |"
            for one in report.comparisons
        ),
        "",
        "`config.json` holds the metadata, `report.json` the comparison with memory and export time.",
    ]


def _quantization(found: Quantization | None) -> list[str]:
    """Return the lines about what 8 bits lose and gain."""
    if found is None:
        return []
    return [
        "## 8 bits beside 32",
        "",
        f"Calibrated on {found.calibration_images} images, measured on {found.held_out_images} others: "
        f"{1 - found.agreement:.2%} of the pixels changed their class.",
        "",
        "| | float32 | int8 |",
        "| --- | --- | --- |",
        *([] if found.miou_loss is None else [f"| mIoU | {found.float32_miou:.4f} | {found.int8_miou:.4f} |"]),
        f"| ms | {found.float32_ms} | {found.int8_ms} |",
        "",
    ]
