"""Self-training: in rounds, a network says what the unlabelled images are, and learns from what it is surest of.

Labelled images of the run itself, where they are still there, are learned from as well, so that nothing is forgotten
that holds for both. Batch norm sees images of one kind at a time, and what is kept are its statistics of the new ones
(Li et al. 2016, arXiv:1603.04779).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from torchvision.models import ResNet

from deeplense.adapt.guess import Guess, guess, logarithms, shift_to
from deeplense.adapt.settings import AdaptConfig
from deeplense.classification.outputs import loss_function
from deeplense.config import AugmentConfig
from deeplense.data.batches import PixelStore, TrainBatches, plain_batches
from deeplense.evaluation.predict import eval_batch, predict
from deeplense.network.views import Views, average, shown_views
from deeplense.tracking.metrics_log import MetricsLog

FIRST, LAST = 0.4, 0.9
"""Part of the guesses that is learned from in the first round and in the last one."""


class Pupil:
    """A network that adapts itself, with the images that it does so on."""

    def __init__(
        self,
        config: AdaptConfig,
        accelerator: Accelerator,
        network: ResNet,
        store: PixelStore,
        indices: np.ndarray,
        own: TrainBatches | None,
        augment: AugmentConfig,
        shares: np.ndarray,
    ) -> None:
        """
        Args:
            network: with the weights of the run, on the accelerator's device.
            store: the pixels of the unlabelled images.
            indices: (n,) of them that are learned from.
            own: the run's labelled training images; None: they are not there any more.
            augment: as the run was trained with.
            shares: (K,) of the classes among the unlabelled images.
        """
        self.config = config
        self.accelerator = accelerator
        self.network = network
        self.asked = Views(network, shown_views(augment))
        self.store = store
        self.indices = indices
        self.own = own
        self.augment = augment
        self.shares = shares
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.trained, self.optimizer = accelerator.prepare(network, self.optimizer)

    def adapt(self, log: MetricsLog) -> None:
        """All rounds; then the statistics and the shift are those of the unlabelled images."""
        rounds = self.config.rounds
        before: np.ndarray | None = None
        for number in range(rounds):
            self.renew_statistics()
            found = self.guess(FIRST + (LAST - FIRST) * number / max(rounds - 1, 1))
            loss = self.learn(found, number)
            changed = None if before is None else float((found.labels != before).mean())
            before = found.labels
            log.write(
                {"round": number + 1, "train_loss": loss, "learned_from": int(found.kept.sum()), "changed": changed}
            )
            told = "" if changed is None else f", {changed:.1%} of the guesses have changed"
            print(
                f"round {number + 1} of {rounds}: learned from {found.kept.sum()} guesses, loss {loss:.4f}{told}",
                flush=True,
            )
        self.renew_statistics()
        self.shift(shift_to(logarithms(self.logits()), self.shares))

    def guess(self, keep: float) -> Guess:
        """What the unlabelled images are taken for now."""
        return guess(self.logits(), self.shares, keep)

    def logits(self) -> torch.Tensor:
        """(n, 1) or (n, K) of the unlabelled images, averaged over views."""
        said = predict(self.asked, self.store, self.indices, precision=self.accelerator.autocast)
        return average(said.unflatten(1, (len(self.asked.which), -1)))

    def learn(self, found: Guess, number: int) -> float:
        """A pass over the guesses that are kept, which fill a batch at least: the mean loss."""
        config, classes = self.config, len(self.shares)
        labels = np.zeros(int(self.indices.max()) + 1, dtype=np.int64)
        labels[self.indices] = found.labels
        there = torch.from_numpy(labels).to(self.store.device)
        batches = TrainBatches(
            self.store, lambda index, maps: there[index], self.indices[found.kept], self.augment,
            config.batch_size, 1, config.seed,
        )  # fmt: skip
        known = _endless(self.own, number)
        self.trained.train()
        total = torch.zeros((), device=self.store.device)
        for step, (images, guessed) in enumerate(batches.epoch(number)):
            part = (number + step / batches.steps) / config.rounds
            for group in self.optimizer.param_groups:
                group["lr"] = config.lr * (1 + math.cos(math.pi * part)) / 2
            # One kind of images after the other: batch norm must not mix them. The new ones come
            # last, and are smoothed, since some of the guesses are wrong.
            if known is not None:
                seen, truth = next(known)
                self.accelerator.backward(loss_function(classes, self.trained(seen), truth) / 2)
            loss = loss_function(classes, self.trained(images), guessed, config.smoothing)
            self.accelerator.backward(loss if known is None else loss / 2)
            self.optimizer.step()
            self.optimizer.zero_grad()
            total += loss.detach()
        return float(total) / batches.steps

    @torch.no_grad()
    def renew_statistics(self) -> None:
        """Batch norm's statistics become those of the unlabelled images, as plain means over batches."""
        norms = [layer for layer in self.network.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean
        self.network.train()
        for images in plain_batches(
            self.store, self.indices, eval_batch(self.store.device, self.store.config.image_size)
        ):
            if len(images) > 1:
                with self.accelerator.autocast():
                    self.network(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.network.eval()

    @torch.no_grad()
    def shift(self, shift: np.ndarray) -> None:
        """Add to the logits what gives the classes their shares."""
        bias = self.network.fc.bias
        assert bias is not None
        own = shift[1:] - shift[0] if len(bias) == 1 else shift
        bias += torch.from_numpy(own).to(bias)


def _endless(batches: TrainBatches | None, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]] | None:
    """Batch after batch, epoch after epoch; from another epoch for each `start`."""

    def all_of_them() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        assert batches is not None
        epoch = start
        while True:
            yield from batches.epoch(epoch)
            epoch += 1000  # no other round begins there

    return None if batches is None else all_of_them()
