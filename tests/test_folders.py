"""What a run says of other people's folders. Its weights are random, since it is not about what it has learned."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, lens_image, write_lenses
from PIL import Image

import deeplense
from deeplense.classification.card import ModelCard
from deeplense.cli import parse, save_config
from deeplense.config import DataConfig, EvaluateConfig, TrainConfig
from deeplense.data.images import load_images
from deeplense.data.memory import as_images
from deeplense.data.opening import Opening
from deeplense.data.split import split_images, write_looks, write_split
from deeplense.data.store import PixelStore
from deeplense.errors import InputError
from deeplense.evaluation.best import keep_best
from deeplense.evaluation.predict import predict
from deeplense.evaluation.scored import choose_images
from deeplense.network.model import build_model
from deeplense.tasks import load_run


def make_run(folder, data, **how):
    """What training leaves, without training."""
    config = TrainConfig(data=DataConfig(data=str(data), image_size=32, **how))
    images = load_images(str(data))
    split = split_images(images, config.split)
    folder.mkdir(parents=True)
    save_config(config, folder / "config.json")
    write_split(folder / "split.csv", images, split)
    write_looks(folder, images, split)
    torch.manual_seed(0)
    network = build_model(len(images.classes), config.data.channels)
    store = PixelStore(images, config.data, torch.device("cpu"))
    logits = predict(network, store, np.arange(len(images)))
    with torch.no_grad():  # probabilities of all kinds
        network.fc.weight *= 2 / logits.std()
        network.fc.bias.copy_((network.fc.bias - logits.mean()) * 2 / logits.std())
    card = ModelCard.of(config, images.classes, 1, threshold=None, val_roc_auc=None)
    keep_best(folder, network, card.for_pixels(store))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_lenses(tmp_path_factory.mktemp("own") / "lenses", 25)


@pytest.fixture
def run(data, tmp_path):
    return make_run(tmp_path / "runs" / "mine", data)


@pytest.fixture
def others(tmp_path):
    return write_lenses(tmp_path / "others", 6, seed=9)


def score(run, *arguments):
    """What `evaluate.py` predicts, without its figures: the probability of `sub` by path, and the labels."""
    config = parse(EvaluateConfig, [str(part) for part in (run, *arguments)], "")
    trained = load_run(run)
    images, indices, _ = choose_images(run, trained.card, trained.config, config)
    logits = predict(trained.network, trained.card.store(images, torch.device("cpu")), indices)
    paths = [images.paths[index].rsplit(".", 1)[0] for index in indices]
    return dict(zip(paths, trained.card.probabilities(logits)[:, 1], strict=True)), images.labels


def refused(run, *arguments):
    with pytest.raises(InputError) as refusal:
        score(run, *arguments)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def rewritten(folder, target, save):
    """The images of class folders in another container."""
    for file in sorted(folder.rglob("*.png")):
        place = target / file.parent.name / file.stem
        place.parent.mkdir(parents=True, exist_ok=True)
        save(place, np.asarray(Image.open(file)))
    return target


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("words", lambda place, image: np.save(f"{place}.npy", image.astype(np.uint16))),
        ("floats", lambda place, image: np.save(f"{place}.npy", image / 255)),
        ("deep", lambda place, image: Image.fromarray(image.astype(np.uint16) * 257).save(f"{place}.png")),
        ("rgb", lambda place, image: Image.fromarray(np.stack([image] * 3, 2)).save(f"{place}.png")),
    ],
)
def test_another_container_gets_the_same_probabilities(run, others, tmp_path, name, save):
    one, _ = score(run, "--data", others)
    other, _ = score(run, "--data", rewritten(others, tmp_path / name, save))
    assert list(one) == list(other)
    assert np.ptp(list(one.values())) > 0.1
    np.testing.assert_allclose(list(one.values()), list(other.values()), atol=1e-2)


def test_a_prediction_does_not_depend_on_its_neighbours(run, tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "flat"
    folder.mkdir()
    for index, size in enumerate((40, 40, 40, 64, 90, 33)):
        Image.fromarray(lens_image(random, index % 2 == 0, size)).save(folder / f"{index}.png")
    together, _ = score(run, "--data", folder)
    for index in range(6):
        alone = tmp_path / f"alone{index}"
        alone.mkdir()
        shutil.copy(folder / f"{index}.png", alone)
        own, _ = score(run, "--data", alone)
        assert own[f"{index}"] == pytest.approx(together[f"{index}"], abs=1e-5)


def test_copies_in_other_forms_are_known(run, data, others, capsys):
    learned = [row["path"] for row in csv.DictReader((run / "split.csv").open()) if row["split"] == "train"][:5]
    for index, path in enumerate(learned):
        image = np.asarray(Image.open(data / path))
        target = str(others / path.split("/")[0] / f"copy{index}")
        if index == 0:
            np.save(f"{target}.npy", np.rot90(image) / 255.0)
            continue
        changed, suffix = {
            1: (np.stack([image] * 3, 2), ".png"),
            2: (np.kron(image, np.ones((2, 2), np.uint8)), ".tif"),
            3: (image[:, ::-1], ".bmp"),
            4: (image, ".tif"),
        }[index]
        Image.fromarray(changed).save(f"{target}{suffix}")
    message = refused(run, "--data", others)
    assert "5 of 17 images are ones" in message
    assert "(4 of them in another size, type or orientation)" in message
    score(run, "--data", others, "--allow-overlap")
    assert "left out 5 of 17 images" in capsys.readouterr().err


def test_class_folders_that_were_exchanged_are_noticed(run, data, tmp_path):
    moved = shutil.copytree(data, tmp_path / "moved")
    (moved / "sub").rename(moved / "x")
    (moved / "no_sub").rename(moved / "sub")
    (moved / "x").rename(moved / "no_sub")
    config = json.loads((run / "config.json").read_text())
    config["data"]["data"] = str(moved)
    (run / "config.json").write_text(json.dumps(config))
    assert "50 images have another class than in" in refused(run)


def test_other_names_of_the_classes(run, others, capsys):
    (others / "no_sub").rename(others / "No_Substructure")
    (others / "sub").rename(others / "subhalo")
    score(run, "--data", others)
    assert "No_Substructure is no_sub, subhalo is sub" in capsys.readouterr().err
    (others / "subhalo").rename(others / "b")
    assert "class b is not one that" in refused(run, "--data", others)
    assert "--class-map b=CLASS" in refused(run, "--data", others)
    assert "--class-map b=c: the classes of the run are no_sub, sub" in refused(
        run, "--data", others, "--class-map", "b=c"
    )
    score(run, "--data", others, "--class-map", "b=sub")
    assert "--class-map is for other images" in refused(run, "--class-map", "b=sub")


def test_a_table_beside_a_flat_folder(run, others, tmp_path):
    flat, table = tmp_path / "flat", tmp_path / "labels.csv"
    flat.mkdir()
    rows = []
    for index, file in enumerate(sorted(others.rglob("*.png"))):
        shutil.copy(file, flat / f"{index:03d}.png")
        rows.append(f"{index:03d},{file.parent.name}")
    table.write_text("id,class\n" + "\n".join(rows) + "\n")
    own, labels = score(run, "--data", flat, "--labels", table)
    assert (len(own), labels.tolist()) == (12, [0] * 6 + [1] * 6)
    assert score(run, "--data", flat)[1] is None


# ---- from Python ---------------------------------------------------------------------------------------------------


def test_a_run_can_be_asked_from_python(run, others):
    own = deeplense.load(run)
    assert (own.classes, own.threshold, own.scores, own.config.data.image_size) == (("no_sub", "sub"), 0.5, {}, 32)
    expected, _ = score(run, "--data", others)
    of_folder = own.predict(others)
    assert [path.rsplit(".", 1)[0] for path in of_folder.paths] == list(expected)
    np.testing.assert_allclose(of_folder.probabilities[:, 1], list(expected.values()), atol=1e-5)
    assert of_folder.names == ["sub" if p >= 0.5 else "no_sub" for p in of_folder.probabilities[:, 1]]
    files = sorted(others.rglob("*.png"))
    arrays = [np.asarray(Image.open(file)) for file in files]
    for images in (
        files,
        arrays,
        np.stack(arrays),
        np.stack(arrays)[:, None],
        np.stack(arrays) / 255,
        load_images(str(others)),
    ):
        np.testing.assert_allclose(own.predict(images, batch_size=5).probabilities, of_folder.probabilities, atol=1e-2)
    one = own.predict(files[3]).probabilities
    np.testing.assert_allclose(one, of_folder.probabilities[3:4], atol=1e-5)
    np.testing.assert_allclose(own.predict(arrays[3]).probabilities, one, atol=1e-5)
    colour = np.stack([arrays[3]] * 3, 2)
    np.testing.assert_allclose(own.predict(colour).probabilities, one, atol=1e-2)
    np.testing.assert_allclose(own.predict(colour[None]).probabilities, one, atol=1e-2)
    spoilt = arrays[3] / 255
    spoilt[0, 0] = np.nan
    with pytest.raises(InputError, match=r"image 0 has 1 of its 1600 pixels missing .* give bad_pixels='zero'"):
        own.predict(spoilt)
    assert len(own.predict(spoilt, bad_pixels="median").paths) == 1
    with pytest.raises(InputError, match="there is no such"):
        own.predict(others / "none.png")
    with pytest.raises(InputError, match="image 0 has 4 x 4 pixels"):
        own.predict(np.zeros((4, 4)))
    with pytest.raises(InputError, match="has no weights"):
        deeplense.load(others)


def test_what_a_program_has_at_hand_is_asked_about_or_refused(run, others, tmp_path, capsys):
    own = deeplense.load(run)
    files = sorted(others.rglob("*.png"))[:4]
    arrays = np.stack([np.asarray(Image.open(file)) for file in files])
    expected = own.predict(arrays).probabilities
    np.testing.assert_allclose(own.predict(torch.from_numpy(arrays)).probabilities, expected)
    np.testing.assert_allclose(own.predict([Image.open(file) for file in files]).probabilities, expected)
    np.savez(tmp_path / "set.npz", images=arrays, labels=np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(own.predict(tmp_path / "set.npz").probabilities, expected)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    asked = own.predict([tmp_path / "bad.png", files[0]], bad_images="skip")
    assert asked.paths == [str(files[0])]
    assert f"warning: left out {tmp_path / 'bad.png'}: " in capsys.readouterr().err
    with pytest.raises(InputError, match=r"^image 1 is of type dict: give an array or the path of a file$"):
        own.predict([arrays[0], {}])
    banded = Opening(bands=("g", "r"))
    with pytest.raises(
        InputError, match=r"the run's images have bands in files of their own \(g, r\): give the folder"
    ):
        as_images([files[0], files[1]], banded)


def test_simulated_lenses_are_those_of_the_files(tmp_path):
    from deeplense.simulation.write import simulate_set

    lenses = deeplense.simulate("model_i", 6, seed=1, classes=("no_sub", "sub"))
    simulate_set("model_i", tmp_path, 6, ("no_sub", "sub"), 1, progress=False)
    np.testing.assert_array_equal(lenses.images, np.load(tmp_path / "images.npy").reshape(6, 150, 150))
    assert lenses.labels.tolist() == [0, 1] * 3
    assert [len(points) for points in lenses.subhalos] == [0, 25] * 3
    assert lenses.pixel_scale == 0.05
    assert all(len(column) == 6 for column in lenses.table.values())
    assert len(lenses.set) == 6


def test_the_ten_lines_of_the_page(run, others, tmp_path):
    """From another folder, without a GPU or an account."""
    page = (ROOT / "deeplense" / "data" / "README.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    assert 5 <= len(code.strip().splitlines()) <= 12
    code = code.replace("runs/NAME", str(run)).replace("PATH/cutouts", str(others))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TORCH_COMPILE_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "sub" in done.stdout


# ---- surroundings --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")  # of layouts that do not fit
@pytest.mark.parametrize("count", [2, 7, 10])
def test_figures_of_many_classes_with_strange_names(tmp_path, figures, count):
    """Galaxy10 has ten, and a dollar is no mathematics."""
    from deeplense.figures.samples import plot_samples
    from deeplense.figures.scores import plot_confusion, plot_precision_recall, plot_roc, plot_scores
    from deeplense.scores.metrics import score

    names = tuple(f"a long name of sub$x^{number}$" for number in range(count))
    random = np.random.default_rng(0)
    labels = np.arange(100) % count
    chances = random.dirichlet(np.ones(count), 100)
    scores = score(labels, chances, names, 0.5)
    for plot in (plot_roc, plot_precision_recall, plot_scores):
        plot(tmp_path / "a.png", labels, chances, scores, "run $a^$b$")
    plot_confusion(tmp_path / "a.png", scores, "run $a^$b$")
    images = random.random((2 * count, 1, 32, 32))
    captions = [f"{name} taken for {names[0]}" for name in np.repeat(names, 2)]
    plot_samples(tmp_path / "a.png", images, captions, "misclassified, the most confident first")


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({"RANK": "1"}, True),  # left behind
        ({"RANK": ""}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "x", "WORLD_SIZE": ""}, True),
    ],
)
def test_errors_are_said_whatever_is_in_the_environment(monkeypatch, variables, first):
    from deeplense.errors import is_first_process

    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first


def test_half_a_launch_is_refused_in_a_line(monkeypatch):
    from deeplense.training.session import make_accelerator

    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="WORLD_SIZE is 2, and there is no RANK and no MASTER_ADDR and no MASTER_PORT"):
        make_accelerator(TrainConfig())
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="the variable WORLD_SIZE is «two»: unset it"):
        make_accelerator(TrainConfig())


def test_a_relative_folder_is_found_from_anywhere(data, monkeypatch):
    import datetime

    from deeplense.runs import named

    monkeypatch.chdir(data.parent)
    now = datetime.datetime(2026, 1, 1)
    assert named(TrainConfig(data=DataConfig(data="lenses")), now).data.data == str(data)
    assert named(TrainConfig(data=DataConfig(data="model_i")), now).data.data == "model_i"
    (data.parent / "model_i").mkdir()
    assert named(TrainConfig(data=DataConfig(data="./model_i")), now).data.data == str(data.parent / "model_i")


def test_a_folder_called_like_a_set_is_mentioned(tmp_path, monkeypatch, capsys):
    from deeplense.data.simulated import mention_folder

    monkeypatch.chdir(tmp_path)
    mention_folder("model_i")
    assert capsys.readouterr().err == ""
    (tmp_path / "model_i").mkdir()
    mention_folder("model_i")
    assert "is the simulated set of that name, and not the folder: give ./model_i" in capsys.readouterr().err


def test_a_folder_of_comparisons_is_no_run(run):
    from deeplense.evaluation.scored import without_comparisons

    (run.parent / "comparison").mkdir()
    config = parse(EvaluateConfig, [str(path) for path in sorted(run.parent.iterdir())], "")
    assert without_comparisons(config).runs == (run,)


def test_a_copy_of_a_run_is_no_second_seed():
    from deeplense.classification.comparison import SUMMARISED, _summary

    scores = dict.fromkeys(SUMMARISED, 0.9)
    runs = [{"run": name, "recipe": 0, "seed": seed, **scores} for name, seed in (("a", 0), ("copy", 0), ("b", 1))]
    runs[2]["roc_auc"] = 0.8
    summary = _summary(0, runs)
    assert (summary["runs"], summary["seeds"], summary["copies"]) == (["a", "b"], [0, 1], ["copy"])


def test_a_run_is_exported_without_its_images(run, data, tmp_path, capsys):
    from deeplense.export.write import export

    config = json.loads((run / "config.json").read_text())
    config["data"]["data"] = str(tmp_path / "gone")
    (run / "config.json").write_text(json.dumps(config))
    exported = export(run, "torch", tmp_path / "a.pt2")
    assert exported.shape == (1, 40, 40)
    assert exported.difference < 1e-4
    assert "checked on made-up images" in capsys.readouterr().err


def test_a_locale_that_knows_no_utf_8(run, others):
    (others / "sub" / "0000.png").rename(others / "sub" / "größe.png")
    code = "import deeplense, sys; print(*deeplense.load(sys.argv[1]).predict(sys.argv[2]).paths)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONIOENCODING"] = "ascii:backslashreplace"
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), str(others)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "gr" in done.stdout
