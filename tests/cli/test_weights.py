import json
import subprocess
import sys

import pytest
import torch
from helpers.commands import run
from helpers.manifest import use_manifest

import gatezoo
from gatezoo import hub as client
from gatezoo import pretrained
from gatezoo.cli import app as cli
from gatezoo.weights import sources


@pytest.fixture
def entry(hub, tmp_path, monkeypatch):
    """Weights that are on the Hub and not in the package."""
    model = gatezoo.create_model("test_fcn", num_classes=2)
    folder = gatezoo.save_pretrained(model, tmp_path / "m", ["a", "b"], "MIT")
    commit = hub.put("org/net", {path.name: path.read_bytes() for path in folder.iterdir()})
    stored = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    source = f"hf-hub:org/net@{commit}/model.safetensors"
    cfg = pretrained.PretrainedCfg.from_config("test_fcn", stored, source)
    use_manifest(monkeypatch, cfg)
    return cfg, commit


def test_list_path_and_verify_of_bundled_weights(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "weights", "list")
    assert code == 0
    header, *lines = out.splitlines()
    assert header.split() == ["weights", "size", "where", "license", "score"]
    assert [line.split()[0] for line in lines] == list(pretrained.manifest())
    for line, cfg in zip(lines, pretrained.manifest().values(), strict=True):
        assert f" {cfg.size / 1e6:.1f} MB  bundled  {cfg.license} " in line
        title, key = ("mIoU", "miou") if "miou" in cfg.metrics else ("mask AP", "mask_ap")
        assert line.rstrip().endswith(f"{title} {100 * cfg.metrics[key]:.1f} %")
    code, out, _ = run(monkeypatch, capsys, "weights", "path", "dignet_lite0_8s")
    assert out.strip() == str(pretrained.BUNDLED / "dignet_lite0_8s.camvid.safetensors")
    code, out, _ = run(monkeypatch, capsys, "weights", "verify", "rignet_mobilenetv2_32s_pf.camvid")
    assert (code, len(out.splitlines())) == (0, 1)
    assert "rignet_mobilenetv2_32s_pf.camvid: intact" in out


def test_json_has_everything(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "weights", "list", "--json")
    assert code == 0
    for entry, cfg in zip(json.loads(out), pretrained.manifest().values(), strict=True):
        file = str(pretrained.BUNDLED / cfg.file)
        assert entry == json.loads(json.dumps(cfg.to_dict())) | {
            "name": cfg.name,
            "local_files": [{"source": cfg.sources[0], "file": file}],
        }
    _, out, _ = run(monkeypatch, capsys, "weights", "verify", "rignet_mobilenetv2_32s_pf", "--json")
    (result,) = json.loads(out)
    assert (result["state"], result["error"], result["fix"]) == ("intact", "", "")


def test_damaged_bundled_file_is_told_with_what_to_do(monkeypatch, capsys, tmp_path):
    name = "rignet_mobilenetv2_32s_pf.camvid"
    file = f"{name}.safetensors"
    (tmp_path / file).write_bytes((pretrained.BUNDLED / file).read_bytes()[:-1])
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    code, out, _ = run(monkeypatch, capsys, "weights", "verify", name)
    assert (code, out) == (1, f"{name}: damaged, {tmp_path / file} of bundled:{file}: reinstall gatezoo\n")


def test_weights_are_missing_then_downloaded_intact_then_damaged(hub, entry, monkeypatch, capsys):
    cfg, commit = entry
    _, out, _ = run(monkeypatch, capsys, "weights", "list")
    assert "not here" in out
    assert run(monkeypatch, capsys, "weights", "verify")[:2] == (0, "test_fcn.local: not here\n")
    code, _, err = run(monkeypatch, capsys, "weights", "path", "test_fcn")
    assert code == 2
    assert "it is neither bundled nor in" in err
    assert "'gatezoo weights download test_fcn.local'" in err
    assert hub.counted() == []

    code, out, _ = run(monkeypatch, capsys, "weights", "download")
    path = client.cached("org/net", commit, "model.safetensors")
    assert (code, out) == (0, f"test_fcn.local: {path}\n")
    hub.requests.clear()
    assert run(monkeypatch, capsys, "weights", "path", "test_fcn") == (0, f"{path}\n", "")
    assert run(monkeypatch, capsys, "weights", "verify") == (0, f"test_fcn.local: intact, {path}\n", "")
    assert "hf-hub" in run(monkeypatch, capsys, "weights", "list")[1]
    assert hub.counted() == []

    data = bytearray(path.read_bytes())
    data[1000] ^= 4
    path.write_bytes(data)
    code, out, err = run(monkeypatch, capsys, "weights", "verify")
    assert code == 1
    fix = "'gatezoo weights download test_fcn.local' replaces it"
    assert out == f"test_fcn.local: damaged, {path} of {cfg.sources[0]}: {fix}\n"
    assert err == "gatezoo: all files must be intact; 1 damaged\n"
    code, out, _ = run(monkeypatch, capsys, "weights", "verify", "--json")
    (result,) = json.loads(out)
    assert code == 1
    assert (result["name"], result["state"], result["fix"]) == ("test_fcn.local", "damaged", fix)
    assert (result["source"], result["file"]) == (cfg.sources[0], str(path))
    assert f"must have sha256 {cfg.sha256}; {path} has " in result["error"]
    assert run(monkeypatch, capsys, "weights", "download", "test_fcn")[0] == 0
    assert run(monkeypatch, capsys, "weights", "verify")[0] == 0


def test_download_of_a_repository_for_a_machine_without_network(hub, entry, monkeypatch, capsys, tmp_path):
    _, commit = entry
    code, out, err = run(
        monkeypatch, capsys, "weights", "download", f"hf-hub:org/net@{commit}", "--cache-dir", tmp_path / "usb"
    )
    assert code == 0, err
    assert str(tmp_path / "usb") in out
    hub.close()
    model = gatezoo.create_model(f"hf-hub:org/net@{commit}", pretrained=True, cache_dir=tmp_path / "usb")
    assert torch.is_tensor(model.head.weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "fcn_resnet50_8s", "--json"), "fcn_resnet50_8s has none"),
        (("path", "fcn_resnet50_8s"), "fcn_resnet50_8s has none"),
        (("download", "nope"), "got 'nope'"),
        (("verify", "dignet_lite0_8s.x"), "have the tags camvid; got 'x'"),
        (("download", "s3:org/net"), "a model must be NAME"),
    ],
)
def test_wrong_name_is_one_line(monkeypatch, capsys, arguments, message):
    code, out, err = run(monkeypatch, capsys, "weights", *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""


def test_commands_about_the_manifest_import_no_torch():
    code = (
        "import sys, gatezoo.cli.app\n"
        "for command in (['list'], ['verify'], ['path', 'dignet_lite0_8s']):\n"
        "    sys.argv = ['gatezoo', 'weights', *command]\n"
        "    try: gatezoo.cli.app.main()\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_list_and_info_of_weights_without_scores(entry, monkeypatch, capsys):
    assert "not measured" in run(monkeypatch, capsys, "weights", "list")[1]
    monkeypatch.setattr(sys, "argv", ["gatezoo", "info", "test_fcn"])
    cli.app(standalone_mode=False)
    assert "not measured; MIT" in capsys.readouterr().out
