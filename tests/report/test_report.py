"""The report as a reader has it: opened from disk in a browser, moved, filtered, and read by keyboard."""

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import lens_image
from PIL import Image
from scipy import stats
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from sklearn import metrics as sk

from deeplense.report import write_report
from deeplense.report.evidence import read_evidence
from deeplense.report.gallery import make_gallery
from deeplense.report.intervals import score_intervals, wilson
from deeplense.scores.metrics import score

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="there is no chromium with its chromedriver")

TWO, THREE = ("no_sub", "sub"), ("no_sub", "axion", "cdm")


def guesses(classes, count, seed=0, sharpness=1.5):
    """Labels (count,) and probabilities (count, K) of a classifier that is often wrong."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % len(classes))
    logits = np.eye(len(classes))[labels] * sharpness * 2 + random.normal(0, sharpness, (count, len(classes)))
    odds = np.exp(logits)
    return labels, odds / odds.sum(1, keepdims=True)


def write(
    folder,
    classes,
    labels,
    probabilities,
    threshold=0.5,
    labelled=True,
    paths=None,
    images=None,
    familiarity=None,
    **more,
):
    """An evaluation and its run as the program leaves them, and the report of it."""
    if about := more.pop("about", None):
        more["familiarity"] = about
    evaluation = folder / "evaluation" / "test"
    evaluation.mkdir(parents=True)
    (folder / "best").mkdir()
    own = threshold if len(classes) == 2 else None
    (folder / "best" / "model.json").write_text(json.dumps({"classes": classes, "threshold": own, "image_size": 64}))
    predicted = probabilities[:, 1] >= threshold if len(classes) == 2 else probabilities.argmax(1)
    with (evaluation / "predictions.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        known = [] if familiarity is None else ["familiarity"]
        writer.writerow(["path", "label", "predicted", *(f"p_{name}" for name in classes), *known])
        for row, chances in enumerate(probabilities):
            label = classes[labels[row]] if labelled else ""
            path = paths[row] if paths else f"lenses/{row:05d}.png"
            known = [] if familiarity is None else [familiarity[row]]
            writer.writerow(
                [path, label, classes[int(predicted[row])], *(f"{chance:.9g}" for chance in chances), *known]
            )
    if labelled:
        scores = score(labels, probabilities, classes, threshold)
        (evaluation / "metrics.json").write_text(json.dumps({**scores, "data": "lenses", **more}))
    elif more:
        (evaluation / "metrics.json").write_text(json.dumps({"n": len(labels), **more}))
    random = np.random.default_rng(1)
    if images is None:
        some = np.stack([lens_image(random, substructure=index % 2 > 0) for index in range(20)])
        images = some[np.arange(len(labels)) % 20]
    write_report(evaluation, folder, images, "a run, test part")
    return evaluation / "report.html"


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """300 images of two classes; threshold 0.4."""
    folder = tmp_path_factory.mktemp("two")
    labels, probabilities = guesses(TWO, 300)
    return write(folder / "run", TWO, labels, probabilities, 0.4), labels, np.round(probabilities, 9)


class Elements(HTMLParser):
    """The elements of a page, each with its attributes, and the texts of scripts and styles."""

    def __init__(self, file):
        super().__init__()
        self.elements, self.texts, self.inside = [], {}, None
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self.inside = dict(attributes).get("id", name) if name in ("script", "style", "title", "h1") else None

    def handle_endtag(self, name):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


def embedded(file):
    return json.loads(Elements(file).texts["evidence"])


def rows_of(file):
    return list(csv.DictReader((file.parent / "predictions.csv").open(newline="")))


# Without a browser


def test_the_numbers_are_those_of_the_files(two):
    file = two[0]
    evidence, rows = embedded(file), rows_of(file)
    assert evidence["metrics"] == json.loads((file.parent / "metrics.json").read_text())
    assert evidence["threshold"] == 0.4
    assert evidence["probabilities"] == [[float(row["p_sub"]) for row in rows]]
    assert [TWO[label] for label in evidence["labels"]] == [row["label"] for row in rows]
    gallery = evidence["gallery"]
    assert sorted(gallery["rows"]) == list(range(300))
    assert gallery["paths"] == [rows[row]["path"] for row in gallery["rows"]]
    text = file.read_text()
    for name in ("roc_auc", "roc_auc_low", "average_precision", "brier", "ece", "log_loss"):
        assert f"{evidence['metrics'][name]:.5f}" in text


def test_a_finished_run_has_a_report_of_its_record_and_split(trained):
    file = trained / "evaluation" / "test" / "report.html"
    text = file.read_text()
    record = json.loads((trained / "record.json").read_text())
    assert embedded(file)["metrics"] == json.loads((file.parent / "metrics.json").read_text())
    assert record["data_sha256"] in text
    assert f"torch {record['sessions'][0]['versions']['torch']}" in text
    assert "<td>168</td><td>24</td><td>48</td><td>240</td>" in text  # all classes: training, validation, test
    assert Elements(file).texts["h1"] == "trained, test part"


def test_it_asks_for_nothing_from_outside(two):
    page = Elements(two[0])
    for name, attributes in page.elements:
        for where in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(where, "#").startswith(("#", "data:")), (name, attributes)
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", page.texts["style"] + page.texts["script"])
    policy = next(own["content"] for _, own in page.elements if "http-equiv" in own)
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(page.texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>')
HOSTILE_PATHS = ["</script><script>alert(2)</script>.png", "a'b\"c&amp;.png", "<!--<script>.png", "\u2028{{title}}.png"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Classes and files with names that would break a page."""
    labels, probabilities = guesses(HOSTILE, 12)
    paths = [*HOSTILE_PATHS, *map(str, range(8))]
    folder = tmp_path_factory.mktemp("hostile")
    further = {"split": "</script>", "calibration": {"<b>": {"<i>": 1.0}}, "data": "{{script}}<script>"}
    run = folder / "<b>run"
    file = write(run, HOSTILE, labels, probabilities, paths=paths, **further)
    (run / "config.json").write_text(json.dumps({"<b>": "<b>", "data": {"<b>": "<b>", "data": "<b>"}}))
    session = {
        "command": ["<b>"],
        "<b>": "<b>",
        "git": {"commit": "<b>", "diff_sha256": "<b>"},
        "versions": {"<b>": "<b>"},
    }
    (run / "record.json").write_text(json.dumps({"sessions": [session], "data_sha256": "<b>"}))
    (run / "split.csv").write_text("path,class,sha256,split\n<b>,<b>,<b>,train\n")
    write_report(file.parent, run, np.zeros((12, 32, 32), dtype=np.uint8), "<b>")
    return file


def test_names_cannot_break_the_page(hostile, two):
    page, plain = Elements(hostile), Elements(two[0])
    kinds = [name for name, _ in page.elements if name in ("script", "style", "img", "b", "i")]
    assert kinds.count("script") == 3  # the numbers, one sheet of images, the page's own
    assert kinds.count("img") == kinds.count("i") == 0
    assert kinds.count("b") == [name for name, _ in plain.elements].count("b")
    assert page.texts["h1"] == "<b>"
    assert page.texts["script"] == plain.texts["script"]
    evidence = json.loads(page.texts["evidence"])
    assert tuple(evidence["classes"]) == HOSTILE
    assert set(HOSTILE_PATHS) < set(evidence["gallery"]["paths"])


def test_the_sheets_hold_the_images(two):
    random = np.random.default_rng(5)
    plain = random.integers(0, 255, (300, 1, 1)) + np.zeros((1, 30, 42))
    for images in (plain, np.stack([plain, 255 - plain, plain // 2], axis=1)):
        gallery = make_gallery(read_evidence(two[0].parent, {}), images.astype(np.uint8))
        assert (gallery.width, gallery.height, gallery.cell_width, gallery.cell_height) == (42, 30, 48, 32)
        assert len(gallery.sheets) == 2
        for place in (0, 17, 255, 256, 299):
            with Image.open(io.BytesIO(base64.b64decode(gallery.sheets[place // 256]))) as image:
                sheet = np.asarray(image, dtype=float)
            line, column = divmod(place % 256, 16)
            shown = sheet[line * 32 : line * 32 + 30, column * 48 : column * 48 + 42]
            own = images[gallery.rows[place]]
            np.testing.assert_allclose(shown, own if own.ndim == 2 else np.moveaxis(own, 0, 2), atol=4)


def test_large_images_are_made_small(two):
    images = np.full((300, 300, 200), 99, dtype=np.uint8)
    gallery = make_gallery(read_evidence(two[0].parent, {}), images)
    assert (gallery.height, gallery.width) == (96, 64)


def test_too_many_images_leave_out_the_dull_ones(two):
    file, labels, probabilities = two
    evidence = read_evidence(file.parent, {})
    images = np.zeros((300, 32, 32), dtype=np.uint8)
    chance = probabilities[:, 1]
    odds = chance / (1 - chance) / (0.4 / 0.6)
    wanted = ((chance >= 0.4) != labels) | ((odds <= 10) & (odds >= 0.1))
    count = int(wanted.sum())
    assert 100 < count < 280
    gallery = make_gallery(evidence, images, most=280)
    assert len(gallery.rows) == len(set(gallery.rows.tolist())) == 280
    assert set(np.flatnonzero(wanted)) <= set(gallery.rows.tolist())
    assert f"280 of 300 images are here: all {count} that are wrong or uncertain" in gallery.note
    np.testing.assert_array_equal(make_gallery(evidence, images, most=280).rows, gallery.rows)
    assert set(make_gallery(evidence, images, most=280, seed=1).rows.tolist()) != set(gallery.rows.tolist())
    few = make_gallery(evidence, images, most=50)
    assert set(few.rows.tolist()) <= set(np.flatnonzero(wanted))
    assert f"a random sample (seed 0) of the {count} that are wrong or uncertain" in few.note
    assert make_gallery(evidence, images).note == ""


def test_the_size_for_2000_images(tmp_path):
    labels, probabilities = guesses(TWO, 2000)
    random = np.random.default_rng(0)
    images = np.stack([lens_image(random, True, 96) for _ in range(200)])[
        np.arange(2000) % 200
    ]  # noise of 8 grey levels
    assert write(tmp_path / "run", TWO, labels, probabilities, images=images).stat().st_size < 10e6


def test_intervals_of_shares():
    for hits, trials in ((0, 20), (20, 20), (3, 800), (797, 800), (5, 9)):
        low, high = stats.binomtest(hits, trials).proportion_ci(method="wilson")
        assert wilson(hits / trials, trials) == pytest.approx((low, high), abs=1e-12)


def test_intervals_of_scores():
    """Against SciPy and a bootstrap that draws the images of each class anew."""
    labels, probabilities = guesses(TWO, 1000)
    predicted = (probabilities[:, 1] >= 0.5).astype(int)
    found = score_intervals(labels, probabilities, predicted)
    losses = -np.log(probabilities[np.arange(1000), labels])
    low, high = stats.norm.interval(0.95, losses.mean(), stats.sem(losses))
    assert found["log_loss"] == pytest.approx((low, high), abs=1e-12)
    random = np.random.default_rng(0)
    draws = [
        np.concatenate([random.choice(np.flatnonzero(labels == label), 500) for label in (0, 1)]) for _ in range(400)
    ]
    recomputed = {
        "brier": lambda rows: ((probabilities[rows, 1] - labels[rows]) ** 2).mean(),
        "accuracy": lambda rows: (predicted[rows] == labels[rows]).mean(),
        "balanced_accuracy": lambda rows: sk.balanced_accuracy_score(labels[rows], predicted[rows]),
    }
    for name, of in recomputed.items():
        drawn = np.quantile([of(rows) for rows in draws], (0.025, 0.975))
        assert found[name] == pytest.approx(drawn, abs=0.15 * (drawn[1] - drawn[0])), name
    # The other two hold more than their sampling: no narrower than the bootstrap by much, and around the score.
    for name in ("average_precision", "tpr_at_fpr_0.01", "tpr_at_fpr_0.1"):
        value = score(labels, probabilities, TWO)[name]
        assert found[name][0] < value < found[name][1], name


@pytest.mark.parametrize("classes", [TWO, THREE])
def test_a_class_that_is_missing_leaves_no_interval_for_what_needs_all(classes):
    labels, probabilities = guesses(classes, 60)
    only = np.zeros_like(labels)
    assert set(score_intervals(only, probabilities, labels)) == {"accuracy", "log_loss", "brier"}
    assert "tpr_at_fpr_0.01" in score_intervals(labels, probabilities, labels)


def test_further_figures_and_numbers(tmp_path):
    labels, probabilities = guesses(TWO, 40)
    calibration = {
        "temperature": 1.25,
        "before": {"log_loss": 0.5, "ece": 0.125},
        "after": {"log_loss": 0.375, "ece": 0.0625},
    }
    symmetry = {"n": 40, "class_changes_share": 0.5, "class_changes_share_low": 0.25, "class_changes_share_high": 0.75}
    plain = write(tmp_path / "plain", TWO, labels, probabilities)
    assert "further-" not in plain.read_text()
    folder = tmp_path / "run"
    file = write(folder, TWO, labels, probabilities, calibration=calibration, symmetry=symmetry, threshold_from="luck")
    Image.new("RGB", (400, 200), "white").save(file.parent / "attributions.png")
    write_report(file.parent, folder, np.zeros((40, 32, 32), dtype=np.uint8))
    page, text = Elements(file), file.read_text()
    assert '<th scope="row">Log loss</th><td>0.5</td><td>0.375</td>' in text
    assert '<th scope="row">Temperature</th><td>1.25</td>' in text
    assert "0.5 <small>95\u202f%: 0.25 to 0.75</small>" in text
    (image,) = (own for name, own in page.elements if name == "img")
    assert image["alt"]
    with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as opened:
        assert opened.size == (400, 200)
    headings = re.findall(r'<h2 id="further-\d+-title">([^<]*)</h2>', text)
    assert headings == ["Temperature", "Symmetry", "Where it looks"]


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    ):  # fmt: skip
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.get("about:blank")  # away from the browser's own first page
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser):
    """Opens a report; whatever the test did with it, nothing was asked of the network and nothing went wrong."""

    def open_report(file, width=1280, scheme="light"):
        device = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        browser.get(file.as_uri())
        return Page(browser)

    browser.get_log("browser")
    browser.get_log("performance")
    yield open_report
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert any(url.startswith("file://") for url in asked)
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []


class Page:
    def __init__(self, browser):
        self.browser = browser

    def __call__(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def script(self, source, *arguments):
        return self.browser.execute_script(source, *arguments)

    def settle(self):
        """Until what was changed is drawn."""
        self.browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def keys(self, selector, *keys):
        self(selector).send_keys(*keys)
        self.settle()

    def choose(self, name, value):
        self.script(
            "const e = document.querySelector('#controls').elements[arguments[0]];"
            "e.value = arguments[1]; e.dispatchEvent(new Event('input', { bubbles: true }));",
            name, value,
        )  # fmt: skip

    def threshold(self, value):
        self.keys("#exact", Keys.CONTROL, "a", Keys.NULL, str(value), Keys.TAB)

    def confusion(self):
        shown = self.script("return [...document.querySelectorAll('#confusion td b')].map((cell) => cell.innerText)")
        side = round(len(shown) ** 0.5)
        return np.array([int(number.replace(",", "")) for number in shown]).reshape(side, side)

    def rows(self):
        return self.script("return [...document.querySelectorAll('.tile')].map((tile) => Number(tile.dataset.row))")

    def counts(self):
        names = ("all", "wrong", "uncertain", "right")
        return {name: int(self(f"[value={name}] + span b").text.replace(",", "")) for name in names}


def counted(labels, chance, threshold):
    """The confusion matrix by hand."""
    positive = chance >= threshold
    return np.array([[np.sum((labels == label) & (positive == taken)) for taken in (False, True)] for label in (0, 1)])


@needs_browser
def test_the_threshold_moves_the_counts(opened, two):
    file, labels, probabilities = two
    chance = probabilities[:, 1]
    page = opened(file)
    np.testing.assert_array_equal(
        page.confusion(), json.loads((file.parent / "metrics.json").read_text())["confusion_matrix"]
    )
    on_an_image = float(rows_of(file)[7]["p_sub"])
    for threshold in (0.25, on_an_image, 0.999, 0, 1):
        page.threshold(threshold)
        expected = counted(labels, chance, threshold)
        np.testing.assert_array_equal(page.confusion(), expected)
        wrong = expected[0, 1] + expected[1, 0]
        assert page("#summary").text == f"{wrong} wrong: {expected[0, 1]} false alarms, {expected[1, 0]} missed"
        assert page.counts()["wrong"] == wrong
    page.threshold(1.5)  # refused
    assert float(page("#exact").get_attribute("value")) == 1
    page("#reset").click()
    page.settle()
    np.testing.assert_array_equal(page.confusion(), counted(labels, chance, 0.4))
    page.keys("#slider", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert float(page("#exact").get_attribute("value")) == pytest.approx(0.402)
    np.testing.assert_array_equal(page.confusion(), counted(labels, chance, 0.402))


@needs_browser
def test_a_threshold_on_an_image_in_full_digits_counts_it(opened, tmp_path):
    """`predictions.csv` has nine digits, thresholds have all: rounding must not tell an image from itself."""
    labels, probabilities = guesses(TWO, 60)
    own = next(float(chance) for chance in probabilities[:, 1] if float(f"{chance:.9g}") < chance)
    page = opened(write(tmp_path / "run", TWO, labels, probabilities, own))
    np.testing.assert_array_equal(page.confusion(), counted(labels, probabilities[:, 1], own))


@needs_browser
def test_the_histogram_moves_the_threshold(opened, two):
    page = opened(two[0])
    plot = page("#histogram .plot")
    ActionChains(page.browser).drag_and_drop_by_offset(plot, 60, 0).perform()
    page.settle()
    moved = float(page("#exact").get_attribute("value"))
    assert 0.55 < moved < 0.75  # from the middle by 60 pixels of about 460
    np.testing.assert_array_equal(page.confusion(), counted(two[1], two[2][:, 1], moved))
    assert re.match(r"0\.\d+ to 0\.\d+: \d+ no_sub, \d+ sub", page("#bin").text)


@needs_browser
def test_a_plot_takes_no_pointer_before_it_is_drawn(opened, two):
    page = opened(two[0])
    under = """
        const box = arguments[0].getBoundingClientRect();
        return document.elementFromPoint(box.x + box.width / 2, box.y + 60)?.closest(".plot") === arguments[0];
    """
    plot = page("#histogram .plot")
    page.script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    assert page.script(under, plot)
    page.script("arguments[0].replaceChildren()", plot)
    assert not page.script(under, plot)


READING = re.compile(r"threshold (\S+(?: above all)?) · TPR ([\d.]+)\u202f% .* FPR ([\d.]+)\u202f%")


def reading(text):
    threshold, hits, alarms = READING.search(text).groups()
    return threshold, float(hits) / 100, float(alarms) / 100


@needs_browser
@pytest.mark.parametrize("panel", ["roc", "roc-log", "precision"])
def test_curves_are_read_by_keyboard_and_pointer(opened, two, panel):
    file, labels, probabilities = two
    alarms, hits, thresholds = sk.roc_curve(labels, probabilities[:, 1], drop_intermediate=False)
    page = opened(file)
    plot = f"#{panel} .plot"
    page.keys(plot, Keys.HOME)
    assert "threshold above all · TPR 0.00" in page("#point").text
    seen = []
    for _ in range(6):
        page.keys(plot, Keys.ARROW_RIGHT)
        threshold, tpr, fpr = reading(page("#point").text)
        assert page(plot).get_attribute("aria-valuetext") == page("#point").text
        nearest = np.argmin(np.abs(thresholds - float(threshold)))
        assert (tpr, fpr) == pytest.approx((hits[nearest], alarms[nearest]), abs=1e-4)
        seen.append((fpr, tpr))
    assert seen == sorted(seen)
    page.keys(plot, Keys.ENTER)
    np.testing.assert_array_equal(page.confusion(), counted(labels, probabilities[:, 1], thresholds[nearest]))
    page.keys(plot, Keys.END)
    assert reading(page("#point").text)[1:] == (1, 1)
    page.keys(plot, Keys.ESCAPE)
    ActionChains(page.browser).move_to_element_with_offset(page(plot), 40, -30).perform()
    page.settle()
    threshold, tpr, fpr = reading(page("#point").text)
    nearest = np.argmin(np.abs(thresholds - float(threshold)))
    assert (tpr, fpr) == pytest.approx((hits[nearest], alarms[nearest]), abs=1e-4)
    assert page.all(f"#{panel} .mark circle")


@needs_browser
def test_the_gallery_filters_and_sorts(opened, two):
    file, labels, probabilities = two
    chance = probabilities[:, 1]
    page = opened(file)
    for threshold in (0.4, 0.8):
        page.threshold(threshold)
        wrong = (chance >= threshold) != labels
        odds = np.log(chance / (1 - chance)) - np.log(threshold / (1 - threshold))
        uncertain = np.abs(odds) <= np.log(10)
        expected = {"all": 300, "wrong": wrong.sum(), "uncertain": uncertain.sum(), "right": (~wrong).sum()}
        assert page.counts() == expected
        page("[value=wrong]").click()
        true_chance = np.where(labels == 1, chance, 1 - chance)
        worst = sorted(np.flatnonzero(wrong), key=lambda row: true_chance[row])
        assert page.rows() == worst[:48]
        page("[value=uncertain]").click()
        page.choose("sort", "uncertain")
        assert page.rows() == sorted(np.flatnonzero(uncertain), key=lambda row: abs(odds[row]))[:48]
        page.choose("sort", "worst")
        page("[value=all]").click()
    page.choose("odds", "2")
    assert page.counts()["uncertain"] == (np.abs(odds) <= np.log(2)).sum()
    page.choose("sort", "high-1")
    assert page.rows() == np.argsort(-chance)[:48].tolist()
    page("#next").click()
    assert page.rows() == np.argsort(-chance)[48:96].tolist()
    assert page("#count").text == "49 to 96 of 300 images"
    page.choose("truth", "0")
    page.choose("taken", "1")
    assert set(page.rows()) == set(np.flatnonzero((labels == 0) & (chance >= 0.8)))
    page.choose("truth", "")
    page.choose("taken", "")
    page("[name=path]").send_keys("0012")
    assert sorted(page.rows()) == [12, *range(120, 130)]
    page("[name=path]").send_keys("nothing")
    assert page("#count").text == "No image is like that."


@needs_browser
def test_the_gallery_by_keyboard(opened, two):
    page = opened(two[0])
    page.choose("sort", "path")
    assert [tile.get_attribute("tabindex") for tile in page.all(".tile")] == ["0"] + ["-1"] * 47
    page.all(".tile")[0].send_keys(Keys.ARROW_RIGHT)
    focused = page.browser.switch_to.active_element
    assert focused.get_attribute("data-row") == "1"
    focused.send_keys(Keys.ENTER)
    assert page("#one-title").text == "lenses/00001.png"
    ActionChains(page.browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert page("#one-title").text == "lenses/00002.png"
    assert [item.text.split("\n") for item in page.all("#one-chances li")] == [
        [name, pytest_chance]
        for name, pytest_chance in zip(TWO, page.script("return [0, 1].map((k) => exactly(chance(2, k)))"), strict=True)
    ]
    ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
    WebDriverWait(page.browser, 5).until(
        lambda browser: browser.switch_to.active_element.get_attribute("data-row") == "2"
    )


@needs_browser
def test_the_right_image_is_shown(opened, tmp_path):
    """Each tile has the grey level of its row."""
    labels, probabilities = guesses(TWO, 300)
    levels = np.random.default_rng(0).integers(0, 255, 300)
    images = np.broadcast_to(levels[:, None, None], (300, 40, 40)).astype(np.uint8)
    page = opened(write(tmp_path / "run", TWO, labels, probabilities, images=images))
    page.choose("sort", "path")
    read = """
        const copy = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
        return [...document.querySelectorAll('.tile canvas')].map((canvas) => {
            copy.clearRect(0, 0, 99, 99);
            copy.drawImage(canvas, 0, 0);
            return copy.getImageData(30, 30, 1, 1).data;
        });
    """
    WebDriverWait(page.browser, 10).until(lambda _: all(pixel[3] for pixel in page.script(read)))
    shown = [pixel[0] for pixel in page.script(read)]
    np.testing.assert_allclose(shown, levels[page.rows()], atol=3)


def luminance(colour):
    """WCAG's relative luminance of `rgb(r, g, b)`."""
    parts = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@needs_browser
@pytest.mark.parametrize("width", [1280, 390, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_and_in_the_dark(opened, two, scheme, width):
    page = opened(two[0], width, scheme)
    page.settle()
    assert page.script("const root = document.documentElement; return root.scrollWidth - root.clientWidth") == 0
    paper = luminance(page("body").value_of_css_property("background-color"))
    assert (paper < 0.05) == (scheme == "dark")
    for selector in ("body", ".subtitle", ".kicker", "nav a", "td:last-child", ".tile.wrong .verdict", "figcaption"):
        ink = luminance(page(selector).value_of_css_property("color"))
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, selector
    for selector in (".curve.c0", ".curve.c1"):
        ink = luminance(page(selector).value_of_css_property("stroke"))
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 3, selector


@needs_browser
def test_every_control_has_a_name_and_all_can_be_reached_by_tab(opened, two):
    page = opened(two[0])
    reached = []
    for _ in range(40):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        element = page.browser.switch_to.active_element
        reached.append(element.get_attribute("id") or element.get_attribute("name") or element.get_attribute("class"))
        assert element.accessible_name, element.get_attribute("outerHTML")[:200]
        if "tile" in reached[-1]:
            break
    assert {"skip", "slider", "exact", "log-counts", "show", "sort", "path", "next"} <= set(reached)
    plots = page.all("#ranking [role=slider]")
    assert [plot.get_attribute("tabindex") for plot in plots] == ["0"] * 3


@needs_browser
def test_on_paper(opened, two):
    page = opened(two[0], scheme="dark")
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert luminance(page("body").value_of_css_property("background-color")) == pytest.approx(1)
    assert not page(".bar").is_displayed()
    assert page("#scores table").is_displayed()
    page.script("window.dispatchEvent(new Event('beforeprint'))")
    assert page(".settings").get_attribute("open") is not None
    page.script("window.dispatchEvent(new Event('afterprint'))")
    assert page(".settings").get_attribute("open") is None


@needs_browser
def test_three_classes(opened, tmp_path):
    labels, probabilities = guesses(THREE, 240)
    page = opened(write(tmp_path / "run", THREE, labels, probabilities))
    np.testing.assert_array_equal(page.confusion(), sk.confusion_matrix(labels, probabilities.argmax(1)))
    assert not page(".bar").is_displayed()
    assert len(page.all("#roc .curve")) == 3
    page.keys("#roc .plot", Keys.HOME)
    for label in (0, 1, 2):
        page.keys("#roc .plot", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        text = page("#point").text
        assert text.startswith(f"{THREE[label]} against the rest")
        alarms, hits, thresholds = sk.roc_curve(labels == label, probabilities[:, label], drop_intermediate=False)
        threshold, tpr, fpr = reading(text)
        nearest = np.argmin(np.abs(thresholds - float(threshold)))
        assert (tpr, fpr) == pytest.approx((hits[nearest], alarms[nearest]), abs=1e-4)
        page.keys("#roc .plot", Keys.ARROW_DOWN)
    ordered = np.sort(probabilities, axis=1)
    wrong = probabilities.argmax(1) != labels
    counts = page.counts()
    assert (counts["wrong"], counts["uncertain"]) == (wrong.sum(), (ordered[:, -1] <= 10 * ordered[:, -2]).sum())
    assert page.all("#scores .under")[2].text == "cdm against the rest"


@needs_browser
def test_without_labels(opened, tmp_path):
    labels, probabilities = guesses(TWO, 50)
    page = opened(write(tmp_path / "run", TWO, labels, probabilities, 0.3, labelled=False))
    assert not page("#scores").is_displayed()
    assert not page("#ranking").is_displayed()
    assert page("#summary").text == f"{(probabilities[:, 1] >= 0.3).sum()} of 50 taken for sub"
    assert len(page.rows()) == 48
    assert page.all("#histogram .area")


@needs_browser
@pytest.mark.parametrize("labelled", [True, False])
def test_foreign_images_are_said_filtered_and_sorted(opened, tmp_path, labelled):
    labels, probabilities = guesses(TWO, 60)
    familiarity = np.round(np.random.default_rng(0).uniform(0.02, 1, 60), 3)
    familiarity[[7, 30, 31]] = (0.0, 0.009, 0.01)
    said = "2 of 60 images (3%) are foreign"
    about = {"unfamiliar": 0.0333, "unfamiliar_low": 0.0092, "unfamiliar_high": 0.1136, "foreign": 2, "said": said}
    file = write(tmp_path / "run", TWO, labels, probabilities, labelled=labelled, familiarity=familiarity, about=about)
    page = opened(file)
    assert page("header .note").text == said
    assert page("#scores").is_displayed() == labelled
    headline = page("dl.headline").text
    assert "3.33" in headline
    assert "foreign images" in headline
    assert page("[value=foreign] + span b").text == "2"
    page("[value=foreign]").click()
    page.choose("sort", "strange")
    assert page.rows() == [7, 30]
    page.all(".tile")[0].click()
    assert "Familiarity\n0.00 (foreign)" in page("#one-facts").text


@needs_browser
def test_one_class(opened, tmp_path):
    labels, probabilities = guesses(TWO, 50)
    labels = np.ones_like(labels)
    page = opened(write(tmp_path / "run", TWO, labels, probabilities))
    assert "there are no images of class no_sub" in page("#scores .note").text
    assert not page("#ranking").is_displayed()
    np.testing.assert_array_equal(page.confusion(), counted(labels, probabilities[:, 1], 0.5))
    assert "undefined" in page("#rates").text


@needs_browser
def test_names_that_would_break_a_page_are_shown_as_they_are(opened, hostile):
    page = opened(hostile)
    assert [head.text for head in page.all("#confusion tbody th")] == list(HOSTILE)
    page.choose("sort", "path")
    assert set(HOSTILE_PATHS) < {tile.get_attribute("title") for tile in page.all(".tile")}
    page("[name=path]").send_keys("</script><script>alert(2)")
    page.all(".tile")[0].click()
    assert page("#one-title").text == HOSTILE_PATHS[0]
