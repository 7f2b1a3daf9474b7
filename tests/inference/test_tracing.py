"""Traced networks: what makes tracing and conversion quick, and leaves no trace in the module."""

import gc

import torch
from torch import nn

from gatezoo.inference.tracing import to_onnx, trace


def test_trace_has_no_changes_in_place_and_leaves_the_module_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(inplace=True), nn.ReLU()).eval()
    program = trace(module, torch.randn(1, 3, 64, 64), 2, (64, 128))
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert called
    assert not [target for target in called if getattr(getattr(target, "_schema", None), "is_mutable", False)]
    assert [getattr(part, "inplace", None) for part in module] == [None, True, False]
    assert gc.isenabled()


def test_graph_has_no_more_operations_than_needed():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU6()).eval()
    program = trace(module, torch.randn(1, 3, 64, 64), 2, None)
    graph = to_onnx(program, ["image"], ["map"]).model.graph
    assert [node.op_type for node in graph] == ["Conv", "Clip"]
    assert gc.isenabled()
