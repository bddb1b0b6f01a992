"""A task of its own in some forty lines: how large is the ring? Started as a script, it trains as `train.py` does."""

import sys
from pathlib import Path

import numpy as np
import torch

from configs import DESCRIPTIONS, PRESETS
from deeplense import tasks
from deeplense.cli import parse_training
from deeplense.data.truth import truth_of
from deeplense.errors import run_command
from deeplense.evaluation.predict import predict
from deeplense.files import replacing, write_json
from deeplense.network.model import build_model
from deeplense.task import Evaluation, Headline, Task


class Radii(Evaluation):
    def __init__(self, scores):
        self.scores = scores

    def said(self):
        return f"mean absolute error {self.scores['mae']:.4f} arcsec"


class RingRadius(Task):
    name = "ring-radius"
    headline = Headline("mae", "mean absolute error, arcsec")

    def network(self):
        return build_model(2, self.config.data.channels)

    def targets(self, images, device):
        radii = torch.from_numpy(truth_of(images, np.arange(len(images))).einstein_radius).float().to(device)
        return lambda index, maps: radii[index]  # neither turns nor mirrors change it

    def drawn_targets(self, draws, maps):
        return draws.scalars["einstein_radius"]

    def loss(self, outputs, targets):
        return torch.nn.functional.mse_loss(outputs[:, 0].float(), targets)

    def scores(self, said):
        errors = said.outputs[:, 0] - self.targets(said.images, said.outputs.device)(
            torch.from_numpy(said.indices), None
        )
        return {"mae": errors.abs().mean().item(), "loss": errors.square().mean().item()}

    def rank(self, scores):
        return (-scores["mae"],)

    def told(self, scores):
        return f"mean absolute error {scores['mae']:.4f} arcsec"

    def evaluate(self, trained, scored, folder, accelerator=None, asked=None):
        outputs = predict(trained.network, scored.store, scored.indices, accelerator=accelerator)
        if accelerator is not None and not accelerator.is_main_process:
            return None
        truth = truth_of(scored.images, scored.indices).einstein_radius
        scores = {"n": len(truth), "mae": float(np.abs(outputs[:, 0].numpy() - truth).mean())}
        with replacing(folder) as aside:
            write_json(aside / "metrics.json", {**scores, **scored.about})
        return Radii(scores)


tasks.TASKS["ring-radius"] = f"{Path(__file__).stem}:RingRadius"

if __name__ == "__main__":
    import train

    run_command(lambda: train.main(parse_training(sys.argv[1:], PRESETS, DESCRIPTIONS)))
    names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    assert not [name for name in names if "gloo" in name], names  # or the process may abort at its very end
