"""With a compiler and without one: the same images, and one plain warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from deeplense.machine.compiling import why_not
from deeplense.simulation.stream import ImageStream

SCRIPT = """
import sys, numpy, torch
from deeplense.simulation.stream import ImageStream
numpy.save(sys.argv[1], ImageStream("model_i", seed=4).span(0, 8)[0].numpy())
"""


def test_without_a_compiler_there_is_one_warning_and_the_same_images(tmp_path: Path) -> None:
    file = tmp_path / "images.npy"
    environment = os.environ | {
        "CXX": str(tmp_path / "c++"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
        "TORCH_COMPILE_DISABLE": "0",
    }
    call = [sys.executable, "-c", SCRIPT, str(file)]
    run = subprocess.run(call, capture_output=True, text=True, env=environment, check=True)
    assert run.stderr.count("warning: running without compilation, slower: no working compiler for cpu (") == 1
    np.testing.assert_array_equal(np.load(file), ImageStream("model_i", seed=4).span(0, 8)[0].numpy())


def test_reason_is_found_once() -> None:
    why_not("cpu")
    before = why_not.cache_info().misses
    why_not("cpu")
    assert why_not.cache_info().misses == before
    assert why_not("no such device") is not None
