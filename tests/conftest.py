"""Small sets of images, a cache of their own, and the commands as a user would start them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

ROOT = Path(__file__).parent.parent

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    # Tests that run side by side share the cores, also those of the processes that they start; before torch is there.
    share = str(max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))
    os.environ |= {"OMP_NUM_THREADS": share, "LOKY_MAX_CPU_COUNT": share}


def pytest_configure(config: pytest.Config) -> None:
    """Tests take place on the CPU, also where there is a GPU: several at a time would share it, and some compare bytes,
    which a GPU does not repeat. `-m gpu` asks for those that are meant for it; before torch is there.

    Nothing is compiled but by tests that ask for the `compiler`, which takes a minute where their images take seconds.
    """
    if not re.search(r"(?<!not )\bgpu\b", config.option.markexpr):
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TORCH_COMPILE_DISABLE": "1"}


LONGEST = ("test_slurm.py", "test_train.py", "test_loop.py", "test_evaluate.py", "test_seam.py")
"""Files that take minutes; they come first, or one worker would be left alone with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)  # stable


@pytest.fixture(autouse=True, scope="session")
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the user's cache, account or network."""
    os.environ |= {
        "DEEPLENSE_CACHE": str(tmp_path_factory.mktemp("cache")),
        "TORCH_HOME": str(tmp_path_factory.mktemp("torch")),
        "WANDB_MODE": "offline",
    }
    for name in ("WANDB_API_KEY", "ACCELERATE_MIXED_PRECISION"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _alone_again() -> Iterator[None]:
    """Accelerate keeps its state for the life of a process, and runs set variables and listen to signals; a test is a
    run of its own."""
    before = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    os.environ.clear()
    os.environ.update(before)
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def figures() -> None:
    """Figures as users have them, see `_sketches`."""


@pytest.fixture(autouse=True)
def _sketches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """To lay out and paint its figures takes longer than all else of an evaluation: but for tests that ask for the
    `figures`, for processes that tests start, and for fixtures that several tests share, they are empty pictures."""
    if "figures" not in request.fixturenames and find_spec("matplotlib"):  # tests for a GPU do without
        from matplotlib.figure import Figure

        monkeypatch.setattr(Figure, "savefig", lambda self, file: Image.new("RGB", (8, 8)).save(file))


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile as users have it, here and in processes that the test starts."""
    import torch._dynamo

    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "0")
    torch._dynamo.reset()
    with torch._dynamo.config.patch(disable=False):
        yield
    torch._dynamo.reset()


def lens_image(random: np.random.Generator, substructure: bool, size: int = 40) -> np.ndarray:
    """(size, size) uint8: a noisy ring, with a bright spot on it if there is substructure. Easy on purpose."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    ring = np.exp(-((np.hypot(x, y) - size / 4) ** 2) / 6)
    if substructure:
        angle = random.uniform(0, 2 * np.pi)
        center_x, center_y = size / 4 * np.cos(angle), size / 4 * np.sin(angle)
        ring = ring + 2 * np.exp(-((x - center_x) ** 2 + (y - center_y) ** 2) / 4)
    noisy = ring + random.normal(0, 0.1, ring.shape)
    return np.clip(noisy * 80 + 20, 0, 255).astype(np.uint8)


def write_lenses(
    folder: Path, each: int, classes: tuple[str, ...] = ("no_sub", "sub"), seed: int = 0, suffix: str = ".png"
) -> Path:
    """Class folders with `each` images a class; all but the first class have substructure."""
    random = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            image = lens_image(random, substructure=label > 0)
            if suffix == ".npy":
                np.save(folder / name / f"{index:04d}.npy", image / 255.0)
            else:
                Image.fromarray(image).save(folder / name / f"{index:04d}{suffix}")
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all the workers, for what none of them changes; whoever makes something there holds its lock."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"


@pytest.fixture(scope="session")
def lenses(shared: Path) -> Path:
    """120 + 120 easy images."""
    with FileLock(f"{shared}-lenses.lock"):
        if not (shared / "lenses").exists():
            write_lenses(shared / "part", 120).rename(shared / "lenses")
    return shared / "lenses"


def run_python(*arguments: object, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in the project's folder, as a user does."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


SMALL = (
    "--init", "random", "--image-size", "32", "--batch-size", "16", "--epochs", "2", "--lr", "1e-3",
    "--mixed-precision", "no", "--wandb", "disabled",
)  # fmt: skip
"""Flags of a run that takes seconds."""

HEEDED = ("--stretch", "log", "--standardize", "--crop", "0.9", "--label-smoothing", "0.05")
"""Flags of `trained` that what comes after training has to heed."""


def train(*flags: object) -> None:
    """`train.py FLAGS` in this process: for tests of what does not need one of its own, with its seconds of imports."""
    import train as script
    from configs import DESCRIPTIONS, PRESETS
    from deeplense.cli import parse_training

    script.main(parse_training([str(flag) for flag in flags], PRESETS, DESCRIPTIONS))


@pytest.fixture(scope="session")
def trained(shared: Path, lenses: Path) -> Path:
    """A finished run on `lenses`, with W&B offline, and with `HEEDED`."""
    with FileLock(f"{shared}-runs.lock"):
        if not (shared / "runs" / "trained" / "summary.json").exists():
            done = run_python(
                "-m", "accelerate.commands.launch", "train.py", "debug", *SMALL, "--wandb", "offline", "--epochs", "4",
                *HEEDED, "--data", lenses, "--output-dir", shared / "runs", "--name", "trained", "--overwrite",
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
    return shared / "runs" / "trained"
