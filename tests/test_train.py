import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import HEEDED, SMALL, run_python, train, write_lenses
from PIL import Image
from safetensors.torch import load_file

import evaluate
from deeplense.cli import load_config, parse
from deeplense.config import EvaluateConfig
from deeplense.errors import InputError
from deeplense.machine.precision import cpu_has_bf16


def refused(*arguments):
    """What `train.py` says to bad input, in this process."""
    with pytest.raises(InputError) as refusal:
        train(*arguments)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def lines_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_run_folder_is_as_promised(trained):
    config = load_config(trained / "config.json")
    assert (config.preset, config.run.name, config.optimization.lr) == ("debug", "trained", 1e-3)
    record = json.loads((trained / "record.json").read_text())
    (session,) = record["sessions"]
    assert len(record["data_sha256"]) == 64
    assert session["outcome"] == "done"
    assert session["started"] <= session["ended"]
    assert session["command"][:2] == ["train.py", "debug"]
    assert (session["world_size"], session["effective_precision"]) == (1, "no")
    assert session["effective_initialization"] == "random"
    assert {"torch", "accelerate", "numpy", "deeplense"} <= set(session["versions"])
    rows = list(csv.DictReader((trained / "split.csv").open()))
    assert [sum(row["split"] == part for row in rows) for part in ("train", "val", "test")] == [168, 24, 48]
    training = [line for line in lines_of(trained) if "train_loss" in line]
    validation = [line for line in lines_of(trained) if "val_loss" in line]
    assert {"step", "epoch", "train_loss", "lr", "images_per_second"} == set(training[0])
    assert {"step", "epoch", "val_roc_auc", "val_loss"} <= set(validation[0])
    assert [line["epoch"] for line in validation] == [1, 2, 3, 4]
    assert [line["step"] for line in validation] == [10, 20, 30, 40]
    card = json.loads((trained / "best" / "model.json").read_text())
    assert (card["classes"], card["image_size"], card["channels"]) == (["no_sub", "sub"], 32, 1)
    weights = load_file(trained / "best" / "model.safetensors")
    assert weights["conv1.weight"].shape == (64, 1, 7, 7)
    assert all(not name.startswith(("module.", "_orig_mod.")) for name in weights)
    steps = sorted(path.name for path in (trained / "checkpoints").iterdir())
    assert steps == ["step_00000030", "step_00000040"]


def test_the_summary_is_honest(trained):
    summary = json.loads((trained / "summary.json").read_text())
    best = max(
        (line for line in lines_of(trained) if "val_loss" in line), key=lambda x: (x["val_roc_auc"], -x["val_loss"])
    )
    assert summary["best_epoch"] == best["epoch"]
    assert summary["val_roc_auc"] == best["val_roc_auc"]
    assert summary["epochs"] == 4
    assert summary["images_per_second"] > 0
    assert summary["test"]["n"] == 48
    written = json.loads((trained / "evaluation" / "test" / "metrics.json").read_text())
    assert {name: written[name] for name in summary["test"]} == summary["test"]
    parts = {row["path"]: row["split"] for row in csv.DictReader((trained / "split.csv").open())}
    predictions = list(csv.DictReader((trained / "evaluation" / "test" / "predictions.csv").open()))
    assert {parts[row["path"]] for row in predictions} == {"test"}
    assert all(row["label"] == row["path"].split("/")[0] for row in predictions)
    wrong = sum(row["label"] != row["predicted"] for row in predictions)
    assert wrong == summary["test"]["errors"]


def test_figures_are_pictures(trained):
    names = ["figures/samples", "figures/first_batch", "figures/curves"]
    names += [f"evaluation/test/{name}" for name in ("roc", "precision_recall", "confusion", "scores")]
    for name in names:
        with Image.open(trained / f"{name}.png") as picture:
            assert min(picture.size) > 200
            assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_it_learns_the_easy_images(lenses, tmp_path):
    """And the same command a second time, from its own folder, gives the same weights."""
    train(
        "--data", lenses, "--output-dir", tmp_path, *SMALL, "--epochs", 6, "--schedule", "onecycle", "--name", "first"
    )
    first = tmp_path / "first"
    assert json.loads((first / "summary.json").read_text())["test"]["roc_auc"] > 0.9
    again = run_python("train.py", "--config", first / "config.json", "--name", "again")
    assert again.returncode == 0, again.stderr
    for name in ("best/model.safetensors", "split.csv", "evaluation/test/predictions.csv"):
        assert (first / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_what_is_derived_is_printed(lenses, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    train("debug", *SMALL, "--init", "auto", "--epochs", "1", "--data", lenses, "--output-dir", tmp_path)
    told = capsys.readouterr()
    for text in ("84 no_sub, 84 sub", "16 = 1 process(es)", "10 an epoch", "11,170,753 parameters", "precision no"):
        assert text in told.out
    assert "NO IMAGENET WEIGHTS" in told.err
    (run,) = (path for path in tmp_path.iterdir() if (path / "config.json").exists())
    assert re.fullmatch(r"debug-\d{8}-\d{6}", run.name)
    (session,) = json.loads((run / "record.json").read_text())["sessions"]
    assert "NO IMAGENET WEIGHTS" in session["initialization_warning"]
    assert not list(run.glob("wandb*"))  # disabled


def test_an_existing_run_is_never_written_over(trained, lenses):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    place = ("--data", lenses, "--output-dir", trained.parent, "--name", "trained")
    flags = ("debug", *SMALL, "--epochs", "4", *HEEDED, *place)
    message = refused(*flags)
    assert f"{trained} holds a run already" in message
    assert "--resume" in message
    assert "--overwrite" in message
    assert "--lr is 0.002, but 0.001 in" in refused(*flags, "--resume", "--lr", "2e-3")
    assert "--seed is 5, but 0 in" in refused(*flags, "--resume", "--seed", "5")
    done = run_python("train.py", *flags, "--resume")
    assert (done.returncode, done.stdout) == (0, f"{trained} is complete: nothing to do\n")
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_finished_run_of_constant_rate_can_go_on(lenses, tmp_path):
    """Two epochs, or one and then one more: the same bits."""
    place = ("debug", *SMALL, "--data", lenses, "--output-dir", tmp_path)
    whole, longer = (tmp_path / name for name in ("whole", "longer"))
    for name, epochs, *more in (("whole", 2), ("longer", 1), ("longer", 2, "--resume")):
        done = run_python("train.py", *place, "--name", name, "--epochs", epochs, *more)
        assert done.returncode == 0, done.stderr
    for file in ("best/model.safetensors", "evaluation/test/predictions.csv", "config.json"):
        own = (longer / file).read_bytes()
        assert own.replace(b'"longer"', b'"whole"') == (whole / file).read_bytes()
    assert json.loads((longer / "summary.json").read_text())["epochs"] == 2
    assert "--epochs is 1, but 2 in" in refused(*place, "--name", "longer", "--epochs", 1, "--resume")


@pytest.mark.parametrize(
    ("section", "settings", "flag"),
    [
        ("optimization", {"schedule": "cosine"}, "--schedule cosine"),
        ("simulation", {"online": True, "crowd": 4.0}, "--crowd or --first-set"),
    ],
)
def test_what_depends_on_the_end_cannot_go_on(trained, tmp_path, section, settings, flag):
    run = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config[section] |= settings
    (run / "config.json").write_text(json.dumps(config))
    flags = ("--config", run / "config.json", "--resume", "--epochs", "9", "--output-dir", tmp_path, "--name", "run")
    message = refused(*flags)
    assert "--epochs is 9, but 4 in" in message
    assert f"with {flag} each step depends" in message
    assert message.endswith(f"start anew, with --init {run / 'best' / 'model.safetensors'}")


def test_a_folder_that_is_no_run_is_left_alone(lenses, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    flags = ("debug", *SMALL, "--data", lenses, "--output-dir", tmp_path, "--name", "mine")
    for more in ((), ("--overwrite",), ("--resume",)):
        assert "exists and holds no run" in refused(*flags, *more)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_overwriting_starts_afresh(trained, lenses, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    flags = ("debug", *SMALL, "--epochs", "1", "--data", lenses, "--output-dir", tmp_path, "--name", "run")
    train(*flags, "--overwrite", "--seed", "1")
    assert load_config(tmp_path / "run" / "config.json").run.seed == 1
    assert not load_config(tmp_path / "run" / "config.json").run.overwrite
    assert len(json.loads((tmp_path / "run" / "record.json").read_text())["sessions"]) == 1


def test_resume_with_a_damaged_configuration(trained, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text((trained / "config.json").read_text()[:100])
    message = refused("debug", "--output-dir", tmp_path, "--name", "run", "--resume")
    assert f"{tmp_path / 'run' / 'config.json'} is damaged" in message


def test_bad_input_writes_nothing(lenses, tmp_path):
    out = tmp_path / "runs"
    few = write_lenses(tmp_path / "few", 3)
    flags = ("debug", *SMALL, "--output-dir", out, "--name", "run")
    assert "there is no such folder" in refused(*flags, "--data", tmp_path / "none")
    assert "too few" in refused(*flags, "--data", few)
    assert "--batch-size 512 is more than the 168 training images" in refused(
        *flags, "--data", lenses, "--batch-size", "512"
    )
    assert "there is no such file" in refused(*flags, "--data", lenses, "--init", tmp_path / "none.pth")
    assert "model_x: there is no such folder" in refused(*flags, "--data", "model_x")
    assert "--online: --data" in refused(*flags, "--data", lenses, "--online")
    assert "--classes wdm: unknown" in refused(*flags, "--data", "model_i", "--classes", "no_sub", "wdm")
    floats = write_lenses(tmp_path / "floats", 60, suffix=".npy")
    for file in floats.rglob("*.npy"):
        np.save(file, np.load(file) * 300)
    assert "--normalize range: images 0 to 120 have values" in refused(*flags, "--data", floats, "--normalize", "range")
    assert not out.exists()


def test_an_output_folder_that_cannot_be_written(lenses, tmp_path):
    (tmp_path / "file").touch()
    message = refused("debug", *SMALL, "--data", lenses, "--output-dir", tmp_path / "file", "--name", "run")
    assert message.startswith(f"--output-dir: {tmp_path / 'file' / 'run'} cannot be written")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has fp16")
def test_fp16_is_refused_where_there_is_none(lenses, tmp_path):
    flags = ("debug", *SMALL, "--data", lenses, "--output-dir", tmp_path, "--name", "run")
    asked = run_python("train.py", *flags, "--mixed-precision", "fp16")
    assert asked.returncode == 2
    assert (
        asked.stderr == "error: --mixed-precision fp16: a CPU has no fp16 training; give --mixed-precision bf16 or no\n"
    )
    launched = run_python("train.py", *flags, "--mixed-precision", "auto", ACCELERATE_MIXED_PRECISION="fp16")
    assert launched.returncode == 2
    assert "the launcher's mixed precision fp16" in launched.stderr


def test_auto_precision_is_recorded(lenses, tmp_path):
    flags = ("debug", *SMALL, "--data", lenses, "--output-dir", tmp_path, "--name", "run", "--epochs", "1")
    train(*flags, "--mixed-precision", "auto")
    (session,) = json.loads((tmp_path / "run" / "record.json").read_text())["sessions"]
    assert session["effective_precision"] == ("bf16" if cpu_has_bf16() else "no")


def test_three_classes(tmp_path):
    folder = write_lenses(tmp_path / "set", 40, classes=("no", "sphere", "vort"), suffix=".npy")
    train(*SMALL, "--data", folder, "--output-dir", tmp_path, "--name", "run", "--epochs", "1")
    scores = json.loads((tmp_path / "run" / "evaluation" / "test" / "metrics.json").read_text())
    assert scores["classes"] == ["no", "sphere", "vort"]
    assert set(scores["roc_auc_per_class"]) == {"no", "sphere", "vort"}
    assert np.shape(scores["confusion_matrix"]) == (3, 3)
    header = (tmp_path / "run" / "evaluation" / "test" / "predictions.csv").read_text().splitlines()[0]
    assert header == "path,label,predicted,p_no,p_sphere,p_vort,familiarity"
    card = json.loads((tmp_path / "run" / "best" / "model.json").read_text())
    assert card["temperature"] == scores["calibration"]["temperature"] > 0
    assert (card["threshold"], card["threshold_from"]) == (None, "the likeliest class")


def test_without_validation_the_last_weights_are_kept(lenses, tmp_path):
    flags = ("--data", lenses, "--output-dir", tmp_path, "--name", "run", "--val-fraction", "0", "--test-fraction", "0")
    train(*SMALL, *flags, "--epochs", "1")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["best_epoch"], summary["val_roc_auc"], summary["test"]) == (1, None, None)
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()
    card = json.loads((tmp_path / "run" / "best" / "model.json").read_text())
    assert (card["temperature"], card["threshold"], card["threshold_from"]) == (None, None, None)


def test_a_run_that_nobody_has_watched_and_that_diverged_says_so(lenses, tmp_path):
    flags = ("--data", lenses, "--output-dir", tmp_path, "--name", "run", "--val-fraction", "0", "--epochs", "2")
    done = run_python("train.py", *SMALL, *flags, "--optimizer", "sgd", "--lr", "1e30")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "train again with a lower --lr" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow  # `test_capture.py` has the same of a compiler that fails
def test_a_compiler_that_is_missing_is_said_and_done_without(lenses, tmp_path, compiler):
    flags = ("--data", lenses, "--output-dir", tmp_path, "--name", "run", "--epochs", "1", "--compile")
    done = run_python("train.py", *SMALL, *flags, CXX="/no/such/compiler", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "i"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: --compile has no effect, training runs eagerly") == 1
    (session,) = json.loads((tmp_path / "run" / "record.json").read_text())["sessions"]
    assert session["effective_compile"] is False
    assert [remark.split(":")[0] for remark in session["remarks"]] == ["--compile has no effect, training runs eagerly"]


def test_simulated_images_are_made_on_first_use_and_online(tmp_path, capsys):
    flags = ("--data", "model_i", "--count", "90", "--output-dir", tmp_path, "--name", "online", "--epochs", "1")
    train(*SMALL, *flags, "--online", "--epoch-images", "64")
    assert "64 fresh ones an epoch" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "online" / "split.csv").open()))
    assert {row["split"] for row in rows} == {"val", "test"}
    assert len(rows) == 27
    evaluate.main(parse(EvaluateConfig, [str(tmp_path / "online"), "--data", "model_i", "--count", "40"], ""))
    assert json.loads((tmp_path / "online" / "evaluation" / "model_i" / "metrics.json").read_text())["n"] == 40
