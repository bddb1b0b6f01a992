"""A run is made fit for images that are fainter and noisier, whose classes nobody tells it."""

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import lens_image, run_python
from PIL import Image

import evaluate
from deeplense.adapt.__main__ import main
from deeplense.adapt.settings import AdaptConfig
from deeplense.config import EvaluateConfig
from deeplense.errors import InputError


def foreign(folder, each, seed):
    """Class folders of the easy images as another telescope sees them."""
    random = np.random.default_rng(seed)
    for label, name in enumerate(("no_sub", "sub")):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            image = lens_image(random, substructure=label > 0)
            dim = 60 + 0.4 * image + random.normal(0, 4, image.shape)
            Image.fromarray(dim.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index:04d}.png")
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return foreign(tmp_path_factory.mktemp("others") / "new", 120, seed=5)


@pytest.fixture(scope="module")
def adapted(trained, others, tmp_path_factory):
    output = tmp_path_factory.mktemp("adapted")
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    done = run_python(
        "-m", "deeplense.adapt", trained, "--data", others, "--rounds", "3", "--batch-size", "16",
        "--output-dir", output, "--name", "fit",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "its classes are not looked at" in done.stderr
    assert "round 3 of 3" in done.stdout
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before
    return output / "fit"


def auc(run, data):
    evaluate.main(EvaluateConfig((run,), data=str(data), name="fresh", attribution_images=0))
    return json.loads((run / "evaluation" / "fresh" / "metrics.json").read_text())


def test_it_is_better_on_images_that_it_has_not_seen(trained, adapted, tmp_path, capsys):
    fresh = foreign(tmp_path / "fresh", 60, seed=6)
    before, after = auc(shutil.copytree(trained, tmp_path / "trained"), fresh), auc(adapted, fresh)
    assert after["accuracy"] > before["accuracy"]
    assert after["roc_auc"] > max(0.9, before["roc_auc"] - 0.02)
    assert "the run was adapted to" in capsys.readouterr().out
    assert (adapted / "best" / "familiarity.safetensors").is_file()


def test_what_it_has_learned_from_is_never_scored(adapted, others):
    with pytest.raises(InputError, match="240 of 240 images are ones"):
        auc(adapted, others)
    rows = list(csv.DictReader((adapted / "adapted.csv").open()))
    assert len(rows) == 240
    told = json.loads((adapted / "adapt.json").read_text())
    assert (told["images"], told["shares"], told["rounds"]) == (240, [0.5, 0.5], 3)
    lines = [json.loads(line) for line in (adapted / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3]
    assert lines[0]["learned_from"] < lines[-1]["learned_from"] < 240


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"data": "few"}, "20 images are too few to adapt to"),
        ({"data": "own"}, "48 images are test images of"),
        ({"shares": (0.2, 0.3, 0.5)}, "3 are given, and the classes are no_sub, sub"),
        ({"name": "trained"}, "is there already"),
        ({"batch_size": 128}, "the first round learns from 81 images"),
    ],
)
def test_bad_input_is_one_line(trained, lenses, others, tmp_path, flags, message):
    places = {"few": lambda: foreign(tmp_path / "few", 10, 8), "own": lambda: lenses}
    data = places[flags["data"]]() if "data" in flags else others
    rest = {name: value for name, value in flags.items() if name != "data"}
    output = trained.parent if "name" in flags else tmp_path / "runs"
    with pytest.raises(InputError, match=message):
        main(AdaptConfig(trained, str(data), output_dir=output, **rest))
    assert not (tmp_path / "runs").exists()
