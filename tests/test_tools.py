import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


def test_the_tables_of_the_readme_are_those_of_registry_and_manifest():
    done = run("tools/model_table.py", "--check")
    assert done.returncode == 0, done.stderr


def test_benchmark_writes_its_columns(tmp_path):
    out = tmp_path / "b.csv"
    done = run(
        "tools/benchmark.py", "test_dignet", "test_fcn", "--size", 64, "--repeats", 2, "--iterations", 3, "--csv", out
    )
    assert done.returncode == 0, done.stderr
    dignet, fcn = csv.DictReader(out.open())
    assert (dignet["model"], fcn["model"]) == ("test_dignet", "test_fcn")
    assert float(dignet["gmac_ratio"]) > 3
    assert float(dignet["time_ratio"]) > 1
    assert fcn["gmac_ratio"] == ""
    assert all(float(row["ms_per_image"]) > 0 and float(row["peak_mib"]) > 0 for row in (dignet, fcn))


def test_benchmark_of_loading(tmp_path):
    out = tmp_path / "b.csv"
    done = run("tools/benchmark.py", "test_dignet", "--load", "--repeats", 2, "--csv", out)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(out.open())
    assert float(row["read_s"]) >= 0
    assert float(row["create_model_s"]) > 0
    assert float(row["plain_s"]) > 0


@pytest.mark.parametrize("script", ["tools/demo", "tools/test", ".ci/run"])
def test_shell_scripts_parse_and_can_be_run(script):
    assert (ROOT / script).stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0
