"""Exported weights: opened without the program, they say what the program says."""

import csv
import dataclasses
import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from conftest import run_python
from PIL import Image
from safetensors.torch import save_file

from deeplense.classification.card import ModelCard
from deeplense.cli import parse, save_config
from deeplense.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from deeplense.data.images import load_images
from deeplense.data.store import PixelStore
from deeplense.errors import InputError, TrainingError
from deeplense.export import __main__ as command
from deeplense.export import write
from deeplense.export.card import write_card
from deeplense.export.write import FromPixels, export, own_words, some_images
from deeplense.files import write_json
from deeplense.network.model import build_model
from deeplense.tasks import load_run


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def predictions(run):
    """Path, probabilities and familiarity of the run's test images, as its evaluation has them."""
    rows = list(csv.DictReader((run / "evaluation" / "test" / "predictions.csv").open()))
    chances, familiarity = (
        np.array([[float(row[name]) for name in names] for row in rows])
        for names in (("p_no_sub", "p_sub"), ("familiarity",))
    )
    return [row["path"] for row in rows], chances, familiarity[:, 0]


def raw(folder, paths):
    """(n, 1, 40, 40) uint8, as Pillow reads the files."""
    return np.stack([np.asarray(Image.open(folder / path))[None] for path in paths])


def test_onnx_says_of_raw_files_what_the_evaluation_says(copy, lenses):
    import onnxruntime

    done = run_python("-m", "deeplense.export", copy, "--format", "onnx")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    file = copy / "export" / "model.onnx"
    assert done.stdout.startswith(f"{file}: its probabilities differ from the program's own by ")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (given,), (gives, tells) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("pixels", "tensor(uint8)", ["batch", 1, 40, 40])
    assert (gives.name, gives.type, gives.shape) == ("probabilities", "tensor(float)", ["batch", 2])
    assert (tells.name, tells.type, tells.shape) == ("familiarity", "tensor(float)", ["batch"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["no_sub", "sub"]
    paths, expected, familiarity = predictions(copy)
    pixels = raw(lenses, paths)
    for count in (len(pixels), 1, 7):  # any number at once
        chances, known = session.run(None, {"pixels": pixels[:count]})
        np.testing.assert_allclose(chances, expected[:count], atol=1e-5)
        assert (
            np.mean(np.abs(known - familiarity[:count]) < 1e-5) > 0.9
        )  # but for two that are as strange as each other
    assert (session.run(["familiarity"], {"pixels": 255 - pixels})[0] == 0).all()
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.onnx", "model.onnx.md"]


ELSEWHERE = """
import sys, numpy, torch
network = torch.export.load(sys.argv[1]).module()
pixels = torch.from_numpy(numpy.load(sys.argv[2]))
(first, known), (second, more) = network(pixels[:5]), network(pixels[5:])
numpy.save(sys.argv[3], torch.cat([torch.cat([first, second]), torch.cat([known, more])[:, None]], 1).detach().numpy())
assert not any(name.startswith("deeplense") for name in sys.modules)
"""


def test_torch_says_the_same_without_the_program_and_without_pickles(copy, lenses, tmp_path):
    file = tmp_path / "out" / "lens.pt2"
    exported = export(copy, "torch", file)
    assert exported.difference < 1e-5
    paths, expected, familiarity = predictions(copy)
    np.save(tmp_path / "pixels.npy", raw(lenses, paths))
    call = [sys.executable, "-c", ELSEWHERE, file, tmp_path / "pixels.npy", tmp_path / "given.npy"]
    subprocess.run(call, cwd=tmp_path, check=True)
    given = np.load(tmp_path / "given.npy")
    np.testing.assert_allclose(given[:, :2], expected, atol=1e-5)
    assert np.mean(np.abs(given[:, 2] - familiarity) < 1e-5) > 0.9
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    weights = next(content for name, content in files.items() if name.endswith("weights_config.json"))
    assert not any(entry["use_pickle"] for entry in json.loads(weights)["config"].values())
    pickled = [
        name for name, content in files.items() if content[:2] in (b"\x80\x02", b"PK") and "/weights/" not in name
    ]
    assert pickled == []


def made_run(folder, data, channels=1, normalize="auto", size=32, orient=False, **treatment):
    """A run folder with random weights, as far as an export needs one."""
    images = load_images(str(data))
    torch.manual_seed(0)
    model = build_model(len(images.classes), channels)
    model.fc.weight.data *= 3
    card = ModelCard(
        classes=images.classes, image_size=size, channels=channels, normalize=normalize, threshold=0.5, epoch=1,
        val_roc_auc=None, **treatment,
    )  # fmt: skip
    (folder / "best").mkdir(parents=True)
    save_file(model.state_dict(), folder / "best" / "model.safetensors")
    data_config = DataConfig(data=str(data), image_size=size, channels=channels, normalize=normalize, **treatment)
    card = card.for_pixels(PixelStore(images, data_config, torch.device("cpu")))
    write_json(folder / "best" / "model.json", dataclasses.asdict(card))
    config = TrainConfig(data=data_config, model=ModelConfig(orient=orient), run=RunConfig(name="made"))
    save_config(config, folder / "config.json")
    return folder


def packed(folder, pixels, classes=("no_sub", "sub")):
    folder.mkdir()
    np.save(folder / "images.npy", pixels)
    rows = "".join(f"{index},{classes[index % len(classes)]}\n" for index in range(len(pixels)))
    (folder / "catalog.csv").write_text(f"index,class\n{rows}")
    (folder / "dataset.json").write_text(json.dumps({"classes": classes}))
    return folder


KINDS = {
    "uint16": ("uint16", 1, 1, "auto", 2),
    "float16": ("float16", 1, 1, "auto", 2),
    "float32 by range": ("float32", 1, 1, "range", 2),
    "uint8 by its extremes": ("uint8", 1, 1, "minmax", 2),
    "colour to grey": ("uint8", 3, 1, "auto", 2),
    "grey to colour, three classes": ("float32", 1, 3, "auto", 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_pixels(tmp_path, kind):
    dtype, stored, channels, normalize, count = KINDS[kind]
    random = np.random.default_rng(0)
    unit = random.random((12, stored, 70, 60)) ** 3
    scale = {"uint16": 60_000, "uint8": 255, "float16": 900.0, "float32": 1.0}[dtype]
    data = packed(tmp_path / "set", (unit * scale).astype(dtype), ("no_sub", "axion", "cdm")[:count])
    run = made_run(tmp_path / "run", data, channels, normalize)
    exported = export(run, "torch")
    assert exported.difference < 1e-5
    assert exported.dtype == {"float16": "float32"}.get(dtype, dtype)
    assert exported.shape == (stored, 70, 60)
    network, card = load_run(run).network, load_run(run).card
    own = own_words(network, card, some_images(run, None))
    assert own.shape == (12, count)
    assert np.ptp(own, axis=0).min() > 0.01  # else any two networks would agree


@pytest.mark.parametrize(
    "treatment",
    [{"stretch": "log", "standardize": True}, pytest.param({"crop": 0.6}, marks=pytest.mark.slow)],
    ids=["stretched", "cropped"],
)
def test_stretched_and_cropped_colour_in_onnx(tmp_path, treatment):
    data = packed(tmp_path / "set", np.random.default_rng(0).integers(0, 255, (6, 3, 50, 50), dtype=np.uint8))
    plain, treated = (made_run(tmp_path / name, data, **how) for name, how in (("plain", {}), ("treated", treatment)))
    assert export(treated, "onnx").difference < 1e-5
    network, as_it_is, card = load_run(plain).network, load_run(plain).card, load_run(treated).card
    given = some_images(plain, None)
    assert np.abs(own_words(network, as_it_is, given) - own_words(network, card, given)).max() > 1e-3


def test_a_network_that_is_shown_one_view_says_the_same_of_all_in_onnx(tmp_path):
    import onnxruntime

    pixels = np.random.default_rng(0).integers(0, 255, (6, 1, 50, 50), dtype=np.uint8)
    data = packed(tmp_path / "set", pixels)
    differences = []
    for orient in (True, False):
        file = export(made_run(tmp_path / str(orient), data, orient=orient), "onnx").file
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        said, turned, mirrored = (
            session.run(None, {"pixels": np.ascontiguousarray(seen)})[0]
            for seen in (pixels, np.rot90(pixels, axes=(2, 3)), pixels[..., ::-1])
        )
        differences.append([np.abs(turned - said).max(), np.abs(mirrored - said).max()])
    assert max(differences[0]) < 1e-5
    assert min(differences[1]) > 1e-3


def test_images_of_another_size(copy):
    """They are resampled as the program would resample a set of that size."""
    exported = export(copy, "torch", size=(61, 57))
    assert exported.shape == (1, 61, 57)
    module = torch.export.load(exported.file).module()
    chances, familiarity = module(torch.zeros(3, 1, 61, 57, dtype=torch.uint8))
    assert chances.shape == (3, 2)
    assert familiarity.tolist() == [0, 0, 0]


def test_probabilities_are_calibrated_with_the_cards_temperature(copy):
    network, card = load_run(copy).network, load_run(copy).card
    cold, warm = (dataclasses.replace(card, temperature=temperature) for temperature in (None, 2.5))
    pixels = torch.from_numpy(np.array(some_images(copy, None).pixels[:9]))
    with torch.inference_mode():
        plain, calibrated = FromPixels(network, cold)(pixels).double(), FromPixels(network, warm)(pixels).double()
    odds, cooler = (torch.log(p[:, 1] / p[:, 0]) for p in (plain, calibrated))
    torch.testing.assert_close(odds / 2.5, cooler, rtol=1e-4, atol=1e-4)


def test_a_file_that_says_something_else_is_not_kept(copy, monkeypatch):
    monkeypatch.setitem(
        write._READ, "torch", lambda file: lambda pixels: [np.full((len(pixels), 2), 0.5), np.zeros(len(pixels))]
    )
    with pytest.raises(TrainingError, match=r"was not written: its probabilities differ .*1e-04 is allowed"):
        export(copy, "torch")
    assert list((copy / "export").iterdir()) == []


def test_the_card_says_what_it_is_and_its_code_runs(copy, monkeypatch, capsys):
    exported = export(copy, "torch")
    text = write_card(copy, exported).read_text()
    scores = json.loads((copy / "evaluation" / "test" / "metrics.json").read_text())
    for part in (
        f"| test | {scores['n']} | {scores['roc_auc']:.5f} [{scores['roc_auc_low']:.5f}, ",
        "| train | 84 | 84 |",
        f"expected calibration error {scores['ece']:.4f}, Brier score {scores['brier']:.4f}",
        f"by {exported.difference:.1e} at most (1e-04 is allowed)",
        "| input | `pixels` | uint8 | (N, 1, 40, 40)",
        f"divided by a temperature of {json.loads((copy / 'best' / 'model.json').read_text())['temperature']:.4g}",
        json.loads((copy / "record.json").read_text())["data_sha256"],
        "flips on, on the logarithm of the light, each image by its own mean and spread",
        ", label smoothing 0.05",
        "MIT licence",
    ):
        assert part in text
    code = text.split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) == 5
    monkeypatch.chdir(exported.file.parent)
    exec(code, {})
    assert capsys.readouterr().out.startswith("{'no_sub': 0.")


def test_a_card_can_be_written_of_a_run_that_was_never_scored(tmp_path):
    run = made_run(tmp_path / "run", packed(tmp_path / "set", np.zeros((4, 1, 40, 40), np.uint8) + 7))
    (run / "split.csv").write_text("path,class,sha256,split\na,no_sub,0,train\nb,sub,1,train\n")
    text = write_card(run, export(run, "torch")).read_text()
    assert "None: this run was not scored" in text
    assert "| train | 1 | 1 |" in text


def test_what_cannot_be_exported_is_refused_in_one_line(copy, tmp_path, monkeypatch):
    def refused(*arguments):
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        with pytest.raises(InputError) as refusal:
            command.main()
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    assert "has no weights" in refused(tmp_path / "none", "--format", "torch")
    assert "give a name that ends in .pt2" in refused(copy, "--format", "torch", "--out", tmp_path / "x.bin")
    assert "--size 4 40: give a height and a width" in refused(copy, "--format", "torch", "--size", 4, 40)
    assert "--format" in refused(copy, "--format", "caffe")
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "cannot be written" in refused(copy, "--format", "torch", "--out", blocked / "x.pt2")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    assert "--format onnx needs onnxruntime: give `pip install -e '.[export]'` first" in refused(
        copy, "--format", "onnx"
    )


def test_settings_parse_as_the_documentation_says():
    wanted = parse(command.Export, ["runs/x", "--format", "onnx", "--out", "y.onnx", "--size", "150", "140"], "")
    assert (wanted.format, str(wanted.out), wanted.size) == ("onnx", "y.onnx", (150, 140))
