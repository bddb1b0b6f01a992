"""Where does a run look? Attribution maps of the images most worth a look, and how true the maps are.

A map is an integrated gradient (Sundararajan, Taly & Yan 2017, arXiv:1703.01365, by Captum) of the log-odds of
substructure along the straight line from the blurred image to the image: its sum is what the fine structure adds to the
log-odds, and each pixel has its part.

The blurred baseline was chosen by trial, on 200 lenses of `model_i` in each of which a network found the one subhalo,
near the ring. There, the map's positive part was 1.46 times as high as elsewhere at that radius (8 standard errors);
from a dark baseline it was 0.89 times, and the plain gradient, 1.02 times. It is no finder of subhalos for all that:
where there are 25 of them the factor is 1.04, and the peaks are near one no more often than chance has them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from scipy.ndimage import gaussian_filter
from torchvision.transforms.functional import gaussian_blur

from deeplense.classification.card import ModelCard
from deeplense.classification.outputs import log_odds
from deeplense.classification.pointing import height_at_subhalos, near_ring, near_subhalo
from deeplense.data.batches import PixelStore, plain_batches
from deeplense.data.imageset import ImageSet
from deeplense.data.truth import peak_positions, truth_of
from deeplense.figures.attribution import Shown, plot_attributions
from deeplense.scores.metrics import predict_labels

SHOWN = 6
"""Images in a row of the figure."""
STEPS = 12
"""Along the line from the baseline; Gauss-Legendre."""
SMOOTHING = 1.0
"""Pixels: deviation of the Gaussian that maps are smoothed with. A gradient through strided convolutions is a
chequerboard at the scale of a pixel."""
BLUR = 1 / 32
"""Of the image's side: deviation of the Gaussian that makes the baseline."""
_BATCH = 64


def explain_with(
    model: torch.nn.Module,
    card: ModelCard,
    images: ImageSet,
    store: PixelStore,
    indices: np.ndarray,
    title: str,
    counted: int,
) -> Callable[[Path, np.ndarray], dict[str, Any] | None]:
    """What `write_evaluation` calls with its folder and the probabilities (n, K): writes `attributions.png` and returns
    what `metrics.json` says under `attribution`; nothing where `counted` is 0.

    Args:
        model: on the device of `store`.
        card: of the model.
        images: with the labels of `card.classes`.
        store: their pixels.
        indices: (n,) the images that were scored.
        title: of the figure.
        counted: how many images of substructure the numbers are over, at most, where the truth is known.
    """

    def explain(folder: Path, probabilities: np.ndarray) -> dict[str, Any] | None:
        if not counted:
            return None
        assert images.labels is not None
        labels = images.labels[indices]
        groups = worth_a_look(labels, probabilities, card.decides_at)
        rows = sorted({row for group in groups.values() for row in group})
        pixels, maps = attribution_maps(model, store, indices[rows])
        truth = truth_of(images, indices[rows], card.crop, card.fit)

        def show(row: int) -> Shown:
            place = rows.index(row)
            name = f"{card.classes[labels[row]]}, p = {probabilities[row, -1]:.3f}"
            return Shown(pixels[place], maps[place], name, None if truth is None else truth.take([place]))

        shown = {name: [show(row) for row in group] for name, group in groups.items()}
        plot_attributions(folder / "attributions.png", shown, what(card), title)
        return {
            "of": what(card),
            "method": f"integrated gradients from the blurred image, {STEPS} steps, smoothed by {SMOOTHING} px",
            "library": f"captum {metadata.version('captum')}",
            **count_peaks(model, store, images, indices[labels > 0], counted),
        }

    return explain


def what(card: ModelCard) -> str:
    """What maps are of: everything but label 0."""
    return card.classes[1] if len(card.classes) == 2 else f"not {card.classes[0]}"


def worth_a_look(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> dict[str, list[int]]:
    """Rows of the images to show: the most certain right ones of each class, the least certain, and the worst mistakes.

    Args:
        labels: (n,).
        probabilities: (n, K).
        threshold: see `metrics.predict_labels`.

    Returns:
        Up to `SHOWN` rows by the name of the group; groups that would be empty are left out.
    """
    predicted, certainty = predict_labels(probabilities, threshold), probabilities.max(1)
    order = np.argsort(-certainty, kind="stable")
    right, wrong = order[(predicted == labels)[order]], order[(predicted != labels)[order]]
    classes = probabilities.shape[1]
    share = -(-SHOWN // classes)
    groups = {
        "most certain": np.concatenate([right[labels[right] == label][:share] for label in range(classes)]),
        "least certain": order[::-1],
        "wrong": wrong,
    }
    return {name: rows[:SHOWN].tolist() for name, rows in groups.items() if len(rows)}


def count_peaks(
    model: torch.nn.Module, store: PixelStore, images: ImageSet, indices: np.ndarray, counted: int
) -> dict[str, Any]:
    """What `localisation` says of the maps of up to `counted` images of substructure, in equal steps through them.

    Without truth, or without such images, the numbers are None and `undefined` says why.
    """
    some = indices[np.unique(np.linspace(0, len(indices) - 1, min(counted, len(indices))).astype(int))]
    truth = truth_of(images, some, store.config.crop, store.config.fit)
    if truth is None or not len(some):
        reason = "nobody knows where the subhalos are" if len(some) else "there are no images of substructure"
        return {"images": 0, "ring": None, "subhalo": None, "height": None, "undefined": reason}
    _, maps = attribution_maps(model, store, some)
    positive = maps.clip(min=0)
    peaks = peak_positions(positive, truth)
    light = light_of(store, some)
    light = light - np.median(light, (1, 2), keepdims=True)  # less the sky
    return {
        "images": len(some),
        "ring": near_ring(peaks, light.clip(min=0), truth),
        "subhalo": near_subhalo(peaks, positive.shape[-1], truth),
        "height": height_at_subhalos(positive, truth),
    }


def attribution_maps(model: torch.nn.Module, store: PixelStore, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images as the network sees them (n, C, S, S), and how much each pixel speaks for substructure (n, S, S).

    Only the gradient towards the pixels is computed, and the weights' own is left as it was.
    """
    frozen = [weight.requires_grad for weight in model.parameters()]
    model.eval().requires_grad_(False)
    method = IntegratedGradients(lambda images: log_odds(model(images)))
    seen, maps = [], []
    for images in plain_batches(store, indices, _BATCH):
        parts = method.attribute(images, baselines=baseline(images), n_steps=STEPS, internal_batch_size=_BATCH)
        seen.append(images.cpu().numpy())
        maps.append(parts.sum(1).detach().cpu().numpy())
    for weight, was in zip(model.parameters(), frozen, strict=True):
        weight.requires_grad_(was)
    return np.concatenate(seen), gaussian_filter(np.concatenate(maps), (0, SMOOTHING, SMOOTHING))


def light_of(store: PixelStore, indices: np.ndarray) -> np.ndarray:
    """The light of all channels (n, S, S), but for scale and zero: neither stretched nor standardised."""
    places = [slice(start, start + _BATCH) for start in range(0, len(indices), _BATCH)]
    light = [store.light(pixels).sum(1) for pixels in store.batches(indices, places)]
    return torch.cat(light).cpu().numpy()


def baseline(images: torch.Tensor) -> torch.Tensor:
    """What an image (B, C, S, S) is compared with: itself without its fine structure."""
    deviation = BLUR * images.shape[-1]
    side = 2 * round(3 * deviation) + 1
    return gaussian_blur(images, [side, side], [deviation, deviation])
