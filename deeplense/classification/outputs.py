"""What a classifier puts out: logits, and what is made of them.

Two classes need one logit, that of label 1; more need one each.
"""

from __future__ import annotations

import torch


def loss_function(
    classes: int,
    logits: torch.Tensor,
    labels: torch.Tensor,
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cross-entropy in nats: binary for two classes (logits (B, 1)), softmax for more (logits (B, K)).

    Args:
        smoothing: part of each label that goes to all classes alike, itself among them.
        weights: (K,) of the images of each class; None: all count alike.
    """
    own = None if weights is None else weights[labels]
    if classes == 2:
        smooth = labels.float() * (1 - smoothing) + smoothing / 2
        return torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0].float(), smooth, own)
    if own is None:
        return torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
    each = torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing, reduction="none")
    return (own * each).mean()


def probabilities(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Probability of each class (B, K) float64 from logits (B, 1) or (B, K), which are divided by `temperature`."""
    logits = logits.double() / temperature
    if logits.shape[1] == 1:
        positive = logits.sigmoid()
        return torch.cat([1 - positive, positive], 1)
    return logits.softmax(1)


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Logarithm of the odds of any label but 0, which is the smooth class where there is one: (B,) from logits (B, 1)
    or (B, K). Unlike a probability it tells apart images that are nearly certain."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    return logits[:, 1:].logsumexp(1) - logits[:, 0]
