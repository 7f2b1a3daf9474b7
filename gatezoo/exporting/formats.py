"""Formats of an exported network: how each is written, and run again for the comparison."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .report import Run

Program = torch.export.ExportedProgram


@dataclass(frozen=True)
class ExportFormat:
    """A format of a file.

    Attributes:
        write: (traced network, folder, metadata, whether weights are stored in 16 bits) -> the file.
        load: the file -> the function that runs it.
    """

    write: Callable[[Program, Path, Mapping[str, Any], bool], Path]
    load: Callable[[Path], Run]


def _write_onnx(program: Program, folder: Path, config: Mapping[str, Any], fp16: bool) -> Path:
    file = folder / "model.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        exported = torch.onnx.export(
            program,
            input_names=[config["input"]["name"]],
            output_names=config["output_names"],
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    exported.model.metadata_props.update({key: json.dumps(value) for key, value in config.items()})
    exported.save(file, external_data=False)
    if fp16:
        _halve_weights(file)
    return file


def _halve_weights(file: Path) -> None:
    """Store the large weights of an ONNX file in 16 bits, with a cast back to 32 that a runtime does once.

    A conversion of the arithmetic would also round the positions of resizes and pools, which 16 bits cannot count.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(file)
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= 1024 and np.abs(values).max() < np.finfo(np.float16).max:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.float16"))
            casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    # Shapes that were inferred for the names of the weights would have to be moved, too; runtimes infer them anew.
    onnx.save(model, file)


def _load_onnx(file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: list(session.run(None, {name: image.numpy()}))


def _write_torch(program: Program, folder: Path, config: Mapping[str, Any], fp16: bool) -> Path:
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


FORMATS = {"onnx": ExportFormat(_write_onnx, _load_onnx), "torch": ExportFormat(_write_torch, _load_torch)}
