"""The page in a real browser, headless."""

import json
import os
import shutil
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from helpers.pages import captions, downloads, free_port, loaded, rows
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import gatezoo
from gatezoo.app import models, serve
from gatezoo.app.image_file import sample_file
from gatezoo.inference.gate_maps import compute_gate_maps

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="no browser: install chromium and chromium-driver"),
]
GFF, DIGNET = "gff_pspnet_lite0_nodfp.nuclei", "dignet_lite0_8s.camvid"
ZIGZAG = "zigzag_lite0.camvid"  # of the same classes as DIGNET


@pytest.fixture(scope="module")
def page():
    """The page, with a network "slow" that needs minutes."""
    real = models._load

    def load(name, device):
        if name != "slow":
            return real(name, device)
        slow = loaded(gatezoo.create_model("test_dignet"), "slow")
        for module in slow.predictor.model.modules():
            module.register_forward_hook(lambda *_: time.sleep(1))
        models.jobs.watch(slow.predictor.model)
        return slow

    models._load = load
    page = serve([GFF, "slow"], port=free_port(), block=False)
    yield page
    page.close()
    models._load = real


class Visitor:
    """A browser of its own."""

    def __init__(self, url, downloads_to):
        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER
        for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1280,1600"):
            options.add_argument(f"--{argument}")
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads_to)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver, self.url = webdriver.Chrome(options, webdriver.ChromeService(DRIVER)), url

    def open(self, width=None, dark=False):
        if width:
            metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": True}
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(self.url)
        self.find("#segment")
        return self

    def find(self, selector, seconds=120):
        """Wait for an element, and return it."""
        found = WebDriverWait(self.driver, seconds).until(lambda d: d.find_elements(By.CSS_SELECTOR, selector))
        return found[0]

    def press(self, selector):
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def tab(self, name):
        self.driver.find_element(By.XPATH, f"//button[@role='tab'][normalize-space()='{name}']").click()

    def html(self, selector):
        """Content of an element, once a result is in it."""
        self.find(f"{selector} figure, {selector} table")
        return self.driver.execute_script("return document.querySelector(arguments[0]).innerHTML", selector)

    def changed(self, selector, before):
        """Content of an element, once it has other captions or cells; its progress bar is within it, too."""

        def differs(_):
            now = self.html(selector)
            return (captions(now), rows(now)) != (captions(before), rows(before))

        WebDriverWait(self.driver, 120).until(differs)
        return self.html(selector)

    def upload(self, path):
        self.find("#upload input[type=file]").send_keys(str(path))

    def choose(self, selector, name):
        """Type the name of a model into a list, until it has taken it: its options follow the keys with some delay."""
        field = self.find(f"{selector} input")

        def taken(_):
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(name)
            time.sleep(0.5)
            field.send_keys(Keys.ENTER, Keys.TAB)
            time.sleep(0.5)
            return field.get_attribute("value") == name

        WebDriverWait(self.driver, 60).until(taken)

    def errors(self):
        """Errors that the browser's console shows."""
        return [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def hosts(self):
        """Hosts that were asked for something."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).netloc for url in urls if url.startswith(("http", "ws"))}

    def sideways(self):
        """Pixels by which the page is wider than the screen."""
        return self.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")


@pytest.fixture
def visit(page, tmp_path):
    """Open the page in a new browser; at the end its console must show no error, and no other host was asked."""
    visitors = []

    def visit(**how):
        visitors.append(Visitor(page.local_url, tmp_path / "saved"))
        return visitors[-1].open(**how)

    yield visit
    for visitor in visitors:
        errors, hosts = visitor.errors(), visitor.hosts()
        visitor.driver.quit()
        assert errors == []
        assert hosts <= {urlsplit(page.local_url).netloc}


@pytest.fixture
def street(tmp_path):
    path = tmp_path / "my street.png"
    path.write_bytes(sample_file("street").content)
    return path


def kept_files():
    """Files of the page that hold something; Gradio leaves an empty one beside each upload."""
    files = [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()]
    return [path for path in files if path.stat().st_size]


def test_uploaded_image_is_predicted_as_by_predict_and_not_kept(visit, street, tmp_path):
    visitor = visit()
    visitor.upload(street)
    WebDriverWait(visitor.driver, 60).until(lambda _: "my street.png" in visitor.html("#preview"))
    visitor.press("#segment")
    text = visitor.html("#segment-view")
    model = gatezoo.create_model(GFF, pretrained=True).eval()
    expected = gatezoo.predict(model, street)
    files = downloads(text)
    assert np.array_equal(files["my street.png"], expected)
    assert 0 < (expected == 0).mean() < 1
    assert files["my street.json"]["shares"]["background"] == pytest.approx((expected == 0).mean(), abs=1e-6)
    assert captions(text)[0] == f"my street.png, {GFF}"
    assert kept_files() == []
    visitor.press("#segment-view a[download='my street.json']")
    saved = tmp_path / "saved/my street.json"
    WebDriverWait(visitor.driver, 20).until(lambda _: saved.exists())
    assert json.loads(saved.read_text()) == files["my street.json"]


def test_opacity_is_set_without_another_prediction(visit):
    visitor = visit()
    visitor.press("#segment")
    before = visitor.html("#segment-view")
    slider = visitor.find("#opacity input[type=range]")
    slider.send_keys(*[Keys.ARROW_RIGHT] * 4)
    opacity = "return getComputedStyle(document.querySelector('#segment-view .over')).opacity"
    WebDriverWait(visitor.driver, 20).until(lambda d: d.execute_script(opacity) == "0.75")
    assert visitor.html("#segment-view") == before


def test_gates_are_closed_and_pixels_are_read(visit, street):
    visitor = visit()
    visitor.tab("Passes and gates")
    visitor.press("#passes")
    text = visitor.html("#passes-view")
    model = gatezoo.create_model(GFF, pretrained=True).eval()
    maps = compute_gate_maps(model, street, "G3")
    gates = [caption for caption in captions(text) if caption.startswith("G")]
    assert [caption.split(":")[0] for caption in gates] == list(maps.gates)
    assert gates[0].startswith(f"G1: mean {maps.gates['G1'].mean():.3f}, from {maps.gates['G1'].min():.3f}")
    visitor.press("#passes-closed label:nth-of-type(3) input")
    changed = (maps.classes != maps.ablated_classes).mean()
    assert captions(visitor.html("#closed-view"))[1] == f"changed by closing G3: {changed:.2%} of the pixels"
    visitor.press("#passes-view .over")  # its middle
    header, first, closed = rows(visitor.html("#pixel-view"))
    x, y = (int(part.strip(",xy ")) for part in header[0].split(","))
    assert abs(x - 240) <= 1
    assert abs(y - 180) <= 1
    assert first[1] == model.class_names[maps.classes[y, x]]
    assert first[4:] == [f"{gate[y, x]:.3f}" for gate in maps.gates.values()]
    assert closed[:2] == ["G3 closed", model.class_names[maps.ablated_classes[y, x]]]
    before = visitor.html("#pixel-view")
    for axis, value in (("x", 100), ("y", 50)):
        field = visitor.find(f"#pixel-{axis} input")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(str(value), Keys.TAB)
    visitor.press("#pixel-read")
    assert rows(visitor.changed("#pixel-view", before))[0][0] == "x 100, y 50"


def test_passes_are_chosen_with_the_slider(visit, street):
    visitor = visit()
    visitor.choose("#model", DIGNET)
    visitor.tab("Passes and gates")
    visitor.press("#passes")
    before = visitor.html("#passes-view")
    assert captions(before)[0].startswith("pass 2 of 2")
    visitor.find("#passes-number input[type=range]").send_keys(Keys.ARROW_RIGHT)
    text = visitor.changed("#passes-view", before)
    assert captions(text)[0].startswith("pass 3 of 3")
    model = gatezoo.create_model(DIGNET, pretrained=True).eval()
    two, three = (gatezoo.predict(model, street, iterations=count) for count in (2, 3))
    assert captions(text)[1] == f"changed by pass 3: {(two != three).mean():.2%} of the pixels"
    assert captions(text)[2].startswith("instability: mean ")


def test_two_models_are_compared(visit, street):
    visitor = visit()
    visitor.choose("#model", ZIGZAG)
    visitor.tab("Compare")
    visitor.choose("#other-model", DIGNET)
    visitor.press("#compare")
    text = visitor.html("#compare-view")
    one, two = (
        gatezoo.predict(gatezoo.create_model(name, pretrained=True).eval(), street) for name in (ZIGZAG, DIGNET)
    )
    assert captions(text) == [ZIGZAG, DIGNET, f"different classes: {(one != two).mean():.2%} of the pixels"]
    assert [row[0] for row in rows(text)] == ["model", ZIGZAG, DIGNET]


def test_bad_files_and_names_are_refused_in_words_and_the_page_goes_on(visit, street, tmp_path):
    visitor = visit()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    visitor.upload(bad)
    assert "bad.png is not: convert it" in visitor.find(".toast-body").text
    visitor.find(".toast-close").click()
    visitor.choose("#model", "no_such_model")
    visitor.press("#segment")
    WebDriverWait(visitor.driver, 60).until(lambda d: "no_such_model" in visitor.find(".toast-body").text)
    assert "Traceback" not in visitor.driver.page_source
    visitor.choose("#model", GFF)
    visitor.upload(street)
    WebDriverWait(visitor.driver, 60).until(lambda _: "my street.png" in visitor.html("#preview"))
    visitor.press("#segment")
    assert captions(visitor.html("#segment-view"))[0] == f"my street.png, {GFF}"
    assert kept_files() == []


def test_everything_can_be_done_with_the_keyboard(visit):
    visitor = visit()

    def go_to(selector):
        for _ in range(60):
            ActionChains(visitor.driver).send_keys(Keys.TAB).perform()
            if visitor.driver.switch_to.active_element == visitor.find(selector):
                return visitor.driver.switch_to.active_element
        raise AssertionError(f"the Tab key does not lead to {selector}")

    go_to("#upload button")
    go_to("#sample label:nth-of-type(2) input").send_keys(Keys.SPACE)
    WebDriverWait(visitor.driver, 60).until(lambda _: "cells.png" in visitor.html("#preview"))
    go_to("#model input")
    go_to("#segment").send_keys(Keys.ENTER)
    assert captions(visitor.html("#segment-view"))[0] == f"cells.png, {GFF}"
    go_to("#segment-view a[download='cells.json']")
    go_to("button[role=tab]:nth-of-type(2)").send_keys(Keys.ENTER)
    go_to("#passes").send_keys(Keys.ENTER)
    visitor.html("#passes-view")
    go_to("#passes-closed input").send_keys(Keys.SPACE)
    visitor.html("#closed-view")
    go_to("#pixel-x input").send_keys(Keys.CONTROL, "a")
    ActionChains(visitor.driver).send_keys("7").perform()
    go_to("#pixel-read").send_keys(Keys.ENTER)
    assert rows(visitor.html("#pixel-view"))[0][0] == "x 7, y 0"
    go_to("button[role=tab]:nth-of-type(3)").send_keys(Keys.ENTER)
    go_to("#other-model input")
    go_to("#compare")
    go_to("#compare-cancel")


def test_phone_in_the_dark_needs_no_sideways_scrolling(visit):
    visitor = visit(width=390, dark=True)
    assert visitor.sideways() == 0
    visitor.press("#segment")
    visitor.html("#segment-view")
    assert visitor.sideways() == 0
    visitor.tab("Passes and gates")
    visitor.press("#passes")
    visitor.html("#passes-view")
    visitor.press("#pixel-read")
    visitor.html("#pixel-view")
    assert visitor.sideways() == 0
    visitor.tab("Compare")
    assert visitor.find("#compare").is_displayed()
    assert visitor.sideways() == 0
    color = visitor.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in color.strip("rgba()").split(",")[:3]) < 60


def test_second_visitor_is_served_meanwhile_and_sees_nothing_of_the_first(visit, street):
    first, second = visit(), visit()
    first.upload(street)
    WebDriverWait(first.driver, 60).until(lambda _: "my street.png" in first.html("#preview"))
    first.choose("#model", "slow")
    first.press("#segment")
    second.press("#segment")
    assert captions(second.html("#segment-view"))[0] == f"street.png, {GFF}"
    assert "my street" not in second.driver.page_source
    assert first.driver.find_elements(By.CSS_SELECTOR, "#segment-view figure") == []
    first.press("#segment-cancel")
    first.choose("#model", GFF)
    first.press("#segment")
    assert captions(first.html("#segment-view"))[0] == f"my street.png, {GFF}"
