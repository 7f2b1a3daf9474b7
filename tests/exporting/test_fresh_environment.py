"""An exported folder in an environment of its own, where nothing but numpy, Pillow and the runtime can be imported."""

import importlib.metadata
import subprocess
import sys
import venv

import numpy as np
import pytest
from helpers.exports import network, write_images
from PIL import Image

import gatezoo


def fresh_environment(folder, *distributions):
    """Make an environment without pip whose packages are links to those of this one."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = type(folder)(subprocess.check_output(command, text=True).strip())
    for name in distributions:
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            (packages / top).symlink_to(distribution.locate_file(top))
    return python


@pytest.mark.export
@pytest.mark.skipif(sys.platform == "win32", reason="environments have other folders there")
@pytest.mark.parametrize(("format", "runtime"), [("onnx", ["onnxruntime"]), ("openvino", ["openvino"])])
def test_exported_folder_runs_in_a_fresh_environment(tmp_path, format, runtime):
    model = network()
    image = write_images(tmp_path / "images", 1) / "0.png"
    gatezoo.export(model, tmp_path / "out", format, outputs="classes", preprocessing=True)
    python = fresh_environment(tmp_path / "env", "numpy", "pillow", *runtime)

    def run(*arguments):
        # Without the variables and folders of this process, which could lead to its packages.
        return subprocess.run([python, "-I", *arguments], cwd=tmp_path, env={}, capture_output=True, text=True)

    for package in ("torch", "gatezoo", "onnx", "timm"):
        assert "ModuleNotFoundError" in run("-c", f"import {package}").stderr
    done = run(tmp_path / "out" / "predict.py", image, "drawn.png")
    assert done.returncode == 0, done.stderr
    expected = gatezoo.predict(model, image)
    assert len(np.unique(expected)) > 1
    assert (np.array(Image.open(tmp_path / "drawn.png")) != expected).mean() < 1e-3
