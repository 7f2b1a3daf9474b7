"""Networks by name: loaded once, bounded in number, and no others where the page offers only some."""

import threading

import pytest
from helpers.pages import loaded

import gatezoo
from gatezoo.app import models
from gatezoo.app.models import ModelStore, offered
from gatezoo.app.serve import _is_local, serve


@pytest.fixture
def loads(monkeypatch):
    """The names that were loaded, each of them an untrained network."""
    names = []

    def load(name, device):
        names.append(name)
        if name == "bad":
            raise ValueError("bad has no weights")
        return loaded(gatezoo.create_model("test_fcn"), name)

    monkeypatch.setattr(models, "_load", load)
    return names


def test_networks_used_last_are_kept(loads):
    store = ModelStore(capacity=2)
    first = store.get(" a ")
    assert store.get("a") is first
    store.get("b")
    store.get("a")
    store.get("c")
    assert loads == ["a", "b", "c"]
    assert ("a" in store, "b" in store, "c" in store) == (True, False, True)


def test_failure_is_raised_and_loading_is_tried_again(loads):
    store = ModelStore()
    for _ in range(2):
        with pytest.raises(ValueError, match="bad has no weights"):
            store.get("bad")
    assert loads == ["bad", "bad"]


def test_visitors_who_ask_at_once_wait_for_one_load(monkeypatch):
    started, go, names = threading.Event(), threading.Event(), []

    def load(name, device):
        names.append(name)
        started.set()
        go.wait(10)
        return name

    monkeypatch.setattr(models, "_load", load)
    store, found = ModelStore(), []
    threads = [threading.Thread(target=lambda: found.append(store.get("a"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    go.set()
    for thread in threads:
        thread.join()
    assert (names, found) == (["a"], ["a"] * 3)


def test_only_offered_networks_are_loaded_where_others_can_open_the_page(loads):
    store = ModelStore(["a"], only=True)
    store.get("a")
    for name in ("local-dir:/etc", "hf-hub:org/x"):
        with pytest.raises(ValueError, match="a model must be one of a; got"):
            store.get(name)
    for name in ("", None, "  "):
        with pytest.raises(ValueError, match="a model must be chosen; got none"):
            store.get(name)
    assert loads == ["a"]


def test_published_weights_follow_the_given_names():
    names = offered(["mine", "gff_pspnet_lite0_nodfp.nuclei"])
    assert names[:2] == ["mine", "gff_pspnet_lite0_nodfp.nuclei"]
    assert sorted(names[1:]) == sorted(gatezoo.list_pretrained())


def test_names_are_those_of_load_model(tmp_path, shapes):
    folder = gatezoo.save_pretrained(gatezoo.create_model("test_maskrcnn_fpn", num_classes=3), tmp_path / "model")
    store = ModelStore()
    assert store.get(str(folder)).predictor.model.num_classes == 3
    assert store.get("gff_pspnet_lite0_nodfp").predictor.model.num_classes == 3
    with pytest.raises(ValueError, match="test_fcn has no published weights yet"):
        store.get("test_fcn")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "192.168.0.2", "example.org"])
def test_hosts_that_only_this_machine_reaches(host, monkeypatch):
    local = host in ("127.0.0.1", "::1", "localhost")
    assert _is_local(host) is local
    monkeypatch.setenv("GRADIO_SERVER_NAME", host)
    assert _is_local(None) is local


def test_wrong_arguments_of_serve_are_refused():
    with pytest.raises(ValueError, match=r"port must be in 1 \.\. 65535; got 0"):
        serve(port=0)
    with pytest.raises(ValueError, match="names must be given if only they are offered"):
        serve(only=True)
