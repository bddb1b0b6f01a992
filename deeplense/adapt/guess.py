"""What unlabelled images probably are, by a network that is not made for them: the labels of self-training."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

SHIFTS = 200
"""Steps of the iteration that finds the shift of the logits, at most."""
CLOSE = 1e-6
"""Mean probabilities this near to the wanted ones are those."""


@dataclasses.dataclass(frozen=True)
class Guess:
    """What n images probably are."""

    labels: np.ndarray
    """(n,) int64."""
    kept: np.ndarray
    """(n,) bool: those that are sure enough to be learned from."""
    shift: np.ndarray
    """(K,) float64 that was added to the logarithms of the probabilities."""


def guess(logits: torch.Tensor, shares: np.ndarray, keep: float) -> Guess:
    """The class of each image, and which of these guesses to learn from.

    A network that meets other images mostly errs to one side: its ranks carry over, and its thresholds do not. So the
    logarithms of its probabilities are shifted until, over all images, the classes have the shares that they are
    supposed to have (distribution alignment: Saerens et al. 2002; Berthelot et al. 2022, arXiv:2106.04732). Of each
    class the surest guesses are kept, as many as `keep` of it: a curriculum, and no class is lost.

    Args:
        logits: (n, 1) or (n, K).
        shares: (K,) of the classes among the images.
        keep: part of the images, above 0 up to 1.
    """
    log_chances = logarithms(logits)
    shift = shift_to(log_chances, shares)
    chances = _softmax(log_chances + shift)
    labels, sure = chances.argmax(1), chances.max(1)
    kept = np.zeros(len(labels), dtype=bool)
    for label in range(len(shares)):
        own = np.flatnonzero(labels == label)
        kept[own[np.argsort(-sure[own], kind="stable")[: int(np.ceil(keep * len(own)))]]] = True
    return Guess(labels.astype(np.int64), kept, shift)


def logarithms(logits: torch.Tensor) -> np.ndarray:
    """Logarithms of the probabilities but for a constant an image, (n, K) float64: one logit is that of label 1."""
    own = logits.double().cpu().numpy()
    return np.concatenate([np.zeros_like(own), own], 1) if own.shape[1] == 1 else own


def shift_to(log_chances: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """What to add to each class's logarithm (n, K) so that the mean probabilities are `shares` (K,); its mean is 0."""
    shift = np.zeros(len(shares))
    for _ in range(SHIFTS):
        means = _softmax(log_chances + shift).mean(0)
        if np.abs(means - shares).max() < CLOSE:
            break
        shift += np.log(shares) - np.log(np.maximum(means, 1e-12))
    return shift - shift.mean()


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
