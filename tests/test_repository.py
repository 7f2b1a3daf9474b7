"""Imports point one way (who may use whom), and what starts quickly stays quick."""

import ast
import subprocess
import sys

import pytest
from helpers.paths import ROOT

PACKAGE = ROOT / "gatezoo"

# Each layer may import from those before it, never from those after.
LAYERS = [
    [
        "layers",
        "allocator",
        "choices",
        "weights",
        "files",
        "pictures",
        "precision",
        "recipe",
        "interrupts",
        "processes",
        "graph",
        "dilation",
        "trial",
        "outputs",
        "losses",
    ],
    ["gates", "heads", "backbone", "registry", "training_folder", "conversions", "tensor_files", "verified", "card"],
    ["unroll", "network", "roi_masks", "targets", "depth_loss"],
    ["segmenter", "detector", "hub", "model_config", "wide_resnet"],
    ["depth_segmenter", "multiscale_segmenter"],
    ["models", "checkpoints", "sources", "transforms", "inference", "recipes"],
    ["model_folder", "task", "optimizers", "inputs"],
    ["factory", "describe"],
    ["publishing"],
    ["data", "metrics", "visualize"],
    ["depth_figure"],
    ["prediction", "depth_prediction", "evaluation", "reports", "instance_evaluation", "instance_prediction"],
    ["gate_maps", "jobs"],
    ["gate_figures"],
    ["train"],
    ["launch"],
    ["stages"],
    ["cli_options"],
    ["cli_eval", "cli_gates", "cli_train", "cli_weights"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
# Third-party packages that these files or folders alone may import.
OWNERS = {
    "timm": ("backbone.py", "optimizers.py"),
    "huggingface_hub": ("hub",),
    "torchmetrics": ("metrics",),
    "matplotlib": ("visualize.py", "gate_figures.py"),
    "typer": ("cli.py", "cli_eval.py", "cli_gates.py", "cli_options.py", "cli_train.py", "cli_weights.py"),
}


def imported(path):
    """(modules of the package, third-party packages) that a file imports anywhere, at its top or inside a function."""
    own, others = set(), set()
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            own |= {(*base, *name.split("."))[0] for name in names}
    return own, others


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    own, others = imported(path)
    for used in own - {module}:
        assert RANK[used] <= RANK[module], f"{module} may not import {used}"
    for package in others & OWNERS.keys():
        place = path.relative_to(PACKAGE).parts[0]
        assert place in OWNERS[package], f"{package} is imported in {place}"


def test_gates_see_no_backbone_and_the_registry_no_model():
    for path in (PACKAGE / "gates").glob("*.py"):
        assert imported(path)[0] <= {"layers", "choices", "gates"}
    assert imported(PACKAGE / "registry.py")[0] == {"weights"}
    assert imported(PACKAGE / "weights.py")[0] == {"files"}


def test_files_are_short():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, path


@pytest.mark.parametrize("command", ["list", "--help"])
def test_what_runs_no_network_imports_no_torch(command):
    code = (
        "import sys, gatezoo, gatezoo.cli.app\n"
        "assert gatezoo.list_models()\n"
        f"sys.argv = ['gatezoo', {command!r}]\n"
        "try: gatezoo.cli.app.main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_predict_is_a_function_whatever_was_imported_before():
    code = "import gatezoo.inference.semantic, gatezoo.evaluation.semantic, gatezoo; assert callable(gatezoo.predict), gatezoo.predict"
    subprocess.run([sys.executable, "-c", code], check=True)
