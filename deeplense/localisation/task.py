"""The task "where is it, and how heavy": a network whose word is a density of subhalos over place and mass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deeplense.config import EvaluateConfig, TrainConfig
from deeplense.data.batches import Targets
from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.comparison import compare_runs
from deeplense.localisation.evaluate import LocalisationEvaluation, evaluate
from deeplense.localisation.likelihood import Subhalos, negative_log_likelihood
from deeplense.localisation.network import CELL, LOG_DENSITY, Localizer, Prior
from deeplense.localisation.sensitivity.write import write_sensitivity_map
from deeplense.localisation.truth import Scale, TrueSubhalos, carried, read_truth, scale_of, unit_places
from deeplense.scores.metrics import auc_delong
from deeplense.task import Headline, Said, Scored, Task, Trained

if TYPE_CHECKING:
    from accelerate import Accelerator

    from deeplense.simulation.draw import Draws


class Localisation(Task):
    """Say where subhalos are, and how heavy."""

    name = "locate"
    headline = Headline("loss", "negative log-likelihood, nats an image")
    card_type = LocaliserCard
    beside = ("classify",)
    watched = ("encoder.maxpool", "encoder.layer1")

    def __init__(self, config: TrainConfig, classes: tuple[str, ...]) -> None:
        super().__init__(config, classes)
        if "axion" in classes:
            raise InputError("--classes axion: a line has no place: give --task locate no_sub and sub")
        for flag, value, off in (
            ("--label-smoothing", config.optimization.label_smoothing, 0.0),
            ("--fpr", config.calibration.fpr, None),
            ("--balance", config.optimization.balance, "none"),
            ("--choose-by", config.optimization.choose_by, "auto"),
        ):
            if value != off:
                raise InputError(f"{flag} {value}: is of --task classify, leave it out with --task locate")
        if config.model.orient:
            raise InputError("--orient: places are said of the image as it is: leave it out with --task locate")
        self._images: ImageSet | None = None
        self._truth: TrueSubhalos | None = None
        self._scale: Scale | None = None

    # ---- training ----------------------------------------------------------------------------------------------

    def look_at(self, images: ImageSet) -> None:
        """Read the truth about the run's images."""
        data = self.config.data
        self._truth = read_truth(images, data.data)
        self._images = images
        self._scale = scale_of(images, data.crop, data.image_size)

    def network(self) -> torch.nn.Module:
        """It starts at the mean density and masses of the images that were looked at."""
        return Localizer(self.config.data.channels, prior=None if self._truth is None else self._prior(self._truth))

    def targets(self, images: ImageSet, device: torch.device) -> Targets:
        """Subhalos, which are carried along with the pixels."""
        stored = unit_places(self._truth_of(images), self._scale_of(images))
        places, there = stored.places.to(device), stored.there.to(device)
        data = self.config.data
        return lambda index, maps: carried(Subhalos(places[index], there[index]), maps, data.crop, data.image_size)

    def drawn_targets(self, draws: Draws, maps: torch.Tensor) -> Subhalos:
        assert self._scale is not None
        edge, data = self._scale.edge, self.config.data
        there = draws.mass > 0
        places = torch.stack([draws.x / edge, draws.y / edge, torch.where(there, draws.mass, 1.0).log10()], 2)
        return carried(Subhalos(places, there), maps, data.crop, data.image_size)

    def loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        return negative_log_likelihood(outputs.float(), targets).mean()

    def captions(self, targets: Any, count: int) -> list[str]:
        return [f"{number} subhalo{'s' * (number != 1)}" for number in targets.there.sum(1).tolist()]

    # ---- choosing the weights ----------------------------------------------------------------------------------

    def scores(self, said: Said) -> dict[str, float]:
        """The likelihood, by which weights are chosen; and what is cheap beside it."""
        truth = self._seen(said)
        scale = self._scale_of(said.images)
        there = truth.mass > 0
        places = np.stack(
            [scale.to_cells(truth.x), scale.to_cells(truth.y), np.log10(np.where(there, truth.mass, 1.0))], 2
        )
        device = said.outputs.device
        wanted = Subhalos(torch.from_numpy(places).float().to(device), torch.from_numpy(there).to(device))
        expected = said.outputs[:, LOG_DENSITY].exp().sum((1, 2)).double().cpu().numpy()
        scores = {
            "loss": float(negative_log_likelihood(said.outputs, wanted).double().mean()),
            "expected_number": float(expected.mean()),
            "true_number": float(there.sum(1).mean()),
        }
        positive = np.asarray(there.any(1))
        if positive.any() and not positive.all():
            auc = auc_delong(positive, expected)
            scores |= {"roc_auc": auc.value, "roc_auc_low": auc.low, "roc_auc_high": auc.high}
        return scores

    def rank(self, scores: dict[str, float]) -> tuple[float, ...]:
        return (-scores["loss"],)

    def told(self, scores: dict[str, float]) -> str:
        auc = f", any: ROC AUC {scores['roc_auc']:.4f}" if "roc_auc" in scores else ""
        return f"{scores['expected_number']:.3f} subhalos an image for {scores['true_number']:.3f}{auc}"

    def card(self, epoch: int, said: Said | None, scores: dict[str, float]) -> LocaliserCard:
        """With what makes probabilities and sigmas true on validation images."""
        assert self._scale is not None
        own = {"pixel_scale": self._scale.pixel, "val_loss": scores.get("loss")}
        card = LocaliserCard.of(self.config, self.classes, epoch, **own)
        return card if said is None else card.calibrated(said.outputs, self._seen(said), self._scale_of(said.images))

    # ---- using the weights -------------------------------------------------------------------------------------

    def evaluate(
        self,
        trained: Trained,
        scored: Scored,
        folder: Path,
        accelerator: Accelerator | None = None,
        asked: EvaluateConfig | None = None,
    ) -> LocalisationEvaluation | None:
        return evaluate(trained, scored, folder, accelerator, asked)

    def study(self, trained: Trained, asked: EvaluateConfig) -> bool:
        for flag, given in (
            ("--sensitivity", asked.sensitivity),
            ("--turn-test", asked.turn_test),
            ("--fpr", asked.fpr is not None),
        ):
            if given:
                raise InputError(
                    f"{flag}: {trained.folder} was trained to locate, which has no such thing: leave it out"
                )
        if asked.sensitivity_map:
            write_sensitivity_map(trained, asked)
        return asked.sensitivity_map

    def compare(self, runs: Sequence[Trained], asked: EvaluateConfig) -> None:
        compare_runs(runs, asked)

    # ---- truth ---------------------------------------------------------------------------------------------------

    def _truth_of(self, images: ImageSet) -> TrueSubhalos:
        if images is not self._images:
            self.look_at(images)
        assert self._truth is not None
        return self._truth

    def _scale_of(self, images: ImageSet) -> Scale:
        self._truth_of(images)
        assert self._scale is not None
        return self._scale

    def _seen(self, said: Said) -> TrueSubhalos:
        return self._truth_of(said.images).take(said.indices).seen(self._scale_of(said.images).half)

    def _prior(self, truth: TrueSubhalos) -> Prior:
        assert self._scale is not None
        seen = truth.seen(self._scale.half)
        masses = np.log10(seen.mass[seen.mass > 0])
        if not len(masses):
            raise InputError(
                f"--data {self.config.data.data}: none of the images has a subhalo in view: there is none to learn"
            )
        cells = ((self.config.data.image_size + CELL - 1) // CELL) ** 2
        return Prior(
            density=len(masses) / len(seen.mass) / cells,
            log_mass=float(masses.mean()),
            log_mass_sigma=float(np.clip(masses.std(), 0.05, 0.9)),
        )
