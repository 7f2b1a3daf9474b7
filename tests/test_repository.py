"""The repository: who may import whom, how long files and signatures are, and that what starts quickly stays quick."""

import ast
import importlib
import inspect
import subprocess
import sys

import pytest
from helpers.paths import ROOT

PACKAGE = ROOT / "gatezoo"

# Each rank may import from those before it and from its own, never from those after.
RANKS = [
    ["utils", "layers", "hub"],
    ["backbones", "gates", "metrics", "visualization", "pretrained", "data"],
    ["heads", "registry", "recipes", "losses"],
    ["segmenters"],
    ["models", "weights", "model_info"],
    ["factory", "inference"],
    ["publishing", "evaluation"],
    ["training", "exporting"],
    ["app"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
# What is imported against the ranks, by the file that does so inside functions alone: methods that users of other
# libraries expect of a class, and that only call the function of the later package.
UPWARD = {
    "segmenters/methods.py": {"factory", "publishing"},
    "pretrained/cfg.py": {"data", "registry"},
}
# Third-party packages that these packages or files alone may import.
OWNERS = {
    "timm": ("backbones", "training/optimizers.py"),
    "huggingface_hub": ("hub", "publishing/benchmarks.py", "publishing/card_header.py"),
    "torchmetrics": ("metrics",),
    "matplotlib": ("visualization",),
    "accelerate": ("training",),
    "typer": ("cli",),
    "gradio": ("app",),
    "onnx": ("exporting",),
    "onnxruntime": ("exporting", "inference/onnx_predictor.py", "inference/runtimes.py", "inference/onnx_instances.py"),
    "openvino": ("exporting", "inference/onnx_predictor.py", "inference/runtimes.py"),
    "tifffile": ("utils/tiff.py",),
    "imagecodecs": ("utils/images.py",),
}


def runtime_imports(tree):
    """Import statements anywhere in a file, but for those that type checkers alone read."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    return [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)) and id(n) not in typing_only]


def imported_at_the_top(path):
    """Packages of gatezoo that a file imports outside functions."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = [ast.Pass()]
    return packages_of(imported(path, tree)[0])


def imported(path, tree=None):
    """(dotted names in the package, third-party packages) that a file imports, at its top or inside a function."""
    own, others = set(), set()
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for node in runtime_imports(tree or ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif node.level == 0:
            others.add(node.module.split(".")[0])
        else:
            base = [*here[: len(here) - node.level], *(node.module or "").split(".")]
            own |= {".".join(part for part in (*base, alias.name) if part) for alias in node.names}
    return own, others


def packages_of(names):
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    place = path.relative_to(PACKAGE)
    module = place.parts[0].removesuffix(".py")
    own, others = imported(path)
    upward = UPWARD.get(str(place), set())
    assert upward <= packages_of(own) - imported_at_the_top(path), f"{place} imports these inside functions: {upward}"
    for name in own:
        used = name.split(".")[0]
        allowed = used == module or used in upward or RANK[used] <= RANK[module]
        assert allowed, f"{module} may not import {used}"
        private = any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
        assert used == module or not private, f"{place} imports the private {name}"
    for package in others & OWNERS.keys():
        assert module in OWNERS[package] or str(place) in OWNERS[package], f"{package} is imported in {place}"


def test_there_are_no_circles_of_packages():
    uses = {name: set() for name in RANK}
    for path in FILES:
        place = path.relative_to(PACKAGE)
        module = place.parts[0].removesuffix(".py")
        uses[module] |= packages_of(imported(path)[0]) - {module} - UPWARD.get(str(place), set())
    while free := [name for name in uses if not uses[name] & uses.keys()]:
        for name in free:
            del uses[name]
    assert not uses, f"these import one another in a circle: {sorted(uses)}"


def test_gates_see_no_backbone_and_the_registry_no_torch():
    for path in (PACKAGE / "gates").glob("*.py"):
        assert packages_of(imported(path)[0]) <= {"layers", "utils", "gates"}
    for path in (PACKAGE / "registry.py", *(PACKAGE / "pretrained").glob("*.py")):
        own, others = imported(path)
        assert "torch" not in others
        upward = UPWARD.get(str(path.relative_to(PACKAGE)), set())
        assert packages_of(own) - upward <= {"backbones", "pretrained", "utils"}


def test_packages_only_re_export():
    for path in PACKAGE.rglob("*/__init__.py"):
        for node in ast.parse(path.read_text()).body:
            is_export = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (
                "__all__",
                "(__getattr__, __dir__)",
            )
            is_typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            assert is_export or is_typing or isinstance(node, (ast.Expr, ast.ImportFrom)), (path, ast.unparse(node))


def test_files_are_short_and_few_lie_in_the_root():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, path
    assert len(list(PACKAGE.glob("*.py"))) <= 7


def test_functions_take_at_most_twelve_arguments():
    """Ruff's ceiling is 10; commands and builders have an argument for each option or keyword of their paper."""
    for path in FILES:
        if path.parent.name in ("cli", "models"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
                assert len(names) <= 12, f"{path}: {node.name}"


def test_public_methods_have_or_inherit_a_docstring():
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES if path.stem != "__main__"]
    for name in modules:
        module = importlib.import_module(name.removesuffix(".__init__"))
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__:
                for key, value in vars(cls).items():
                    if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                        assert inspect.getdoc(getattr(cls, key)), f"{name}.{cls.__name__}.{key} has no docstring"


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


def test_public_functions_are_functions_whatever_was_imported_before():
    code = (
        "import gatezoo.inference.semantic, gatezoo.evaluation.loop, gatezoo.training.trainer, gatezoo\n"
        "for name in ('predict', 'evaluate', 'train', 'finetune'): assert callable(getattr(gatezoo, name)), name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
