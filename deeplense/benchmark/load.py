"""How fast a folder of images becomes tensors, beside the loaders that people use.

Every image of the folder, once, unaugmented, at the size that it has. Ours decodes into its cache, hashes included, so
it is measured with an empty cache and again with a full one; the others decode in every epoch. All take turns.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplense.benchmark.measuring import Benchmark, about, heading, image_folder, rates, shown


@dataclass(frozen=True)
class Load(Benchmark):
    """Time the decoding of a folder of images, beside the loaders that people use."""

    data: str | None = None
    """A folder of class folders of images that PIL opens; none: 2,000 simulated ones, written as JPEG."""
    batch_size: int = 128
    """Images in a batch, of the loaders that have one."""


def show(result: dict[str, Any]) -> None:
    """Print `result` for a reader."""
    print(heading(result))
    print(f"{result['images']:,} images, {result['settings']['rounds']} rounds")
    ours = result["results"]["deeplense"]["images_per_second"]["median"]
    for name, one in result["results"].items():
        rate = one["images_per_second"]
        against = "" if name.startswith("deeplense") else f"; deeplense {ours / rate['median']:.2f} times as fast"
        print(f"{name:16}{shown(rate)} images/s{against}\n{'':16}{one['what']}")


def measure(wanted: Load) -> dict[str, Any]:
    """Images a second of each way to load, by name."""
    import joblib
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    with image_folder(wanted.data) as folder, tempfile.TemporaryDirectory() as cache, _cache(cache):
        cores = joblib.cpu_count()
        plain = ImageFolder(str(folder), transforms.Compose([transforms.Grayscale(), transforms.ToTensor()]))
        ways: dict[str, tuple[str, Callable[[], int]]] = {
            "deeplense": (
                f"decoded and hashed in {cores} processes, written to the cache, as one tensor",
                lambda: _ours(folder, Path(cache), empty=True),
            ),
            "deeplense again": ("from the cache", lambda: _ours(folder, Path(cache), empty=False)),
            "report": (
                "ImageFolder, PIL, DataLoader as it comes",
                lambda: _drain(DataLoader(plain, wanted.batch_size)),
            ),
            "tuned": (
                f"the same with {cores} workers, their start included",
                lambda: _drain(DataLoader(plain, wanted.batch_size, num_workers=cores)),
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(wanted.rounds + 1):
            for name, (_, load) in ways.items():
                start = time.perf_counter()
                count = load()
                assert count == len(plain), f"{name} gave {count} images of {len(plain)}"
                if turn:  # the first one warms the disk's cache up
                    seconds[name].append(time.perf_counter() - start)
    return about(wanted, "cpu", "torch", "torchvision", "pillow") | {
        "images": len(plain),
        "results": {
            name: {"what": what, "images_per_second": rates(len(plain), seconds[name])}
            for name, (what, _) in ways.items()
        },
    }


def _ours(folder: Path, cache: Path, empty: bool) -> int:
    import torch

    from deeplense.config import DataConfig
    from deeplense.data.batches import PixelStore
    from deeplense.data.images import load_images

    if empty:
        for kept in cache.iterdir():
            shutil.rmtree(kept)
    store = PixelStore(load_images(str(folder)), DataConfig(data=str(folder), placement="device"), torch.device("cpu"))
    assert store.on_device is not None
    return sum(map(len, store.on_device))


def _drain(batches: Iterable[Any]) -> int:
    return sum(len(images) for images, _ in batches)


@contextmanager
def _cache(folder: str) -> Iterator[None]:
    """With `folder` for the cache, and the user's left alone."""
    before = os.environ.get("DEEPLENSE_CACHE")
    os.environ["DEEPLENSE_CACHE"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["DEEPLENSE_CACHE"]
        else:
            os.environ["DEEPLENSE_CACHE"] = before
