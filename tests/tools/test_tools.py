import csv
import re
import subprocess
import sys

import pytest
from helpers.paths import ROOT


def run(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("tool", [pytest.param("tools/model_table.py", marks=pytest.mark.slow), "tools/cli_docs.py"])
def test_generated_pages_are_up_to_date(tool):
    done = run(tool, "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
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


@pytest.mark.slow
def test_benchmark_of_several_iterations_and_other_blocks(tmp_path):
    out = tmp_path / "b.csv"
    short = ("--size", 64, "--repeats", 1, "--no-memory", "--csv", out)
    done = run("tools/benchmark.py", "test_rignet", "--iterations", 2, 4, "--model-kwargs", "blocks=[-1]", *short)
    assert done.returncode == 0, done.stderr
    two, four = csv.DictReader(out.open())
    assert two["model"] == four["model"] == "test_rignet blocks=[-1]"
    assert 1 < float(two["gmac_ratio"]) < float(four["gmac_ratio"]) < 1.5, "the last block alone runs again"


@pytest.mark.slow
def test_benchmark_memory_of_a_peer():
    code = "import sys; sys.path.append('tools'); from measuring.networks import peak_memory as peak; "
    done = run("-c", code + "print(peak('pspnet_r50/smp_pspnet', 1, (64, 64)))")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 80, "its 24 million parameters alone are more"


@pytest.mark.slow
def test_benchmark_of_loading(tmp_path):
    out = tmp_path / "b.csv"
    done = run("tools/benchmark.py", "test_dignet", "--load", "--repeats", 2, "--csv", out)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(out.open())
    assert float(row["read_s"]) >= 0
    assert float(row["create_model_s"]) > 0
    assert float(row["plain_s"]) > 0


@pytest.mark.parametrize("script", ["tools/demo", "tools/test", ".ci/run"])
def test_shell_scripts_parse_and_are_executable(script):
    assert (ROOT / script).stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0


@pytest.mark.slow
def test_benchmark_against_another_model(tmp_path):
    out = tmp_path / "b.csv"
    short = ["--size", 64, "--repeats", 1, "--no-memory"]
    done = run("tools/benchmark.py", "test_gff", "--against", "test_pspnet", *short, "--csv", out)
    assert done.returncode == 0, done.stderr
    plain, fused = csv.DictReader(out.open())
    assert (plain["model"], fused["model"]) == ("test_pspnet", "test_gff")
    assert (float(plain["time_ratio"]), float(plain["gmac_ratio"])) == (1, 1)
    assert float(fused["gmac_ratio"]) == pytest.approx(float(fused["gmac"]) / float(plain["gmac"]), rel=0.2)
    assert float(fused["gmac_ratio"]) > 1
    assert all(float(row["ms_per_image"]) > 0 for row in (plain, fused))


def test_benchmark_of_the_heads_of_fcis():
    done = run("tools/benchmark_detectors.py", "--heads", "--size", 64, 64, "--repeats", 1)
    ratios = re.findall(r"\d+\.\d{3}", done.stdout)
    assert len(ratios) == 6
    assert float(ratios[5]) == pytest.approx(float(ratios[3]) / float(ratios[4]), rel=0.1)
