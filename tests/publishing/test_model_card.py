"""Cards: the Hub's own classes read the header, Markdown's parser the text, and a network comes from the code in it."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
import yaml
from helpers.manifest import use_manifest
from huggingface_hub import ModelCard, parse_eval_result_entries
from markdown_it import MarkdownIt
from PIL import Image

from gatezoo import pretrained
from gatezoo.metrics.names import METRICS
from gatezoo.publishing.benchmarks import Benchmark, eval_results_file, parse_benchmark
from gatezoo.publishing.card_figure import card_image
from gatezoo.publishing.card_header import license_lines
from gatezoo.publishing.model_card import render_model_card
from gatezoo.publishing.publish import build_release

HEADER = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)
HOSTILE = [
    "a|b",
    "*bold* _em_",
    "`code`",
    "[link](http://x)",
    "![image](http://x)",
    "<script>alert(1)</script>",
    "&lt;",
    "$$x$$",
    "\\|",
    "~~gone~~",
    "# 1. - a",
    "a\n---\n\n# b",
    "yes: {no}",
    "dis_c 'quoted' \"twice\"",
]


def config_of(cfg, **unchecked):
    """Content of config.json, with fields that no file that was read could have."""
    return {"architecture": cfg.architecture, "pretrained_cfg": {**cfg.to_config(), **unchecked}}


def make_cfg(**facts):
    """Weights with everything that a card shows."""
    facts = {
        "class_names": ("ground", "disc"),
        "license": "CC-BY-NC-4.0",
        "data_license": "CC BY-NC 4.0, research use",
        "train_data": "Discs, 24 images",
        "command": "gatezoo train test_fcn --data-dir DISCS",
        "metrics": {"miou": 0.6123, "iou": [0.95, 0.2747], "protocol": "discs val; mode whole, images 24"},
        "versions": {"torch": "2.9"},
        "size": 10,
        "sha256": "0" * 64,
        **facts,
    }
    return pretrained.PretrainedCfg("test_fcn", "discs", 2, (0.5,) * 3, (0.2,) * 3, **facts)


def card_of(cfg, **unchecked):
    """Text, parsed header, and tokens of the Markdown below it."""
    text = render_model_card(config_of(cfg, **unchecked), cfg.name, "hf-hub:org/discs")
    header = HEADER.match(text)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text[header.end() :])
    return text, yaml.safe_load(header[1]), tokens


def cells(tokens):
    """First and second cell of all rows of all tables, as they are shown."""
    row, rows = [], {}
    for before, token in itertools.pairwise(tokens):
        if before.type in ("td_open", "th_open"):
            assert {child.type for child in token.children} <= {"text", "text_special"}
            row.append("".join(child.content for child in token.children))
        if token.type == "tr_close":
            rows[row[0]] = row[1]
            row = []
    return rows


def test_header_is_read_by_the_hubs_own_classes():
    text, header, _ = card_of(make_cfg())
    data = ModelCard(text).data
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_name, result.metric_value) == ("mean_iou", "mIoU", 0.6123)
    assert (result.dataset_name, result.dataset_type, result.task_type) == ("Discs", "discs", "image-segmentation")
    assert result.dataset_args == {"protocol": "discs val; mode whole, images 24"}
    assert (data.license, data.pipeline_tag, data.library_name) == ("cc-by-nc-4.0", "image-segmentation", "gatezoo")
    assert (data.datasets, data.metrics, data.model_name) == (["discs"], ["mean_iou"], "test_fcn.discs")
    assert "base_model" not in header
    for part in (
        'create_model("hf-hub:org/discs", pretrained=True)',
        'torch.hub.load("OWNER/gatezoo", "create_model", "hf-hub:org/discs", pretrained=True',
        "Classes with a low IoU: disc (27 %)",
        "```\ngatezoo train test_fcn --data-dir DISCS\n```",
        "## Intended use and limits",
        "Protocol: discs val; mode whole, images 24.",
        "Weights: CC-BY-NC-4.0.",
        "Training data: Discs, 24 images.",
        "Training data: CC BY-NC 4.0, research use.",
        "Made with torch 2.9.",
    ):
        assert part in text


def test_card_without_metrics():
    text, header, _ = card_of(make_cfg(metrics={}))
    assert "Not measured." in text
    assert not {"model-index", "metrics", "model_name"} & set(header)


def test_metrics_have_their_titles_and_units():
    """Depth errors are in meters and counts are whole numbers; only shares are percentages, in the header fractions."""
    text, header, tokens = card_of(pretrained.manifest()["depthgate_mobilenetv2.nyuv2"])
    table = cells(tokens)
    assert table["mIoU"] == "30.8 %"
    assert table["mIoU after pass 2"] == "31.3 %"
    assert table["depth within 1.25"] == "60.7 %"
    assert table["depth RMSE"] == "0.865 m"
    assert table["depth abs rel"] == "0.250"
    assert table["depth RMSE of the logarithm"] == "0.294"
    assert table["pixels with known depth"] == "7680000"
    assert table["wall"] == "61.7 %"
    assert not set(table) & (set(METRICS) - {METRICS[key].title for key in METRICS})
    of_task = {result["task"]["type"]: result["metrics"] for result in header["model-index"][0]["results"]}
    listed = {task: {one["name"]: one["value"] for one in metrics} for task, metrics in of_task.items()}
    assert listed["image-segmentation"] == {"mIoU": 0.3076, "pixel accuracy": 0.6096, "mean accuracy": 0.4757}
    assert listed["depth-estimation"] == {
        "depth within 1.25": 0.6065,
        "depth within 1.25^2": 0.875,
        "depth within 1.25^3": 0.9647,
        "depth abs rel": 0.2496,
        "depth RMSE (m)": 0.8653,
        "depth RMSE of the logarithm": 0.2944,
    }
    assert len(ModelCard(text).data.eval_results) == 9


def test_scores_that_are_no_numbers_are_not_in_the_header():
    _, header, tokens = card_of(make_cfg(), metrics={"miou": float("nan"), "pixel_accuracy": 0.5, "iou": [None, 1.0]})
    (result,) = header["model-index"][0]["results"]
    assert [metric["type"] for metric in result["metrics"]] == ["accuracy"]
    assert cells(tokens) | {"ground": "absent", "disc": "100.0 %", "mIoU": "absent"} == cells(tokens)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_is_markup(text):
    plain = [(token.type, token.tag) for token in card_of(make_cfg(class_names=("x", "y")))[2]]
    facts = {"train_data": text, "data_license": text, "base_model": text, "versions": {text: text}}
    metrics = make_cfg().metrics | {"protocol": text}
    _, header, tokens = card_of(make_cfg(), class_names=(text, "y"), command=text, metrics=metrics, **facts)
    base = [("paragraph_open", "p"), ("inline", ""), ("paragraph_close", "p")]
    at = next(number for number, token in enumerate(tokens) if token.content.startswith("Base model: "))
    assert plain == [(token.type, token.tag) for token in tokens[: at - 1] + tokens[at + 2 :]]
    assert [(token.type, token.tag) for token in tokens[at - 1 : at + 2]] == base
    shown = " ".join(text.splitlines())
    assert cells(tokens)[shown] == "95.0 %"
    assert [token.content for token in tokens if token.type == "fence"][-1] == f"{text}\n"
    inline = [child.type for token in tokens for child in token.children or ()]
    assert set(inline) <= {"text", "text_special", "softbreak", "code_inline"}
    assert inline.count("code_inline") == 3  # file, sha256, torch.hub
    assert header["model-index"][0]["results"][0]["dataset"]["args"]["protocol"] == " ".join(text.split())
    assert header.keys() <= card_of(make_cfg())[1].keys()


@pytest.mark.parametrize("command", ["a\n```\n# b", "a\n`````\n# b", "``` a"])
def test_fence_of_a_command_is_longer_than_its_backticks(command):
    _, _, tokens = card_of(make_cfg(), command=command)
    assert [token.content for token in tokens if token.type == "fence"][-1] == f"{command}\n"


def test_config_cannot_inject_into_the_header():
    cfg = {"num_classes": 1, "size": 1, "sha256": "0", "license": 'mit"\ntags: [x]', "train_data": "a: [b]\n---\nx"}
    config = {"architecture": "test_fcn", "pretrained_cfg": cfg | {"class_names": ["a\n---\nb", "<script>"]}}
    text = render_model_card(config, "n", "s")
    header = yaml.safe_load(HEADER.match(text)[1])
    assert set(header) == {"library_name", "pipeline_tag", "tags", "license", "license_name", "datasets"}
    assert header["license"] == "other"
    assert header["tags"][0] == "gatezoo"
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("license", "fields"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC BY-NC 4.0", {"license": "cc-by-nc-4.0"}),
        ("Research only", {"license": "other", "license_name": "research-only"}),
        (
            "My license (2026), https://x.org/a?b=1",
            {"license": "other", "license_name": "my-license-2026", "license_link": "https://x.org/a?b=1"},
        ),
        ("https://x.org", {"license": "other", "license_name": "unnamed", "license_link": "https://x.org"}),
    ],
)
def test_license_is_one_of_the_hubs_or_has_a_name_and_a_link(license, fields):
    assert license_lines(license) == fields
    assert {key: card_of(make_cfg(license=license))[1].get(key) for key in fields} == fields


def test_base_model_is_a_repository_of_the_hub(monkeypatch):
    known = make_cfg(sources=("bundled:x.safetensors", f"hf-hub:org/fcn.discs@{'a' * 40}/model.safetensors"))
    bundled = dataclasses.replace(known, tag="here", sources=("bundled:x.safetensors",))
    use_manifest(monkeypatch, known, bundled)
    local = dataclasses.replace(known, tag="local", sources=(f"hf-hub:me/mine@{'b' * 40}/model.safetensors",))
    for base, repo in ((known, "org/fcn.discs"), (local, "me/mine"), (bundled, None)):
        text, header, _ = card_of(make_cfg(base_model=base.describe_as_base()))
        assert header.get("base_model") == repo
        assert header.get("base_model_relation") == (repo and "finetune")
        assert ModelCard(text).data.base_model == repo
        assert "Base model: " in text


def test_results_for_a_leaderboard_are_read_by_the_hubs_parser():
    benchmark = parse_benchmark("Discs=org/disc-benchmark:val_1")
    assert benchmark == Benchmark("org/disc-benchmark", "val_1", "Discs")
    path, text = eval_results_file(make_cfg().to_dict(), benchmark)
    assert path == ".eval_results/org-disc-benchmark-val_1.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/disc-benchmark", "val_1", 0.6123)
    assert entry.notes == "mIoU (in 0 .. 1); discs val; mode whole, images 24"
    for metrics in ({}, {"miou": float("nan")}):
        with pytest.raises(ValueError, match="must be measured; these are not: pass --scores"):
            eval_results_file({"metrics": metrics}, benchmark)


@pytest.mark.parametrize("text", ["", "camvid", "org/camvid", "org/camvid:", "org/a/b:c", "a=b=org/c:d", "org/c:d\nx"])
def test_benchmark_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match=r"a benchmark must be \[DATA=\]ORG/DATASET:TASK; got"):
        parse_benchmark(text)


@pytest.fixture
def street(tmp_path):
    """A drawn street: sky, road and a car."""
    pixels = np.full((96, 120, 3), (120, 170, 230), np.uint8)
    pixels[50:] = (90, 90, 90)
    pixels[55:75, 40:80] = (200, 30, 30)
    path = tmp_path / "street.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    "name",
    ["dignet_lite0_8s.camvid", "zigzag_lite0.camvid", "zigzag_maskrcnn_mobilenetv2.nuclei"],
)
def test_card_shows_a_prediction_and_its_code_runs(hub, street, tmp_path, monkeypatch, name):
    release = build_release(name, tmp_path / "out", "org/net", image=street)
    card = (release.folder / "README.md").read_text()
    (figure,) = re.findall(r"!\[[^]]+\]\((.*?)\)", card)
    assert figure in release.files()
    with Image.open(release.folder / figure) as shown:
        assert shown.format == "PNG"
        # Image and classes alone are narrower than with gates, and than the enlarged instances.
        assert (shown.width > 900) == (not name.startswith("zigzag_lite0"))
        assert len(shown.convert("RGB").getcolors(1 << 20)) > 5
    assert (release.folder / figure).stat().st_size < 1_000_000
    # The code of the card, as soon as it is on the Hub.
    hub.put("org/net", {path: (release.folder / path).read_bytes() for path in release.files()})
    Image.open(street).convert("RGB").save(tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], scope)
    if "classes" in scope:
        assert scope["classes"].shape == (96, 120)
        assert scope["logits"].shape == (1, 11, 96, 120)
        assert (scope["logits"][0].argmax(0).numpy() == scope["classes"]).all()
    else:
        assert set(scope["instances"]) >= {"boxes", "labels", "names", "scores", "masks"}


def test_picture_is_not_drawn_from_what_is_no_image(tmp_path):
    path = tmp_path / "no.png"
    path.write_text("no")
    with pytest.raises(ValueError, match=r"no\.png"):
        build_release("dignet_lite0_8s.camvid", tmp_path / "out", "org/net", image=path)
    assert not (tmp_path / "out").exists()
    assert "![" not in card_of(make_cfg())[0]


def test_images_of_a_folder_are_named_after_the_weights(street):
    assert card_image(None, "a.b") is None
    assert card_image(street, "a.b") == street
    (named := street.with_name("a.b.jpg")).touch()
    assert card_image(street.parent, "a.b") == named
    assert card_image(street.parent, "a.c") is None
