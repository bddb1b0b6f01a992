"""What of launch/ can be tried without a cluster. For the SLURM scripts themselves see test_slurm.py."""

import itertools
import shutil
import subprocess
import sys

import pytest
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from conftest import ROOT, run_python
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from configs import DESCRIPTIONS, PRESETS
from deeplense.cli import flat, parse_training

NODES = ("--num_machines", "2", "--machine_rank", "1", "--main_process_ip", "n1")


@pytest.mark.parametrize(
    ("name", "flags", "processes", "machines", "gpus", "cpu"),
    [
        ("cpu", (), 1, 1, False, True),
        ("one_gpu", (), 1, 1, False, False),
        ("several_gpus", ("--num_processes", "4"), 4, 1, True, False),
        ("several_nodes", (*NODES, "--num_processes", "2"), 2, 2, True, False),
    ],
)
def test_accelerate_takes_the_configurations(name, flags, processes, machines, gpus, cpu, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = ["--config_file", str(ROOT / "launch" / f"{name}.yaml"), *flags, "train.py"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    assert (arguments.num_processes, arguments.num_machines, arguments.mixed_precision) == (processes, machines, "no")
    assert (arguments.multi_gpu, arguments.use_cpu) == (gpus, cpu)
    if machines > 1:
        assert (arguments.machine_rank, arguments.main_process_ip, arguments.main_process_port) == (1, "n1", 29500)


@pytest.mark.parametrize("name", ["several_gpus", "several_nodes"])
def test_the_number_of_gpus_is_asked_for(name):
    command = ["--config_file", str(ROOT / "launch" / f"{name}.yaml"), "train.py"]
    with pytest.raises(ValueError, match="manually pass in `--num_processes`"):
        _validate_launch_command(launch_command_parser().parse_args(command))


def test_a_launch_with_a_configuration():
    done = run_python("-m", "accelerate.commands.launch", "--config_file", "launch/cpu.yaml", "train.py", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: train.py")


def test_every_run_of_the_sweep_is_one_that_train_py_takes(tmp_path):
    """W&B's own words for the flags, through the sweep's own shell, to our parser."""
    sweep = yaml.safe_load((ROOT / "launch" / "sweep.yaml").read_text())
    choices = {
        name: what["values"] if "values" in what else [what["min"], what["max"]]
        for name, what in sweep["parameters"].items()
    }
    program = tmp_path / "python"  # says what it was called with
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    for values in itertools.zip_longest(*choices.values()):
        settings = {
            name: own[0] if value is None else value for (name, own), value in zip(choices.items(), values, strict=True)
        }
        command = create_sweep_command(list(sweep["command"]))
        flags = create_sweep_command_args({"args": {name: {"value": value} for name, value in settings.items()}})
        words = [word for part in command for word in (flags["args"] if part == "${args}" else [part])]
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "WANDB_RUN_ID": "abc123"}
        said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
        assert said[0] == "train.py"
        config = parse_training(said[1:], PRESETS, DESCRIPTIONS)
        assert settings.items() <= flat(config).items()
        assert (config.run.name, config.run.resume) == ("sweep-abc123", True)


def test_the_scripts_are_clean():
    shellcheck = shutil.which("shellcheck", path=f"{sys.prefix}/bin") or shutil.which("shellcheck")
    assert shellcheck, "pip install -e '.[dev]' brings shellcheck"
    scripts = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "launch").glob("*.sh"))
    assert len(scripts) == 5
    done = subprocess.run([shellcheck, "-x", *scripts, ".ci/run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
