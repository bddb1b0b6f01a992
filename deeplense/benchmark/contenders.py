"""Training loops that a user would write instead, on the same images, network, batch and precision as ours.

Each is asked for a number of optimiser steps, again and again, and says how long they took and how much of that it
waited for its next batch.
"""

from __future__ import annotations

import importlib.util
import itertools
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
import torch
from torchvision import transforms
from torchvision.datasets import ImageFolder

from deeplense.config import TrainConfig
from deeplense.data.images import load_images
from deeplense.data.imageset import ImageSet
from deeplense.data.split import Split
from deeplense.errors import InputError
from deeplense.evaluation.predict import predict
from deeplense.machine.precision import effective_precision
from deeplense.network.model import build_model
from deeplense.tasks import make_task
from deeplense.training import session
from deeplense.training.loop import Trainer

Batched = Iterable[tuple[torch.Tensor, torch.Tensor]]

LEARNING_RATE = 1e-4
ROTATION = 30


class Contender(Protocol):
    """A training loop that stands ready."""

    what: str
    """In a line, for the table."""

    def run(self, steps: int) -> tuple[float, float]:
        """Train for `steps` optimiser steps: seconds in all, and those of them spent on getting batches."""

    def score(self, images: int) -> float:
        """Predict that many images or more, each as it is, and have the results on the host: seconds an image."""


class Ours:
    """The training loop of this package, on images that are decoded once and live on the device."""

    what = "deeplense: images on the device, augmented there in batches"

    def __init__(self, config: TrainConfig, images: ImageSet, steps: int, folder: Path) -> None:
        """`folder` is for a run folder that nobody keeps; an epoch has `steps` steps."""
        accelerator = session.make_accelerator(config)
        task = make_task(config, images.classes)
        wanted = steps * config.optimization.batch_size
        some = np.random.default_rng(0).choice(len(images), wanted, replace=wanted > len(images))
        nobody = np.empty(0, np.int64)
        store, batches = session.make_batches(accelerator, config, task, images, Split(some, nobody, nobody))
        network = task.network()
        session.prepare_network(accelerator, network, config)
        way = session.way_of(accelerator, config, batches)
        self.batches = _Timed(batches)
        own: Any = self.batches
        self.trainer = Trainer(config, accelerator, task, network, store, own, images, nobody, folder, way)
        self.steps = steps
        self.images = len(images)

    def run(self, steps: int) -> tuple[float, float]:
        assert steps == self.steps
        _wait()
        start = time.perf_counter()
        self.trainer.train_epoch()
        _wait()
        self.trainer.position.epoch += 1
        self.trainer.position.batch = 0
        return time.perf_counter() - start, self.batches.waited()

    def score(self, images: int) -> float:
        wanted = np.resize(np.arange(self.images), images)
        trainer = self.trainer
        start = time.perf_counter()
        predict(trainer.learner.plain, trainer.store, wanted, precision=trainer.accelerator.autocast).cpu()
        return (time.perf_counter() - start) / images


def our_loop(config: TrainConfig, steps: int) -> Ours:
    """Ours, on the images that `config` names."""
    return Ours(config, load_images(config.data.data), steps, Path(config.run.output_dir))


class _Timed:
    """Batches, with the time that getting them takes; of what is compiled or captured, that of the stored pixels."""

    def __init__(self, batches: session.Batches) -> None:
        self.batches = batches
        self.seconds = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self.batches, name)

    def raw(self, epoch: int, start: int = 0) -> Iterator[Any]:
        items = self.batches.raw(epoch, start)
        while True:
            since = time.perf_counter()
            item = next(items, None)
            self.seconds += time.perf_counter() - since
            if item is None:
                return
            yield item

    def seen(self, *item: Any) -> tuple[torch.Tensor, Any]:
        if torch.compiler.is_compiling():
            return self.batches.seen(*item)
        since = time.perf_counter()
        batch = self.batches.seen(*item)
        self.seconds += time.perf_counter() - since
        return batch

    def waited(self) -> float:
        """Seconds since this was last asked."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


class Plain:
    """The loop of a tutorial around a loader: autocast, gradient scaler, Adam."""

    def __init__(
        self,
        what: str,
        config: TrainConfig,
        loader: Batched,
        plain_loader: Batched,
        channels_last: bool,
    ) -> None:
        """`loader` gives augmented batches, `plain_loader` those that are scored."""
        self.what = what
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = build_model(2, 1).to(device=self.device, memory_format=self.layout)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.precision = effective_precision(config.compute.mixed_precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.batches = itertools.chain.from_iterable(loader for _ in itertools.count())
        self.scored = itertools.chain.from_iterable(plain_loader for _ in itertools.count())

    def run(self, steps: int) -> tuple[float, float]:
        self.model.train()
        waited = 0.0
        _wait()
        start = time.perf_counter()
        for _ in range(steps):
            since = time.perf_counter()
            images, labels = next(self.batches)
            waited += time.perf_counter() - since
            images = images.to(self.device, non_blocking=True, memory_format=self.layout)
            labels = labels.to(self.device, non_blocking=True)
            self.optimizer.zero_grad()
            with self._autocast():
                logits = self.model(images)[:, 0]
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        _wait()
        return time.perf_counter() - start, waited

    @torch.no_grad()
    def score(self, images: int) -> float:
        self.model.eval()
        scores: list[np.ndarray] = []
        start = time.perf_counter()
        while sum(map(len, scores)) < images:
            batch, _ = next(self.scored)
            batch = batch.to(self.device, non_blocking=True, memory_format=self.layout)
            with self._autocast():
                logits = self.model(batch)[:, 0]
            scores.append(logits.float().sigmoid().cpu().numpy())
        return (time.perf_counter() - start) / sum(map(len, scores))

    def _autocast(self) -> AbstractContextManager[None]:
        kinds = {"fp16": torch.float16, "bf16": torch.bfloat16}
        if self.precision == "no":
            return nullcontext()
        return torch.autocast(self.device.type, kinds[self.precision])


def report_loop(config: TrainConfig) -> Plain:
    """(a) The report's own way: `ImageFolder`, PIL transforms, a `DataLoader` as it comes."""
    what = "the report's way: ImageFolder, PIL transforms, DataLoader, AMP"
    return Plain(what, config, *_loaders(config), channels_last=False)


def tuned_loop(config: TrainConfig) -> Plain:
    """(b) The same with as many workers as there are cores, pinned memory and channels-last."""
    workers = joblib.cpu_count()
    loaders = _loaders(config, num_workers=workers, persistent_workers=True, pin_memory=torch.cuda.is_available())
    return Plain(f"the same with {workers} workers, pinned memory, channels-last", config, *loaders, channels_last=True)


def timm_loop(config: TrainConfig) -> Plain:
    """(c) timm's data set, loader and prefetcher, and its way of a step."""
    from timm.data import ImageDataset, create_loader

    cuda, workers = torch.cuda.is_available(), joblib.cpu_count()
    size = config.data.image_size
    common: dict[str, Any] = {
        "dataset": ImageDataset(config.data.data, input_img_mode="L"),
        "input_size": (1, size, size),
        "batch_size": config.optimization.batch_size,
        "mean": (0.5,),
        "std": (0.5,),
        "num_workers": workers,
        "pin_memory": cuda,
        "use_prefetcher": cuda,
        "device": torch.device("cuda" if cuda else "cpu"),
        "persistent_workers": True,
    }
    augmentation: dict[str, Any] = {
        "scale": (1.0, 1.0),
        "ratio": (1.0, 1.0),
        "hflip": 0.5,
        "vflip": 0.5,
        "color_jitter": 0.0,
    }
    loader = create_loader(is_training=True, auto_augment=None, **augmentation, **common)
    plain_loader = create_loader(is_training=False, crop_pct=1.0, **common)
    what = f"timm's loader with {workers} workers{' and prefetcher' if cuda else ''}, channels-last (no rotation)"
    return Plain(what, config, loader, plain_loader, channels_last=True)


def require_timm() -> None:
    """Raises `InputError` where timm is not installed."""
    if importlib.util.find_spec("timm") is None:
        raise InputError("timm is not installed: pip install 'deeplense[bench]', or leave it out of --against")


CONTENDERS = {"report": report_loop, "tuned": tuned_loop, "timm": timm_loop}


def _loaders(config: TrainConfig, **settings: Any) -> tuple[Batched, Batched]:
    """Loaders of the images as they are trained on, and as they are scored."""
    size, batch_size = config.data.image_size, config.optimization.batch_size
    decoding = [transforms.Grayscale(), transforms.Resize((size, size))]
    augmentation = [
        transforms.RandomRotation(ROTATION),
        transforms.RandomHorizontalFlip(),
        transforms.RandomVerticalFlip(),
    ]
    scaling = [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]

    def loader(steps: list[Any], training: bool) -> Batched:
        images = ImageFolder(config.data.data, transforms.Compose(steps))
        if len(images) < batch_size:
            raise InputError(f"--batch-size {batch_size} is more than the {len(images)} images: lower it")
        return torch.utils.data.DataLoader(
            images,
            batch_size=batch_size,
            shuffle=training,
            drop_last=True,
            **settings,
        )

    return loader([*decoding, *augmentation, *scaling], True), loader([*decoding, *scaling], False)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
