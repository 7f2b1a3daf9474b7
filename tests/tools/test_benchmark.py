"""The benchmark: networks beside those of other libraries, their page, and the settings of a GPU, tried on the CPU."""

import csv
import re
import subprocess
import sys

import pytest
import torch
from helpers.paths import ROOT

sys.path.append(str(ROOT / "tools"))

import benchmark
import peers_page
from measuring import gpu
from measuring.beside import measure_beside
from measuring.prediction import measure_loading
from peers import create, peer_networks
from peers_page import Group

import gatezoo
from gatezoo.model_info import count_parameters

CPU = torch.device("cpu")
EAGER = {name: setting for name, setting in gpu.SETTINGS.items() if not setting.compile}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page, a CSV and a chart to be written."""
    for name, file in (("PAGE", "page.md"), ("CSV", "peers.csv"), ("CHART", "peers.png")):
        monkeypatch.setattr(peers_page, name, tmp_path / file)
    monkeypatch.setattr(peers_page, "PACKAGE", tmp_path / "package")
    peers_page.PAGE.write_text("before\n<!-- peers -->\n<!-- end of peers -->\nafter\n")
    return peers_page.PAGE


def invented(names, size, repeats):
    """Rows as they are measured, with the place of the network as its milliseconds."""
    rows = []
    for place, name in enumerate(names, 1):
        network = name.rpartition("/")[2]
        padded = 384 if network == "smp_fpn" else size[0]
        row = dict(network=network, backbone="mobilenetv2_100", stride=8, height=padded, width=size[1], iterations="")
        row |= dict(params_m=1.5, gmac=10 * place, load_s=0.1, export_s=2, peak_mib=80)
        row |= dict(eager_ms=100 * place, onnx_ms=30 * place, eager_ratio=place, onnx_ratio=place, gmac_ratio=place)
        rows.append(row)
    return rows


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["benchmark.py", *map(str, arguments)])
    benchmark.main()


def test_the_comparison_of_the_page_is_that_of_the_csv():
    assert peers_page.new_page(peers_page.read(peers_page.CSV)) == peers_page.PAGE.read_text(), (
        "run python tools/peers_page.py"
    )


def test_the_page_shows_ratios_sizes_and_scores(page, monkeypatch):
    group = Group(("zigzag_lite0", "zigzag_lite0/smp_fpn"), (360, 480), 1)
    peers_page.measure_page(invented, [group], peers_page.CSV, resume=False)
    peers_page.write_page()
    text = page.read_text()
    assert "| `zigzag_lite0` | 8 | 100 | 1.00 | 30 | 1.00 | 10.0 | 1.00 | 1.50 | 80 | 0.1 | 2 |" in text
    assert "| `smp_fpn` at 480 x 384 | 8 | 200 | 2.00 | 60 | 2.00 | 20.0 | 2.00 | 1.50 | 80 | 0.1 | 2 |" in text
    assert re.search(r"with \d+ threads; torch \d", text)
    assert (text.startswith("before\n"), text.endswith("\nafter\n")) == (True, True)
    assert 5_000 < peers_page.CHART.stat().st_size <= 60 * 1024
    ((row, miou),) = peers_page._with_scores(peers_page.read(peers_page.CSV))
    assert (row["network"], miou) == ("zigzag_lite0", 100 * gatezoo.get_pretrained_cfg("zigzag_lite0").metrics["miou"])


def test_a_run_that_was_interrupted_goes_on(page):
    groups = [Group(("test_fcn", "test_fcn/smp_unet"), (64, 64), 1), Group(("test_fpn",), (64, 64), 1)]
    measured = []

    def measure(names, size, repeats):
        if len(measured) == 1:
            measured.append("interrupted")
            raise KeyboardInterrupt
        measured.append(names[0])
        return invented(names, size, repeats)

    with pytest.raises(KeyboardInterrupt):
        peers_page.measure_page(measure, groups, peers_page.CSV, resume=False)
    assert [row["network"] for row in peers_page.read(peers_page.CSV)] == ["test_fcn", "smp_unet"]
    peers_page.measure_page(measure, groups, peers_page.CSV, resume=True)
    assert measured == ["test_fcn", "interrupted", "test_fpn"]
    assert [row["network"] for row in peers_page.read(peers_page.CSV)] == ["test_fcn", "smp_unet", "test_fpn"]
    peers_page.CSV.write_text(peers_page.CSV.read_text().replace(peers_page.environment()["torch"], "1.0"))
    peers_page.measure_page(measure, groups, peers_page.CSV, resume=True)
    assert measured[3:] == ["test_fcn", "test_fpn"], "rows of another torch do not count"


def test_the_whole_comparison_is_one_command(page, monkeypatch):
    monkeypatch.setattr(peers_page, "GROUPS", [Group(("test_fcn",), (64, 80), 1)])
    run(monkeypatch, "--peers", "--no-memory")
    (row,) = peers_page.read(peers_page.CSV)
    assert (row["network"], row["height"], row["width"], row["stride"]) == ("test_fcn", "64", "80", "32")
    assert all(float(row[key]) > 0 for key in ("eager_ms", "onnx_ms", "load_s", "export_s", "gmac", "params_m"))
    assert "| `test_fcn` |" in page.read_text()
    assert peers_page.CHART.exists()


@pytest.mark.export
def test_networks_beside_peers(tmp_path, monkeypatch):
    out = tmp_path / "b.csv"
    run(monkeypatch, "test_dignet", "--against", "test_fcn", "--peers", "--size", 80, "--repeats", 1, "--csv", out)
    fcn, dignet, fpn, unet = csv.DictReader(out.open())
    assert [row["network"] for row in (fcn, dignet, fpn, unet)] == ["test_fcn", "test_dignet", "smp_fpn", "smp_unet"]
    assert (fpn["height"], unet["height"]) == ("96", "80"), "FPN takes multiples of 32 alone"
    assert dignet["iterations"] == "2"
    assert float(dignet["gmac_ratio"]) == pytest.approx(float(dignet["gmac"]) / float(fcn["gmac"]), rel=0.05)
    assert all(float(row["peak_mib"]) > 0 for row in (fcn, dignet, fpn, unet))


def test_networks_with_published_weights_are_loaded_with_the_classes_of_all_others():
    row = measure_loading("zigzag_lite0", 1)
    assert row["create_model_s"] > 0


def test_what_has_no_peers_is_refused():
    with pytest.raises(ValueError, match="at stride 8, 16 or 32; deeplabv3plus_wrn38 has wider_resnet38 at 8"):
        peer_networks("deeplabv3plus_wrn38")
    with pytest.raises(ValueError, match="must take an image alone; got test_depthgate_given"):
        measure_beside(["test_depthgate_given"], (64, 64), 1)


@pytest.mark.slow
@pytest.mark.parametrize("group", peers_page.GROUPS, ids=lambda group: group.names[0])
def test_peers_have_the_same_backbone_and_stride(group):
    own = group.names[0]
    with torch.device("meta"):
        expected = create(own).backbone
        for name in peer_networks(own):
            model = create(f"{own}/{name}").eval()
            body = model.backbone if name.startswith("torchvision") else model.encoder
            last = body(torch.empty(1, 3, 64, 96))
            last = last["out"] if isinstance(last, dict) else last[-1]
            assert last.shape[-2:] == (64 // expected.output_stride, 96 // expected.output_stride), name
            assert count_parameters(body) == count_parameters(expected), name
            logits = model(torch.empty(1, 3, 64, 96))
            assert (logits["out"] if isinstance(logits, dict) else logits).shape == (1, 21, 64, 96), name


def test_settings_of_a_gpu_are_measured_on_any_device():
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    rows = list(gpu.measure_settings(["test_dignet", "test_depthgate_given"], 64, 2, 2, CPU, EAGER))
    assert [row["setting"] for row in rows] == [setting for setting in EAGER for _ in range(2)]
    assert all(row["ms_per_image"] > 0 for row in rows)
    errors = {row["setting"]: float(row["error"]) for row in rows if row["model"] == "test_dignet"}
    assert errors["float32"] == 0
    assert 0 < errors["bf16, channels_last"] < 0.05
    assert (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == before


def test_settings_without_time_are_left_out_and_failures_are_told():
    def fail(model):
        raise RuntimeError("no compiler\nat all")

    compiled = {"a": gpu.Setting(), "b": gpu.Setting(compile=fail)}
    rows = list(gpu.measure_settings(["test_fcn"], 64, 1, 1, CPU, compiled))
    assert rows[1]["ms_per_image"] == "failed: no compiler"
    rows = list(gpu.measure_settings(["test_fcn"], 64, 1, 1, CPU, compiled, budget=0))
    assert rows[1]["ms_per_image"] == "left out: no time"
    assert rows[0]["ms_per_image"] > 0


@pytest.mark.slow
def test_compiled_settings_run_on_the_cpu(tmp_path, monkeypatch, capsys):
    out = tmp_path / "b.csv"
    run(monkeypatch, "test_fcn", "--gpu", "--device", "cpu", "--size", 64, "--repeats", 1, "--csv", out)
    assert capsys.readouterr().out.startswith("cpu (")
    rows = list(csv.DictReader(out.open()))
    assert [row["setting"] for row in rows] == list(gpu.SETTINGS)
    assert all(float(row["ms_per_image"]) > 0 and float(row["error"]) < 0.05 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_one_line(monkeypatch):
    with pytest.raises(SystemExit, match=r"^--gpu requires a GPU that torch can use; .* try .* with --device cpu$"):
        run(monkeypatch, "--gpu")


@pytest.mark.slow
def test_errors_are_one_line():
    command = [sys.executable, "tools/benchmark.py", "deeplabv3plus_wrn38", "--peers"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: peers must have a backbone of timm")
