"""That benchmarks measure what they say; how fast anything is is no matter of a test."""

import importlib.util
import json
import sys

import numpy as np
import pytest
from conftest import run_python

from deeplense.benchmark import growth, load, online, train
from deeplense.benchmark.growth import Growth
from deeplense.benchmark.load import Load
from deeplense.benchmark.measuring import rates
from deeplense.benchmark.online import Online
from deeplense.benchmark.processes import Processes
from deeplense.benchmark.start import Start
from deeplense.benchmark.train import Train
from deeplense.errors import InputError


def test_rates_are_medians_with_their_spread():
    rate = rates(100, [1.0, 2.0, 10.0])
    assert (rate["median"], rate["lowest"], rate["highest"], rate["rounds"]) == (50, 10, 100, 3)


def test_loading_a_folder(lenses, monkeypatch, capsys):
    monkeypatch.setenv("DEEPLENSE_CACHE", "/nowhere")  # it has a cache of its own
    result = load.measure(Load(data=str(lenses)))
    assert result["images"] == 240
    assert set(result["results"]) == {"deeplense", "deeplense again", "report", "tuned"}
    for one in result["results"].values():
        assert one["images_per_second"]["rounds"] == 5
        assert one["images_per_second"]["lowest"] > 0
    load.show(result)
    assert "240 images, 5 rounds" in capsys.readouterr().out


@pytest.mark.slow
def test_training_beside_others(lenses, capsys):
    others = ("report", "tuned", *(["timm"] if importlib.util.find_spec("timm") else []))  # a process each
    result = train.measure(Train(data=str(lenses), against=others, image_size=32, batch_size=16, steps=2))
    assert set(result["results"]) == {"deeplense", *others}
    for one in result["results"].values():
        assert one["training"]["images"] == one["scoring"]["images"] == 32
        assert 0 <= one["waiting"]["lowest"] <= one["waiting"]["highest"] <= 1
        assert one["flops_per_second"] == one["training"]["median"] * result["flops_of_an_image"]
    train.show(result)
    shown = capsys.readouterr().out
    ratio = result["results"]["deeplense"]["training"]["median"] / result["results"]["report"]["training"]["median"]
    assert f"deeplense {ratio:.2f} times as fast" in shown


@pytest.mark.slow
def test_folders_that_not_all_can_load(lenses, tmp_path):
    (tmp_path / "no_sub").mkdir()
    np.save(tmp_path / "no_sub" / "0.npy", np.zeros((9, 9)))
    with pytest.raises(InputError, match=r"has no class folders of \.jpg or \.png"):
        load.measure(Load(data=str(tmp_path)))
    with pytest.raises(InputError, match=r"--batch-size 512 is more than the 240"):
        train.measure(Train(data=str(lenses), against=("report",), batch_size=512, steps=1))


def test_timm_that_is_not_there(lenses, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"timm is not installed: pip install"):
        train.measure(Train(data=str(lenses), against=("timm",)))


def test_the_work_of_an_image():
    """Three times that of the forward pass, for which torchvision gives 1.81 G multiply-adds at 224 px."""
    assert train.flops_of_an_image(64) == pytest.approx(3 * 2 * 1.81e9 * (64 / 224) ** 2, rel=0.1)  # one channel: less
    assert train.flops_of_an_image(128) == pytest.approx(4 * train.flops_of_an_image(64), rel=0.02)


@pytest.mark.slow
def test_growth(monkeypatch, capsys):
    monkeypatch.setattr(growth, "COUNT", 40)
    monkeypatch.setattr(growth, "BATCH", 4)
    monkeypatch.setattr(growth, "SIZE", 32)
    result = growth.measure(Growth(counts=(20, 40), batch_sizes=(4, 8), image_sizes=(32, 40), images=8))
    settings = [(one["count"], one["batch_size"], one["image_size"]) for one in result["results"]]
    assert settings == [(20, 4, 32), (40, 4, 32), (40, 8, 32), (40, 4, 40)]
    assert all(one["images_per_second"]["images"] == 8 for one in result["results"])
    assert all(one["placement"] == "device" for one in result["results"])
    growth.show(result)
    assert capsys.readouterr().out.count(" images/s, images on the device") == 4


def test_fresh_images_beside_stored_ones(capsys):
    result = online.measure(Online(image_size=32, batch_size=8, steps=1))
    assert result["stored"]["rounds"] == result["online"]["rounds"] == 5
    assert result["ratio"] == result["stored"]["median"] / result["online"]["median"] > 0
    online.show(result)
    assert f"an online epoch takes {result['ratio']:.2f} times as long" in capsys.readouterr().out


def test_the_command_prints_json_or_one_line(lenses):
    done = run_python("-m", "deeplense.benchmark", "load", "--data", lenses, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["benchmark"] == "load"
    assert result["versions"]["torch"]
    refused = run_python("-m", "deeplense.benchmark", "load", "--data", "nowhere")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "error: --data nowhere: there is no such folder" in refused.stderr


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Load, {"rounds": 4}, "--rounds 4: give 5 or more"),
        (Train, {"steps": 0}, "--steps 0: give 1 or more"),
        (Online, {"steps": 0}, "--steps 0: give 1 or more"),
        (Growth, {"batch_sizes": (64, 1)}, "--batch-sizes 1: give 2 or more"),
        (Start, {"batch_size": 1001}, "--batch-size 1001: give 2 to 1000"),
        (Processes, {"processes": 3}, "--processes 3 do not divide --batch-size 128"),
    ],
)
def test_settings_that_measure_nothing_are_refused(kind, settings, message):
    with pytest.raises(InputError, match=message):
        kind(**settings)


@pytest.mark.slow
def test_a_launch_to_its_first_step():
    done = run_python("-m", "deeplense.benchmark", "start", "--image-size", "32", "--json", timeout=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["seconds_to_first_step"]["rounds"] == 5
    assert result["seconds_to_first_step"]["lowest"] > 1
    assert result["peak_memory_gib"] > result["images_gib"]
