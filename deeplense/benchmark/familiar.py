"""What a run takes for foreign: its own unseen images, the same changed as none that it was fitted with, and strays.

Images of a simulated set are simulated once more, by another camera. Others are changed as they are stored: a wider
point-spread function is the ratio of the transfers of two Airy disks, and the noise that it smooths is put back in.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.benchmark.measuring import hardware, heading, versions
from deeplense.errors import InputError

WIDER, NOISIER, LARGER = (1.2, 1.5, 2.0), (1.5, 2.0), (0.8, 0.9, 1.1, 1.2)
"""Point-spread functions, noise and pixels, in times of the run's own."""
STRAYS = 40

Kinds = Iterator[tuple[str, Any]]
"""What images are, and (n, C, H, W) of them, or where they are."""


@dataclass(frozen=True)
class Familiar:
    """Share of images that a run takes for foreign, of its own kind and of others."""

    run: Path | None = None
    """The run folder."""
    count: int = 300
    """Images of each kind, at most."""
    first_zero: float = 4.5
    """Pixels, of an Airy disk: the point-spread function of images that are not simulated."""
    others: tuple[Path, ...] = ()
    """Folders of other images."""
    json: bool = False
    """One JSON object on standard output in place of lines for readers."""

    def __post_init__(self) -> None:
        if self.count < 20:
            raise InputError(f"--count {self.count}: give 20 or more, a share of fewer says nothing")
        if self.first_zero <= 0:
            raise InputError(f"--first-zero {self.first_zero}: give pixels, more than 0")


def measure(wanted: Familiar) -> dict[str, Any]:
    """The share of foreign images of each kind, and whether they are like the run's own as a set."""
    from deeplense.data.mixed import Mixed
    from deeplense.evaluation.scored import own_images
    from deeplense.loaded import load
    from deeplense.scores.detection import proportion
    from deeplense.simulation.sets import SETS

    if wanted.run is None:
        raise InputError("--run: of which run? give its folder")
    run = load(wanted.run)
    if run.familiarity is None:
        raise InputError(f"--run {wanted.run}: it does not keep what its images look like: train another")
    images, indices = own_images(wanted.run, run.card, run.config, "test")
    if isinstance(images.pixels, Mixed):
        raise InputError(f"--run {wanted.run}: its images differ in size or type: give a run on images of one kind")
    some = np.sort(np.random.default_rng(0).permutation(indices)[: wanted.count])
    own, name = np.array(images.pixels[some]), run.config.data.data

    def kinds() -> Kinds:
        yield "own, unseen", own
        yield from _simulated(name, run.classes, wanted.count) if name in SETS else _by_hand(own, wanted.first_zero)
        yield "grey levels inverted", own.max((1, 2, 3), keepdims=True) - own
        yield "turned by 90 degrees", np.rot90(own, 1, (2, 3))
        yield from _strays(own.shape[-1])
        yield from ((str(folder), folder) for folder in wanted.others)

    rows = []
    for kind, pixels in kinds():
        look = run.predict(pixels).look
        assert look is not None
        share = proportion(int(look.foreign.sum()), len(look.foreign))
        rows.append({"images": kind, **share.as_json(), "as_a_set_p": look.shift().p})
    about = {"hardware": hardware(run.device.type), "versions": versions("torch"), "run": str(wanted.run)}
    return {"benchmark": "familiar", **about, "rows": rows}


def show(result: dict[str, Any]) -> None:
    """A line a kind."""
    print(f"{result['run']}: flagged, 95 % interval; p that they are like its own as a set\n{heading(result)}")
    for row in result["rows"]:
        share = f"{100 * row['rate']:5.1f} % [{100 * row['low']:5.1f}, {100 * row['high']:5.1f}]"
        print(f"{row['images']:<36}{share} of {row['n']:>4}   p {row['as_a_set_p']:.3f}")


def _simulated(name: str, classes: tuple[str, ...], count: int) -> Kinds:
    """The run's set by other cameras, and other sets."""
    import torch

    from deeplense.simulation.instruments import Airy, Camera, Gaussian
    from deeplense.simulation.priors import Fixed, LogUniform
    from deeplense.simulation.sets import SETS, LensSet, find_classes
    from deeplense.simulation.simulator import Simulator

    def made(lens_set: LensSet, number: int = count) -> np.ndarray:
        simulator = Simulator(lens_set, find_classes(classes), 1, "cpu")  # runs are trained on seed 0
        counts, _ = simulator.make(torch.arange(number) // len(classes), torch.arange(number) % len(classes))
        return counts[:, None].numpy().astype(np.float32)

    own = SETS[name]
    yield "the same set, another seed", made(own)
    camera = own.camera
    if isinstance(camera, Camera) and isinstance(camera.psf, Gaussian | Airy):
        for times in WIDER:
            psf = camera.psf
            wide = replace(
                psf, **{key: getattr(psf, key) * times for key in ("fwhm", "first_zero") if hasattr(psf, key)}
            )
            yield f"PSF x {times}", made(replace(own, camera=replace(camera, psf=wide)))
        exposure = camera.exposure
        for times in NOISIER:
            less = (
                Fixed(exposure.value / times**2)
                if isinstance(exposure, Fixed)
                else LogUniform(exposure.low / times**2, exposure.high / times**2)  # type: ignore[union-attr]
            )
            noisy = replace(camera, exposure=less, background_rms=camera.background_rms * times)
            yield f"noise x {times}", made(replace(own, camera=noisy))
        for times in LARGER:
            area = camera.pixel_area if camera.pixel_area == 1 else camera.pixel_area * times**2
            scaled = replace(camera, pixel_scale=camera.pixel_scale * times, pixel_area=area)
            yield f"pixels x {times}", made(replace(own, camera=scaled))
    for other, lens_set in SETS.items():
        if other != name:
            yield other, made(lens_set, 2 * STRAYS)


def _by_hand(own: np.ndarray, first_zero: float) -> Kinds:
    """Images (n, C, H, W) as another camera might have taken them; of 8 bits also as JPEG."""
    import torch
    import torch.nn.functional as F

    random, light = np.random.default_rng(0), own.astype(np.float32)
    noise = _noise(light)

    def both(kind: str, pixels: np.ndarray) -> Kinds:
        if own.dtype != np.uint8:
            yield kind, pixels
            return
        peak = np.maximum(pixels.max((1, 2, 3), keepdims=True), 1)
        whole = np.clip(np.round(pixels * (255 / peak)), 0, 255).astype(np.uint8)
        yield kind, whole
        yield f"{kind}, JPEG", _as_jpeg(whole)

    for times in WIDER:
        kernel = _widening(first_zero, times)
        wide = _convolved(light, kernel)
        again = np.sqrt(max(0.0, 1 - float((kernel**2).sum()))) * noise * random.normal(size=light.shape)
        yield from both(f"PSF x {times}", wide + again)
    for times in NOISIER:
        yield from both(f"noise x {times}", light + np.sqrt(times**2 - 1) * noise * random.normal(size=light.shape))
    stored = torch.from_numpy(light)
    for times in LARGER:
        maps = torch.tensor([[times, 0.0, 0.0], [0.0, times, 0.0]]).expand(len(stored), -1, -1)
        grid = F.affine_grid(maps, list(stored.shape), align_corners=False)
        scaled = F.grid_sample(stored, grid, mode="bicubic", padding_mode="border", align_corners=False)
        yield from both(f"pixels x {times}", scaled.numpy())


def _noise(light: np.ndarray) -> np.ndarray:
    """Spread of the noise of images (n, C, H, W), by the median of their second differences, a level at least."""
    cross = np.diff(np.diff(light, 2, axis=2), 2, axis=3) / 6
    spread = 1.4826 * np.median(np.abs(cross), axis=(1, 2, 3), keepdims=True)
    return np.maximum(spread, 0.9 if light.max() > 1 else 0.0)


def _widening(first_zero: float, times: float) -> np.ndarray:
    """The kernel that makes an Airy disk `times` as wide: the ratio of the transfers, where there is any."""
    from deeplense.simulation.instruments import Airy

    size, reach = 256, 15
    own, wide = (
        np.abs(np.fft.fft2(Airy(first_zero * factor, 4 * first_zero * factor).kernel(1.0), (size, size)))
        for factor in (1.0, times)
    )
    ratio = np.where(own > 1e-3, np.minimum(wide / np.maximum(own, 1e-3), 1), 0)
    middle = slice(size // 2 - reach, size // 2 + reach + 1)
    kernel = np.fft.fftshift(np.fft.ifft2(ratio).real)[middle, middle]
    return np.asarray(kernel / kernel.sum())


def _convolved(light: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    from scipy.signal import fftconvolve

    reach = len(kernel) // 2
    padded = np.pad(light, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    return np.asarray(fftconvolve(padded, kernel[None, None], mode="valid", axes=(2, 3)))


def _as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """(n, 1 or 3, H, W) uint8, coded with quality 75 and back."""
    from PIL import Image

    decoded = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)).save(file, "JPEG", quality=75)
        again = np.asarray(Image.open(file))
        decoded.append(again[None] if again.ndim == 2 else np.moveaxis(again, 2, 0))
    return np.stack(decoded)


def _strays(side: int) -> Kinds:
    """What lies about in folders: sky, a blank image, stars, spirals, photographs."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    radius, angle = np.hypot(x, y), np.arctan2(y, x)

    def noisy(clean: np.ndarray) -> np.ndarray:
        return (clean + random.normal(0, 3, clean.shape)).astype(np.float32)[:, None]

    yield "sky", noisy(np.full((STRAYS, side, side), 100.0))
    yield "blank", np.full((1, 1, side, side), 7, np.float32)
    yield "stars", noisy(np.stack([1000 * np.exp(-0.5 * (radius / width) ** 2) for width in np.linspace(1, 6, STRAYS)]))
    winding = np.linspace(1, 4, STRAYS)
    arms = [1 + 0.8 * np.cos(2 * (angle - pitch * np.log(radius + 1))) for pitch in winding]
    yield "spirals", noisy(np.stack([200 * np.exp(-radius / 12) * own for own in arms]))
    photographs = [image.mean(2) for image in load_sample_images().images]
    pieces = []
    for number in range(STRAYS):
        image = photographs[number % len(photographs)]
        top, left = (random.integers(0, max(1, length - side)) for length in image.shape)
        pieces.append(image[top : top + side, left : left + side])
    yield "photographs", np.stack(pieces).astype(np.uint8)[:, None]
