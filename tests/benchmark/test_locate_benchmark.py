"""Three ways to find subhalos: what each is taught and how each is read, and the whole story with a made-up YOLO."""

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deeplense.benchmark import boxes
from deeplense.benchmark.locate import Locate, measure, show
from deeplense.benchmark.unet import CLASSES, UNet, disks, found_by, thinned
from deeplense.errors import InputError


def test_disks_are_centred_on_their_subhalos():
    places = torch.tensor([[[5.25, 3.5, 9.9]], [[0.0, 0.0, 0.0]]])  # cells: 10.5 and 7 pixels
    classes = disks(places, torch.tensor([[True], [False]]), 24, (8.5, 10.5))
    rows, columns = np.nonzero(classes[0].numpy())
    assert set(classes[0].unique().tolist()) == {0, 4}  # the fourth of five classes of 0.4 dex
    assert (columns + 0.5).mean() == pytest.approx(10.5)
    assert (rows + 0.5).mean() == pytest.approx(7.0)
    assert np.hypot(columns + 0.5 - 10.5, rows + 0.5 - 7.0).max() < 2
    assert len(rows) == pytest.approx(np.pi * 4, abs=2)
    assert not classes[1].any()


def test_a_u_net_is_read_at_its_maxima():
    logits = torch.zeros(2, 1 + CLASSES, 20, 20)
    logits[:, 0] = 8.0
    logits[0, 3, 6, 12] = 10.0  # one certain, and a wing beside it
    logits[0, 3, 6, 13] = 9.0
    logits[0, 1, 15, 4] = 8.0
    scores, detections = found_by(logits, (8.5, 10.5))
    assert scores[0] > 0.8
    assert scores[1] < 0.01
    assert detections.image.tolist() == [0, 0]
    assert (detections.x[0], detections.y[0]) == (6.25, 3.25)  # cells of the pixel's middle
    assert detections.log10_mass[0] == pytest.approx(9.5, abs=0.02)  # the third of five classes
    assert UNet()(torch.zeros(1, 1, 56, 56)).shape == (1, 1 + CLASSES, 56, 56)


def test_boxes_are_read_where_they_are():
    texts = ["0 0.5 0.5 0.03 0.03 0.2\n0 0.75 0.4 0.03 0.03 0.9\n", "", "0 0.01 0.5 0.03 0.03 0.7\n"]
    scores, detections = boxes.found_by(texts, 28, 0.7)
    assert scores.tolist() == [0.9, 0.0, 0.7]
    assert detections.image.tolist() == [0, 0]  # that at the edge of the whole image is outside what others see
    assert detections.expected.tolist() == [0.9, 0.2]
    # 0.75 of 80 px is 20 px from the middle, of 56 px 48 px from their edge: 24 cells.
    np.testing.assert_allclose(detections.x, [24, 14])
    np.testing.assert_allclose(detections.y, [10, 14])
    one = np.zeros(3, dtype=int)
    kept = thinned(one, np.array([0.9, 0.8, 0.7]), np.array([5.0, 5.5, 8.0]), np.full(3, 5.0), np.full(3, 9.0))
    assert kept.expected.tolist() == [0.9, 0.7]  # within a beam of a better one there is none
    assert boxes.milliseconds("Speed: 0.1ms preprocess, 4.5ms inference, 0.3ms postprocess") == 4.5
    assert boxes.milliseconds("nothing") is None


def test_without_its_command_yolo_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        InputError, match=r"--against yolo: its command is not there: give `pip install -e '\.\[yolo\]'`"
    ):
        measure(Locate())
    with pytest.raises(InputError, match="--minutes 0: give more than 0"):
        Locate(minutes=0)
    with pytest.raises(InputError, match="its subhalos are equal parts of a mass"):
        measure(Locate(data="morphology_2019", against=("ours",)))


MADE_UP = """#!{python}
import pathlib, sys
words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
if "train" in sys.argv:
    folder = pathlib.Path(words["project"]) / words["name"]
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "best.pt").write_text("made up")
    (folder / "results.csv").write_text("epoch\\n1\\n2\\n")
    assert pathlib.Path(words["data"]).is_file() and words["pretrained"] == "False"
elif "predict" in sys.argv:
    # It knows the truth of what has a box, and says so.
    pictures = pathlib.Path(words["source"])
    labels = pathlib.Path(words["project"]) / words["name"] / "labels"
    labels.mkdir(parents=True)
    for file in (pictures.parent.parent / "labels" / pictures.name).iterdir():
        lines = file.read_text().splitlines()
        if lines:
            (labels / file.name).write_text("".join(line + " 0.9\\n" for line in lines))
    print("Speed: 0.1ms preprocess, 4.5ms inference, 0.3ms postprocess per image")
"""


@pytest.mark.slow
def test_all_three_are_scored_by_the_same_code(tmp_path, monkeypatch, capsys):
    command = tmp_path / "yolo"
    command.write_text(MADE_UP.format(python=sys.executable))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{Path(sys.executable).parent}")
    result = measure(Locate(minutes=0.05, count=400, test=200, min_snr=0.0))
    assert list(result["results"]) == ["ours", "unet", "yolo"]
    for one in result["results"].values():
        assert [row["from"] for row in one["by_mass"]] == [8.5, 9.0, 9.5, 10.0]
        assert sum(row["n"] for row in one["by_mass"]) == 100
        assert one["images_seen"] > 0
        assert one["forward_ms"] > 0
    # What knows the truth finds and places all, those of the test images, whose boxes are drawn without a limit.
    for row in result["results"]["yolo"]["by_mass"]:
        assert row["fpr_0.01"]["placed"]["rate"] == 1
    show(result)
    assert "yolo: 720 images seen in training" in capsys.readouterr().out
