"""``gatezoo publish``: what is reported before any work, and all bundled weights at once, against a loopback hub."""

import importlib
import json
import os
import subprocess
import sys
import time

import pytest
import yaml
from helpers.commands import run
from helpers.manifest import use_manifest_file
from helpers.paths import ROOT
from huggingface_hub import ModelCard, close_session, parse_eval_result_entries

import gatezoo
from gatezoo import hub as client
from gatezoo import pretrained
from gatezoo.hub import retry
from gatezoo.publishing import publish as publish_module
from gatezoo.publishing.benchmarks import parse_benchmark

NAMES = ("rignet_mobilenetv2_32s_pf.camvid", "zigzag_maskrcnn_mobilenetv2.nuclei")
ALL = ("publish", "--all", "--org", "org")


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """The manifest in use: two bundled sets of weights."""
    content = json.loads((ROOT / pretrained.MANIFEST).read_text())
    content["weights"] = {name: content["weights"][name] for name in NAMES}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(content))
    use_manifest_file(monkeypatch, path)
    return path


@pytest.fixture
def no_work(monkeypatch):
    """Building a release fails the test."""

    def build(*_, **__):
        raise AssertionError("work began")

    monkeypatch.setattr(publish_module, "create_model", build)


def rows_of(out):
    """The table at the end."""
    lines = [line.split() for line in out.splitlines()]
    start = lines.index(["weights", "repository", "result"])
    return lines[start + 1 :]


def test_all_are_published_with_cards_results_and_a_table(hub, manifest, monkeypatch, capsys, tmp_path):
    benchmarks = ("--benchmark", "CamVid=org/camvid:val", "--benchmark", "DSB-2018 nuclei=org/nuclei:val")
    before = json.loads(manifest.read_text())["weights"]
    code, out, err = run(monkeypatch, capsys, *ALL, *benchmarks, "--folder", tmp_path / "kept", "--yes")
    assert code == 0, err
    assert rows_of(out) == [[name, f"org/{name}", "published"] for name in NAMES]
    written = json.loads(manifest.read_text())["weights"]
    for name, data, key, metric in zip(
        NAMES, ("camvid", "nuclei"), ("mean_iou", "mean_average_precision"), ("miou", "mask_ap")
    ):
        value = before[name]["metrics"][metric]
        stored = hub.repos[f"org/{name}"]
        commit = stored.refs["main"]
        files = stored.commits[commit]
        assert written[name]["sources"][-1] == f"hf-hub:org/{name}@{commit}/model.safetensors"
        (path,) = [path for path in files if path.startswith(".eval_results/")]
        assert path == f".eval_results/org-{data}-val.yaml"
        (result,) = parse_eval_result_entries(yaml.safe_load(files[path].data))
        assert (result.dataset_id, result.task_id, result.value) == (f"org/{data}", "val", value)
        card = ModelCard(files["README.md"].data.decode())
        assert (card.data.eval_results[0].metric_type, card.data.eval_results[0].metric_value) == (key, value)
        assert any(card.text in sent for sent in hub.cards), "not validated"
        for file, blob in files.items():
            assert (tmp_path / "kept" / name / file).read_bytes() == blob.data
        # It is pulled from there, without the package's own file.
        model = gatezoo.create_model(f"hf-hub:org/{name}@{commit}", pretrained=True)
        assert model.pretrained_cfg.sha256 == written[name]["sha256"]


def test_one_failure_leaves_the_others_and_is_reported(hub, manifest, monkeypatch, capsys, tmp_path):
    hub.fail("POST", r"/org/rignet.*/commit/", times=9, status=403)
    before = json.loads(manifest.read_text())["weights"]
    code, out, err = run(monkeypatch, capsys, *ALL, "--folder", tmp_path / "kept", "--yes")
    assert code == 1
    assert rows_of(out) == [[NAMES[0], f"org/{NAMES[0]}", "failed"], [NAMES[1], f"org/{NAMES[1]}", "published"]]
    (line,) = err.strip().splitlines()
    assert line.startswith(f"{NAMES[0]}: the token must allow writing hf-hub:org/{NAMES[0]}; the hub answers 403")
    after = json.loads(manifest.read_text())["weights"]
    assert after[NAMES[0]] == before[NAMES[0]]
    assert len(after[NAMES[1]]["sources"]) == 2
    assert list(hub.repos["org/" + NAMES[0]].commits.values()) == [{}], "nothing half-written"


def test_every_uploaded_file_is_compared(hub, manifest, tmp_path):
    benchmark = parse_benchmark("org/camvid:val")
    release = publish_module.build_release(NAMES[0], tmp_path / "out", "org/x", benchmark=benchmark)
    commit = client.upload(release.folder, "org/x", "all")
    release.check_uploaded("org/x", commit)
    results = release.folder / ".eval_results/org-camvid-val.yaml"
    results.write_text(results.read_text() + "\n")
    with pytest.raises(ValueError, match=r"\.eval_results/org-camvid-val\.yaml of org/x@.* must be the uploaded file"):
        release.check_uploaded("org/x", commit)
    results.rename(results.with_name("a.yaml"))
    with pytest.raises(ValueError, match=r"\.eval_results/a\.yaml of org/x@.* must be the uploaded file"):
        release.check_uploaded("org/x", commit)


def test_without_yes_all_are_checked_and_nothing_is_sent(hub, manifest, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "")
    code, out, _ = run(monkeypatch, capsys, *ALL)
    assert code == 0
    assert rows_of(out) == [[name, f"org/{name}", "checked"] for name in NAMES]
    assert hub.counted() == []


@pytest.mark.parametrize("arguments", [ALL, ("publish", NAMES[0], "--repo", "org/x")])
def test_what_would_stop_the_upload_is_reported_first(hub, manifest, no_work, monkeypatch, capsys, tmp_path, arguments):
    def message_of(*more):
        code, out, err = run(monkeypatch, capsys, *arguments, "--yes", *more)
        assert (code, out) == (2, "")
        assert len(err.strip().splitlines()) == 1
        return err

    assert "must be JSON with the key 'weights'" in message_of("--manifest", tmp_path / "absent.json")
    (tmp_path / "list.json").write_text('{"weights": []}')
    assert "must be JSON with the key 'weights'" in message_of("--manifest", tmp_path / "list.json")

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryFile", refuse)
        assert f"the manifest {manifest} must be writable; Permission denied" in message_of()
    assert hub.counted() == []
    monkeypatch.setenv("HF_TOKEN", "")
    assert "there is no token: set HF_TOKEN or run 'hf auth login'" in message_of()


def test_unknown_token_is_reported_before_the_work(hub, manifest, no_work, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    code, _, err = run(monkeypatch, capsys, "publish", NAMES[0], "--repo", "org/x", "--yes")
    assert code == 2
    assert "the token must allow writing hf-hub:org/x; the hub answers 401" in err


@pytest.mark.parametrize("arguments", [ALL, ("publish", NAMES[0], "--repo", "org/x")])
def test_dead_hub_is_reported_before_the_work_within_five_seconds(
    hub, manifest, no_work, monkeypatch, capsys, arguments
):
    hub.close()
    close_session()
    began = time.monotonic()
    code, out, err = run(monkeypatch, capsys, *arguments, "--yes")
    assert time.monotonic() - began < 5
    assert (code, out) == (2, "")
    assert "must be reachable for the upload of hf-hub:org/" in err
    assert len(err.strip().splitlines()) == 1


def test_hub_that_dies_between_two_uploads_fails_the_second_within_five_seconds(hub, manifest, monkeypatch, capsys):
    real = publish_module.publish
    died = []

    def last(*arguments, **keywords):
        cfg = real(*arguments, **keywords)
        hub.close()
        close_session()
        died.append(time.monotonic())
        monkeypatch.setattr(publish_module, "create_model", None)  # no further work
        return cfg

    monkeypatch.setattr(publish_module, "publish", last)
    code, out, err = run(monkeypatch, capsys, *ALL, "--yes")
    assert time.monotonic() - died[0] < 5
    assert code == 1
    assert [row[2] for row in rows_of(out)] == ["published", "failed"]
    assert err.startswith(f"{NAMES[1]}: the hub")


def test_what_stops_an_upload_is_found_without_torch(manifest, tmp_path):
    code = (
        "import sys, gatezoo.cli.app\n"
        f"sys.argv = ['gatezoo', 'publish', {NAMES[0]!r}, '--repo', 'org/x', '--yes']\n"
        "try: gatezoo.cli.app.main()\n"
        "except SystemExit as end: assert end.code == 2, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    places = {"HF_ENDPOINT": "http://127.0.0.1:1", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    for token, message in (("", "there is no token"), ("hf_x", "must be reachable for the upload")):
        env = {**os.environ, **places, "HF_TOKEN": token}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert message in done.stderr


@pytest.mark.parametrize("step", ["repos/create", "preupload", "commit", "tree"])
def test_hub_that_falls_silent_ends_the_upload(hub, manifest, monkeypatch, tmp_path, step):
    """Every step has a limit: those of one answer the budget of a download, the commit its bytes at the least rate."""
    monkeypatch.setattr(retry, "FIRST_BYTE_TIMEOUT", 0.8)
    monkeypatch.setattr(retry, "ATTEMPT_TIMEOUT", 0.4)
    upload = importlib.import_module("gatezoo.hub.upload")  # the package has a function of this name
    monkeypatch.setattr(upload, "COMMIT_TIMEOUT", 1.0)
    monkeypatch.setattr(upload, "MIN_RATE", 1e12)
    before = manifest.read_text()
    release = publish_module.build_release(NAMES[0], tmp_path / "out", "org/x")
    hub.fail("GET" if step == "tree" else "POST", step, times=99, delay=6)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"must be reachable for the upload of hf-hub:org/x.*no answer within"):
        publish_module.publish(release, "org/x")
    assert time.monotonic() - began < 4
    assert manifest.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*ALL, "--benchmark", "org/camvid:val"), "one of CamVid, DSB-2018 nuclei; got ''"),
        ((*ALL, "--benchmark", "Camvid=org/camvid:val"), "got 'Camvid': write DATA=ORG/DATASET:TASK"),
        ((*ALL, "--benchmark", "org/camvid"), "a benchmark must be [DATA=]ORG/DATASET:TASK"),
        ((*ALL, "--image", "street.jpg"), "must be a folder of images NAME.TAG.jpg; got street.jpg"),
        (("publish", "--all", "--org", "a/b"), "a repository must be org/name"),
        (("publish", NAMES[0], "--repo", "x"), "a repository must be org/name; got 'x'"),
        (
            ("publish", NAMES[0], "--repo", "o/x", "--benchmark", "CamVid=o/c:t"),
            "one set of weights takes one --benchmark",
        ),
        (
            ("publish", NAMES[0], "--repo", "o/x", "--benchmark", "o/c:t", "--benchmark", "o/d:t"),
            "takes one --benchmark",
        ),
    ],
)
def test_wrong_options_are_reported_before_the_work(manifest, no_work, monkeypatch, capsys, arguments, message):
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
