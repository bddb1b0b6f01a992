"""Score a run: `python evaluate.py RUN [--data WHERE] [--split test|val|train|all] [--flag value ...]`."""

from __future__ import annotations

import sys

from deeplense.cli import parse
from deeplense.config import EvaluateConfig
from deeplense.errors import run_command

DESCRIPTION = """Score a run: on the part of its own images that it has not learned from, or on other images.

Images that the run was trained on, or that chose its weights, are refused. Unlabelled images (--data with a flat
folder) get predictions only. Results are in RUN/evaluation/NAME.
"""


def main(config: EvaluateConfig) -> None:
    """The story of scoring a run."""
    import torch  # here and not above: --help should not wait for it

    from deeplense.attribution import add_attributions
    from deeplense.cli import load_config
    from deeplense.evaluation import load_best, predict, say, store_for, write_evaluation
    from deeplense.model import probabilities
    from deeplense.scored import name_of, other_images, own_images
    from deeplense.sensitivity import measure

    run = config.run
    model, card = load_best(run)
    trained = load_config(run / "config.json")
    if config.sensitivity:
        measure(config, model, card, trained.data.data)
        return
    if config.data is None:
        images, indices = own_images(run, card, trained, config)
        name: str = config.split
        about: dict[str, object] = {"split": config.split, "data": trained.data.data}
    else:
        images, indices, left_out = other_images(run, card, config)
        name, about = name_of(config), {"data": config.data, "left_out_since_learned_from": left_out}

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = store_for(images, card, device)
    logits = predict(model.to(device), store, indices, config.batch_size)
    folder = run / "evaluation" / (config.name or name)
    title = f"{run.name} on {name}"
    chances = probabilities(logits).cpu().numpy()
    scores = write_evaluation(folder, images, store, indices, chances, card, title, about)
    add_attributions(folder, model, card, images, store, indices, chances, title, config.attribution_images)
    print(say(scores) if scores else f"predicted {len(indices)} images without labels")
    print(f"all of it is in {folder}")


if __name__ == "__main__":
    run_command(lambda: main(parse(EvaluateConfig, sys.argv[1:], DESCRIPTION)))
