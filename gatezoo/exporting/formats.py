"""Formats of an exported network: how each is written, and run again for the comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..inference.onnx_predictor import openvino_core
from ..inference.tracing import to_onnx
from .report import Run

Program = torch.export.ExportedProgram


@dataclass(frozen=True)
class ExportFormat:
    """A format of a file.

    Attributes:
        convert: (traced network, scratch folder, metadata) -> what the file is written from: an ONNX file, or the
            traced network.
        write: (what ``convert`` returned, folder, metadata) -> the file.
        load: the file -> the function that runs it.
        extra, packages: packages that it needs, and the extra that installs them.
        has_script: whether ``predict.py`` runs the file.
        precisions: of the weights.
    """

    convert: Callable[[Program, Path, Mapping[str, Any]], Any]
    write: Callable[[Any, Path, Mapping[str, Any]], Path]
    load: Callable[[Path], Run]
    extra: str
    packages: tuple[str, ...]
    has_script: bool = True
    precisions: tuple[str, ...] = ("float32", "float16", "int8")


def _to_onnx(program: Program, folder: Path, config: Mapping[str, Any]) -> Path:
    exported = to_onnx(program, [config["input"]["name"]], config["output_names"])
    exported.save(folder / "float.onnx", external_data=False)
    return folder / "float.onnx"


def _write_onnx(source: Path, folder: Path, config: Mapping[str, Any]) -> Path:
    import onnx

    model = onnx.load(source)
    if config["precision"] == "float16":
        _halve_weights(model)
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in config.items()})
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def _halve_weights(model: Any) -> None:
    """Store the large weights of an ONNX model in 16 bits, with a cast back to 32 that a runtime does once.

    A conversion of the arithmetic would also round the positions of resizes and pools, which 16 bits cannot count.
    """
    import onnx
    from onnx import numpy_helper

    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= 1024 and np.abs(values).max() < np.finfo(np.float16).max:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
            casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    # Shapes that were inferred for the names of the weights would have to be moved, too; runtimes infer them anew.
    model.graph.node.extend(nodes)


def _load_onnx(file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: list(session.run(None, {name: image.numpy()}))


def _write_openvino(source: Path, folder: Path, config: Mapping[str, Any]) -> Path:
    import openvino

    model = openvino.convert_model(source)
    for key, value in config.items():
        model.set_rt_info(json.dumps(value), ["gatezoo", key])
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=config["precision"] == "float16")
    return folder / "model.xml"


def _load_openvino(file: Path) -> Run:
    # Some processors would compute in 16 bits.
    compiled = openvino_core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    return lambda image: [np.array(one) for one in request.infer([image.numpy()]).values()]


def _write_torch(program: Program, folder: Path, config: Mapping[str, Any]) -> Path:
    file = folder / "model.pt2"
    torch.export.save(program, file, extra_files={"config.json": json.dumps(config)})
    return file


def _load_torch(file: Path) -> Run:
    module = torch.export.load(file).module()

    def run(image: Tensor) -> list[np.ndarray]:
        with torch.inference_mode():
            found = module(image)
        return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]

    return run


_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
FORMATS = {
    "onnx": ExportFormat(_to_onnx, _write_onnx, _load_onnx, "export", _ONNX_PACKAGES),
    "openvino": ExportFormat(_to_onnx, _write_openvino, _load_openvino, "openvino", ("onnx", "onnxscript", "openvino")),
    "torch": ExportFormat(
        lambda program, folder, config: program,
        _write_torch,
        _load_torch,
        "export",
        (),
        has_script=False,
        precisions=("float32",),
    ),
}
