"""What a GPU is told about precision; whether it heeds it, only `tests/gpu` can see."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
from conftest import SMALL, pytest_configure, run_python

from deeplense.errors import InputError
from deeplense.machine.precision import effective_precision

GPU = torch.device("cuda")


def test_bf16_counts_in_hardware_only(monkeypatch):
    """A V100 or T4 emulates it, and torch says that it is supported."""
    asked = []

    def supported(including_emulation=True):
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    with pytest.raises(InputError, match=r"--mixed-precision bf16: this GPU has no bf16; give --mixed-precision fp16"):
        effective_precision("bf16", GPU)
    assert asked == [False]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert effective_precision("bf16", GPU) == "bf16"
    assert effective_precision("auto", GPU) == "fp16"


SETTINGS = """
import sys, torch
from deeplense.machine.precision import full_float32, repeatable
full_float32()
repeatable(sys.argv[1] == "yes")
print(torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark,
      torch.are_deterministic_algorithms_enabled(), __import__("os").environ.get("CUBLAS_WORKSPACE_CONFIG"))
"""


def test_float32_is_whole_and_repeatable_if_asked_for():
    assert run_python("-c", SETTINGS, "no").stdout.split() == ["False", "False", "True", "False", "None"]
    assert run_python("-c", SETTINGS, "yes").stdout.split() == ["False", "False", "False", "True", ":4096:8"]


@pytest.mark.slow
def test_a_deterministic_run_has_the_same_bits_on_a_cpu(lenses, tmp_path):
    """It only keeps what the CPU keeps anyway; and all that a run does has a deterministic way."""
    flags = ("train.py", "debug", *SMALL, "--epochs", "1", "--data", lenses, "--output-dir", tmp_path)
    for name, more in (("as_it_comes", ()), ("asked", ("--deterministic",))):
        done = run_python(*flags, "--name", name, *more)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / name / "record.json").read_text())
        assert record["sessions"][0]["repeatable"] is True
    files = [tmp_path / name / "best" / "model.safetensors" for name in ("as_it_comes", "asked")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("expression", "visible"),
    [("not slow", ""), ("slow or faults", ""), ("not gpu", ""), ("gpu", "0"), ("slow or gpu", "0")],
)
def test_the_suite_leaves_a_gpu_alone_unless_asked(monkeypatch, expression, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    pytest_configure(SimpleNamespace(option=SimpleNamespace(markexpr=expression)))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
