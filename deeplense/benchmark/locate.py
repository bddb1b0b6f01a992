"""Where subhalos are: this package's network, a U-Net by classes of mass, and YOLOv8n, on the same images.

Each trains for the same time on the same stored images with the same cores, one after the other, and all are scored by
the same code on the same other images: found at image-level false-positive rates of 1 and 10 %, and placed within two
pixels. YOLO is told of subhalos above a signal-to-noise ratio only, as nothing can find the others; the networks are
told of all. Ours and the U-Net share a plain loop here, and see the logarithm of the light, as the preset does. All
have as many threads as YOLO takes.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deeplense.benchmark.measuring import Benchmark, about, heading, rates
from deeplense.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from deeplense.data.imageset import ImageSet
    from deeplense.localisation.card import LocaliserCard
    from deeplense.localisation.detections import Detections
    from deeplense.localisation.scores import Findings
    from deeplense.localisation.truth import Scale, TrueSubhalos

Name = Literal["ours", "unet", "yolo"]
HELD = 0.1
"""Part of the training images that promises are made on."""
BATCH = 32
RATES = {"ours": 3e-3, "unet": 1e-3}
"""Highest learning rates: the preset's, and Adam's own. YOLO chooses for itself."""


@dataclass(frozen=True)
class Locate(Benchmark):
    """Train three ways of finding subhalos for the same time, and score them alike."""

    data: str = "one_subhalo"
    """A simulated set."""
    minutes: float = 3.0
    """Of training, each."""
    count: int = 12_000
    """Images to train on."""
    test: int = 3_000
    """Images to score on, half of them smooth."""
    crop: float = 0.7
    """Part of each side that ours and the U-Net see."""
    against: tuple[Name, ...] = ("ours", "unet", "yolo")
    """Which of them: yolo needs the extra of that name."""
    yolo_size: int = 160
    """Pixels a side that YOLO magnifies images to."""
    min_snr: float = 5.0
    """Of the subhalos that YOLO is told of."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.minutes > 0:
            raise InputError(f"--minutes {self.minutes:g}: give more than 0")
        if self.count < 200 or self.test < 200:
            raise InputError(f"--count {self.count} --test {self.test}: give 200 or more of each")
        if not 0 < self.crop <= 1:
            raise InputError(f"--crop {self.crop:g}: give a part from 0 to 1")


def show(result: dict[str, Any]) -> None:
    """Print `result` as a table for a reader."""
    settings = result["settings"]
    print(heading(result))
    print(
        f"{settings['data']}: {settings['minutes']:g} minutes of training each on {settings['count']} images, "
        f"{result['threads']} thread(s), scored on {settings['test']}; shares in %, in brackets those placed within "
        "two pixels as well"
    )
    bins = [f"{row['from']:g}-{row['to']:g}" for row in next(iter(result["results"].values()))["by_mass"]]
    for rate, words in (("fpr_0.01", "1 %"), ("fpr_0.1", "10 %")):
        print(f"{'FPR ' + words:12}" + "".join(f"{own:>14}" for own in bins))
        for name, one in result["results"].items():
            cells = [
                f"{100 * row[rate]['found']['rate']:.0f} ({100 * row[rate]['placed']['rate']:.0f})"
                for row in one["by_mass"]
            ]
            print(f"{name:12}" + "".join(f"{cell:>14}" for cell in cells))
    for name, one in result["results"].items():
        auc = "" if one["roc_auc"] is None else f", any: ROC AUC {one['roc_auc']:.3f}"
        forward = "" if one["forward_ms"] is None else f", {one['forward_ms']:.2f} ms an image forward"
        print(f"{name}: {one['images_seen']:,} images seen in training{auc}{forward} ({one['what']})")


def measure(wanted: Locate) -> dict[str, Any]:
    """Scores of each, as in `metrics.json` of a run that locates, and the time of a forward pass."""
    import torch

    from deeplense.benchmark import boxes
    from deeplense.simulation.sets import find_set
    from deeplense.simulation.substructure import Equal

    if isinstance(find_set(wanted.data).subhalos.mass, Equal):
        raise InputError(f"--data {wanted.data}: its subhalos are equal parts of a mass: give a set of single ones")
    if "yolo" in wanted.against:
        boxes.command()
    field = _Field(wanted)
    torch.set_num_threads(boxes.THREADS)
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in wanted.against:
            ways: dict[Name, Callable[[], dict[str, Any]]] = {
                "ours": field.ours,
                "unet": field.unet,
                "yolo": lambda: field.yolo(Path(temporary).resolve()),
            }
            results[name] = ways[name]()
    return about(wanted, "cpu", "torch") | {"threads": boxes.THREADS, "results": results}


class _Field:
    """The images, their truth, and each contender's run over them."""

    def __init__(self, wanted: Locate) -> None:
        import numpy as np
        import torch

        from deeplense.config import DataConfig, TrainConfig
        from deeplense.data.simulated import simulated
        from deeplense.localisation.card import LocaliserCard
        from deeplense.localisation.truth import read_truth, unit_places
        from deeplense.simulation.priors import bounds
        from deeplense.simulation.sets import SETS

        self.wanted, self.lens_set = wanted, SETS[wanted.data]
        self.size = round(self.lens_set.camera.pixels * wanted.crop)
        self.images: ImageSet = simulated(wanted.data, wanted.count + wanted.test, ("no_sub", "sub"), 0, "cpu")
        data = DataConfig(data=wanted.data, image_size=self.size, crop=wanted.crop, standardize=True, stretch="log")
        config = TrainConfig(task="locate", data=data)
        self.card: LocaliserCard = LocaliserCard.of(config, self.images.classes, 0)
        self.scale: Scale = self.card.lengths(self.images)
        self.truth: TrueSubhalos = read_truth(self.images, wanted.data)
        held = round(HELD * wanted.count)
        every = np.arange(len(self.images))
        self.train, self.val, self.scored = np.split(every, [wanted.count - held, wanted.count])
        store = self.card.store(self.images, torch.device("cpu"))
        from deeplense.data.batches import plain_batches

        self.pixels = torch.cat(list(plain_batches(store, every, 256)))  # (n, 1, S, S) as networks see them
        stored = unit_places(self.truth, self.scale)
        self.places, self.there = stored.places, stored.there
        low, high = bounds(self.lens_set.subhalos.mass)  # type: ignore[arg-type]
        self.masses = math.log10(low), math.log10(high)

    def ours(self) -> dict[str, Any]:
        import torch

        from deeplense.localisation.likelihood import Subhalos, negative_log_likelihood
        from deeplense.localisation.network import Localizer, Prior
        from deeplense.network.model import placed

        density = float(self.there[self.train].sum()) / len(self.train) / (self.size / 2) ** 2
        network = placed(Localizer(prior=Prior(density, sum(self.masses) / 2)), torch.device("cpu"))

        def loss(outputs: torch.Tensor, places: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
            return negative_log_likelihood(outputs, Subhalos(places, there)).mean()

        seen = self._train(network, loss, RATES["ours"])
        card = self.card.calibrated(self._say(network, self.val), self._seen(self.val), self.scale)
        findings = card.findings(self._say(network, self.scored), self._edges())
        return self._result(findings, seen, self._forward(network), f"{self.size} px")

    def unet(self) -> dict[str, Any]:
        import torch

        from deeplense.benchmark.unet import UNet, disks, found_by

        network = UNet()

        def loss(outputs: torch.Tensor, places: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(outputs, disks(places, there, self.size, self.masses))

        seen = self._train(network, loss, RATES["unet"])
        said = [found_by(self._say(network, rows), self.masses) for rows in (self.val, self.scored)]
        return self._result(self._promised(*said), seen, self._forward(network), f"{self.size} px")

    def yolo(self, folder: Path) -> dict[str, Any]:
        from deeplense.benchmark import boxes

        wanted, pictures = self.wanted, folder / "pictures"
        self._draw(pictures)
        weights = boxes.train(pictures, folder, wanted.minutes, wanted.yolo_size, BATCH)
        told = [
            boxes.predict(weights, pictures / "images" / part, folder, wanted.yolo_size) for part in ("val", "test")
        ]
        said = [boxes.found_by(texts, self.size / 2, wanted.crop) for texts, _ in told]
        seen = boxes.images_seen(folder, len(self.train))
        what = f"whole images at {wanted.yolo_size} px"
        return self._result(self._promised(*said), seen, boxes.milliseconds(told[1][1]), what)

    def _train(self, network: torch.nn.Module, loss: Callable[..., torch.Tensor], rate: float) -> int:
        """Train for the time that is allowed, in all eight views of each image; how many images were seen."""
        import torch

        torch.manual_seed(0)
        optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
        network.train()
        rows, began, seen = torch.from_numpy(self.train), time.monotonic(), 0
        order = rows[torch.randperm(len(rows))]
        while (share := (time.monotonic() - began) / (60 * self.wanted.minutes)) < 1:
            if seen % len(rows) + BATCH > len(rows):
                order = rows[torch.randperm(len(rows))]
            at = seen % max(len(rows) - BATCH, 1)
            own = order[at : at + BATCH]
            warm = min(1.0, share / 0.02 + 0.05)
            optimizer.param_groups[0]["lr"] = rate * warm * 0.5 * (1 + math.cos(math.pi * share))
            pixels, places = _viewed(self.pixels[own], self.places[own], int(torch.randint(8, ())))
            cells = (places[..., :2] / self.wanted.crop + 1) * (self.size / 4)
            inside = self.there[own] & ((cells > 0) & (cells < self.size / 2)).all(2)
            value = loss(network(pixels), torch.cat([cells, places[..., 2:]], 2), inside)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            seen += len(own)
        network.eval()
        return seen

    def _say(self, network: torch.nn.Module, rows: np.ndarray) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            return torch.cat([network(part) for part in self.pixels[torch.from_numpy(rows)].split(128)])

    def _forward(self, network: torch.nn.Module) -> float:
        """Milliseconds an image, in batches of 32: the median of the rounds."""
        seconds = []
        for turn in range(self.wanted.rounds + 1):
            began = time.perf_counter()
            self._say(network, self.scored[:32])
            if turn:
                seconds.append(time.perf_counter() - began)
        return 1000 / rates(32, seconds)["median"]

    def _seen(self, rows: np.ndarray) -> TrueSubhalos:
        return self.truth.take(rows).seen(self.scale.half)

    def _edges(self) -> np.ndarray:
        from deeplense.localisation.scores import mass_edges

        return mass_edges(self._seen(self.scored))

    def _promised(self, val: tuple[np.ndarray, Detections], test: tuple[np.ndarray, Detections]) -> Findings:
        """Findings of a contender that has scores and detections, its probabilities fitted on validation images."""
        import numpy as np

        from deeplense.localisation.matching import match
        from deeplense.localisation.promise import Promise
        from deeplense.localisation.scores import Findings

        truth, edges = self._seen(self.val), self._edges()
        of_any = Promise.fitted(val[0], truth.present)
        right = match(val[1], truth, self.scale).subhalo >= 0
        of_detections = Promise.fitted(val[1].expected, right)
        scores, detections = test
        probability = of_detections.probability(detections.expected)
        nothing = np.zeros((len(scores), len(edges) - 1))
        p_any = of_any.probability(scores)
        return Findings(scores, p_any, replace(detections, expected=probability), probability, edges, nothing)

    def _result(self, findings: Findings, seen: int, forward: float | None, what: str) -> dict[str, Any]:
        from deeplense.localisation.scores import score

        scores = score(findings, self._seen(self.scored), self.scale)
        kept = ("roc_auc", "roc_auc_low", "roc_auc_high", "by_mass", "froc", "false_detections", "position")
        return {name: scores[name] for name in kept} | {"images_seen": seen, "forward_ms": forward, "what": what}

    def _draw(self, folder: Path) -> None:
        """The same images as pictures, with boxes."""
        import numpy as np

        from deeplense.localisation.limit import draws_of
        from deeplense.simulation.limit import signal_to_noise
        from deeplense.simulation.yolo import write_description, write_image

        parts = {"train": self.train, "val": self.val, "test": self.scored}
        with_any = np.flatnonzero(self.truth.present)
        draws = draws_of(self.images, with_any)
        assert draws is not None  # it was made just now
        snr = np.zeros(len(self.images))
        told = np.concatenate([np.intersect1d(with_any, self.train), np.intersect1d(with_any, self.val)])
        chosen = np.flatnonzero(np.isin(with_any, told))
        if self.wanted.min_snr > 0:
            import torch

            whole = signal_to_noise(draws.take(torch.from_numpy(chosen)), self.lens_set, each=False).whole
            snr[with_any[chosen]] = whole.cpu().numpy()
        for part, rows in parts.items():
            for kind in ("images", "labels"):
                (folder / kind / part).mkdir(parents=True)
            for row in rows:
                own = self.truth.mass[row] > 0
                own = own & (snr[row] >= self.wanted.min_snr)
                places = np.stack([self.truth.x[row][own], self.truth.y[row][own]], 1)
                counts = np.asarray(self.images.pixels[row][0], dtype=np.float32)
                write_image(folder, part, int(row), counts, places, self.lens_set.camera)
        write_description(folder, folder)


def _viewed(pixels: torch.Tensor, places: torch.Tensor, view: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One of eight views of images (B, C, S, S), and of places (B, K, 3) from -1 to 1 across them."""
    import torch

    x, y, mass = places.unbind(2)
    if view & 1:
        pixels, x = pixels.flip(3), -x
    if view & 2:
        pixels, y = pixels.flip(2), -y
    if view & 4:
        pixels, x, y = pixels.transpose(2, 3), y, x
    return pixels.contiguous(), torch.stack([x, y, mass], 2)
