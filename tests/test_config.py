import dataclasses
import json
import subprocess
import sys

import pytest
from conftest import ROOT, run_python
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import DESCRIPTIONS, PRESETS
from deeplense.cli import flat, load_config, parse_training, save_config
from deeplense.config import OptimizationConfig, SplitConfig, TrainConfig
from deeplense.errors import InputError


def parsed(*arguments: str) -> TrainConfig:
    return parse_training(arguments, PRESETS, DESCRIPTIONS)


def test_no_preset_is_the_report():
    assert parsed() == PRESETS["report"]
    assert parsed("--lr", "1e-3").optimization == OptimizationConfig(lr=1e-3)


def test_flags_after_a_preset_win():
    config = parsed("debug", "--epochs", "7", "--no-flips")
    assert (config.preset, config.optimization.epochs, config.augment.flips) == ("debug", 7, False)
    assert config.data == PRESETS["debug"].data


def test_flags_are_flat_and_none_stands_twice():
    names = [
        field.name
        for part in dataclasses.fields(TrainConfig)
        if dataclasses.is_dataclass(part.default)
        for field in dataclasses.fields(part.default)
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_a_description_and_survive_a_file(preset, tmp_path):
    assert DESCRIPTIONS[preset].endswith(".")
    save_config(PRESETS[preset], tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == PRESETS[preset]


@settings(deadline=None)
@given(
    lr=st.floats(1e-12, 1e6),
    epochs=st.integers(1, 10**6),
    clip=st.none() | st.floats(1e-6, 1e6),
    name=st.none() | st.text("abc.-_ é", min_size=3, max_size=20),
)
def test_a_saved_configuration_is_read_back_equal(tmp_path_factory, lr, epochs, clip, name):
    file = tmp_path_factory.mktemp("config") / "config.json"
    base = PRESETS["report"]
    config = dataclasses.replace(
        base,
        optimization=dataclasses.replace(base.optimization, lr=lr, epochs=epochs, clip_norm=clip),
        run=dataclasses.replace(base.run, name=name),
    )
    save_config(config, file)
    assert load_config(file) == config


def test_config_file_and_flags_after_it(tmp_path):
    save_config(parsed("debug", "--lr", "0.5"), tmp_path / "config.json")
    config = parsed("--config", str(tmp_path / "config.json"), "--epochs", "9")
    assert (config.preset, config.optimization.lr, config.optimization.epochs) == ("debug", 0.5, 9)
    assert parsed(f"--config={tmp_path / 'config.json'}") == parsed("debug", "--lr", "0.5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "-1"], "--lr -1.0: give a learning rate above 0"),
        (["--crop", "0"], "--crop 0.0: give the part of a side to keep, above 0 up to 1"),
        (["--lr", "nan"], "--lr nan: give a learning rate above 0"),
        (["--lr", "abc"], "--lr"),
        (["--bogus", "1"], "--bogus"),
        (["reprot"], f"Available subcommands: {', '.join(PRESETS)}"),
        (["--val-fraction", "0.5", "--test-fraction", "0.5"], "leave no images to train on"),
        (["--val-fraction", "-0.1"], "--val-fraction -0.1"),
        (["--val-fraction", "0", "--patience", "3"], "--patience 3 needs validation images"),
        (["--patience", "0"], "--patience 0"),
        (["--epochs", "0"], "--epochs 0"),
        (["--batch-size", "1"], "--batch-size 1"),
        (["--batch-size", "10", "--grad-accum", "3"], "--grad-accum 3 does not divide --batch-size 10"),
        (["--ema-decay", "1"], "--ema-decay 1.0"),
        (["--label-smoothing", "1"], "--label-smoothing 1.0: give a part from 0"),
        (["--clip-norm", "0"], "--clip-norm 0.0"),
        (["--rotation", "270"], "--rotation 270.0"),
        (["--image-size", "4"], "--image-size 4"),
        (["--name", "a/b"], "--name a/b"),
        (["--resume", "--overwrite", "--name", "a"], "--resume and --overwrite exclude each other"),
        (["--resume"], "--resume: which run? give its --name as well"),
        (["--batch-size", "8", "--grad-accum", "8"], "leaves parts of one image"),
        (["--schedule", "onecycle", "--warmup-epochs", "1"], "--warmup-epochs"),
        (["--optimizer", "rmsprop"], "--optimizer"),
        (["--config", "no/such/file"], "no/such/file: cannot be read"),
        (["--config"], "--config needs a value"),
    ],
)
def test_nonsense_is_refused_by_name(arguments, message):
    with pytest.raises(InputError) as refusal:
        parsed(*arguments)
    assert message in str(refusal.value)
    assert "│" not in str(refusal.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"lr": 1}', '{"split": {"val_fraction": "a"}}'])
def test_a_damaged_configuration_is_named(content, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(InputError, match="is damaged or not a configuration") as refusal:
        load_config(file)
    assert str(file) in str(refusal.value)


def test_a_saved_file_with_refused_settings_is_refused(tmp_path):
    file = tmp_path / "config.json"
    save_config(TrainConfig(split=SplitConfig()), file)
    content = json.loads(file.read_text())
    content["split"]["val_fraction"] = 2.0
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"--val-fraction 2\.0"):
        load_config(file)


def test_flat_has_every_flag():
    settings = flat(TrainConfig())
    assert settings["lr"] == 1e-4
    assert not any(isinstance(value, dict) for value in settings.values())


@pytest.mark.parametrize(
    "command", [("train.py",), ("evaluate.py",), ("-m", "deeplense.simulation"), ("-m", "deeplense.benchmark")]
)
def test_help_waits_for_no_heavy_library(command):
    done = run_python("-X", "importtime", *command, "--help")
    assert done.returncode == 0
    assert "usage: " in done.stdout
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "tyro" in imported
    assert not imported & {"torch", "torchvision", "accelerate", "sklearn", "scipy", "matplotlib", "wandb"}


def test_one_line_and_exit_code_2():
    done = run_python("train.py", "--lr", "-1")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: --lr -1.0: give a learning rate above 0\n")


def test_a_reader_that_goes_is_no_error():
    """`train.py --help | head -1`."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} train.py --help | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("usage: ")
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # whether it has written all before head goes is a race


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "auto"),
        (["--compile"], True),
        (["--compile", "--lr", "1e-3"], True),
        (["--compile=True"], True),  # as W&B's sweeps pass it
        (["--no-compile"], False),
        (["--compile", "auto"], "auto"),
    ],
)
def test_compile_is_a_flag_with_a_third_value(flags, expected):
    assert parse_training(["report", *flags], PRESETS, DESCRIPTIONS).compute.compile == expected
