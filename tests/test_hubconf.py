"""torch.hub: names, help and loading, also in processes that find the package only through the checkout's folder."""

import ast
import importlib.util
import subprocess
import sys

import pytest
import torch
from helpers.paths import ROOT

import gatezoo
from gatezoo import factory
from gatezoo.pretrained import of_architecture
from gatezoo.registry import get_model_spec


def run_elsewhere(tmp_path, code):
    """Run code in another folder, where only torch.hub can find the package."""
    prelude = (
        f"import sys, torch\nROOT = {str(ROOT)!r}\n"
        "sys.path[:] = [p for p in sys.path if p not in ('', ROOT)]\n"
        "import importlib.util\nassert 'gatezoo' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def github(tmp_path, monkeypatch):
    """Name of a repository that torch.hub has downloaded before: this checkout."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "owner_gatezoo_main").symlink_to(ROOT)
    return "owner/gatezoo:main"


def test_list_contains_every_model_and_nothing_else(github):
    listed = torch.hub.list(github, trust_repo=True, verbose=False)
    assert set(listed) == {"create_model", *gatezoo.list_models()}


@pytest.mark.parametrize("name", ["dignet_resnet101_8s", "fcn_resnet50_32s", "zigzag_r101", "create_model"])
def test_help_describes_model_and_keywords(github, name):
    text = torch.hub.help(github, name, trust_repo=True)
    assert "num_classes" in text
    assert "pretrained" in text
    if name != "create_model":
        assert text.startswith(f"{name}(pretrained=False, num_classes=None, ...)")
        assert "a timm model" in text
        for keyword in ("backbone", "in_chans", "pretrained_backbone", "backbone_args", "freeze_bn"):
            assert text.count(f"    {keyword}: ") == 1


def test_help_of_every_model_tells_how_to_call_it(github, monkeypatch):
    # The help of torch.hub imports hubconf.py anew for each name.
    entrypoints = factory.hub_entrypoints()
    monkeypatch.setattr(factory, "hub_entrypoints", lambda: entrypoints)
    for name in gatezoo.list_models():
        text = torch.hub.help(github, name, trust_repo=True)
        spec = get_model_spec(name)
        first, rest = text.split("\n\n", 1)
        assert first == f"{name}(pretrained=False, num_classes=None, ...)"
        assert spec.paper in rest
        for cfg in of_architecture(name):
            assert f"{cfg.name}, license {cfg.license}, trained on {cfg.train_data}" in rest
        assert ("none yet" in rest) != bool(of_architecture(name))
        for keyword, value in spec.model_kwargs.items():
            assert f"{keyword}={value!r}" in rest
        lines = [line.split(": ")[0] for line in rest.splitlines() if line.startswith("    ")]
        documented = {word.strip() for line in lines for word in line.split(",")}
        assert spec.parameters().keys() <= documented, name


def test_load_by_the_name_of_the_repository(github):
    assert torch.hub.load(github, "test_fcn", trust_repo=True, verbose=False, num_classes=4).num_classes == 4


def test_load_with_and_without_weights(tmp_path):
    out = run_elsewhere(
        tmp_path,
        "model = torch.hub.load(ROOT, 'dignet_lite0_8s', source='local', pretrained=True)\n"
        "assert ROOT not in sys.path\n"
        "print(model.pretrained_cfg.name, len(model.load_report.loaded) > 300)\n"
        "print(torch.hub.load(ROOT, 'test_dignet', source='local', num_classes=3, iterations=3).iterations)\n"
        # Later imports work although the folder is no longer on the path.
        "import gatezoo, numpy\n"
        "print(gatezoo.predict(model, numpy.zeros((64, 96, 3), numpy.uint8)).shape)\n",
    )
    assert out.split("\n")[:3] == ["dignet_lite0_8s.camvid True", "3", "(64, 96)"]


def test_wrong_name_or_keyword_is_refused():
    with pytest.raises(ValueError, match="got 'shallow'"):
        torch.hub.load(str(ROOT), "test_dignet", source="local", shallow=1)
    with pytest.raises(RuntimeError, match="Cannot find callable dignet"):
        torch.hub.load(str(ROOT), "dignet", source="local")


def test_dependencies_are_all_that_the_networks_import():
    """Third-party packages of every file that creating and running a network imports."""
    package = ROOT / "gatezoo"
    visited, wanted = set(), set()
    queue = [package / "__init__.py", package / "factory.py", package / "inference/semantic.py"]
    queue += [path for folder in ("models", "gates", "heads", "hub") for path in package.glob(f"{folder}/*.py")]
    while queue:
        path = queue.pop()
        if path in visited or not path.is_file():
            continue
        visited.add(path)
        here = path.relative_to(package).parts[:-1]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                wanted.add(node.module.split(".")[0])
            elif isinstance(node, ast.ImportFrom) and path != package / "__init__.py":
                base = package.joinpath(*here[: len(here) - node.level + 1], *(node.module or "").split("."))
                queue += [base.with_suffix(".py"), base / "__init__.py", *(base / f"{a.name}.py" for a in node.names)]
    assert package / "weights/sources.py" in visited, "the imports were not followed"
    wanted -= set(sys.stdlib_module_names)
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    hubconf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    optional = {"matplotlib", "onnxruntime", "openvino"}  # for drawing, and for exported networks
    assert wanted - optional <= set(hubconf.dependencies)
    for name in hubconf.dependencies:
        assert importlib.util.find_spec(name), name


def test_missing_dependency_is_reported_before_anything_is_imported(tmp_path):
    code = (
        "real = torch.hub._check_module_exists\n"
        "torch.hub._check_module_exists = lambda name: name != 'safetensors' and real(name)\n"
        "try: torch.hub.load(ROOT, 'test_fcn', source='local')\n"
        "except RuntimeError as error: print(error)\n"
    )
    assert "safetensors" in run_elsewhere(tmp_path, code)
