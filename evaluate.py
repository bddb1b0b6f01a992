"""Score runs: `python evaluate.py RUN [RUN ...] [--data WHERE] [--split test|val|train|all] [--flag value ...]`."""

from __future__ import annotations

import sys

from deeplense.cli import parse
from deeplense.config import EvaluateConfig
from deeplense.errors import run_command

DESCRIPTION = """Score a run: on the part of its own images that it has not learned from, or on other images.

Images that the run was trained on, or that chose its weights, are refused. Unlabelled images (--data with a flat
folder) get predictions only. Results are in RUN/evaluation/NAME.

Several runs are compared: on the test images that they share or on those at --data, without any image that one
of them has learned from. Results are in comparison/NAME beside the first run.
"""


def main(config: EvaluateConfig) -> None:
    """One run is scored, several are compared."""
    if len(config.runs) == 1:
        score_run(config)
    else:
        compare_runs(config)


def score_run(config: EvaluateConfig) -> None:
    """The story of scoring a run."""
    # Here and not above: torch takes seconds to import, and --help should not wait for it.
    from deeplense.classification.attribution import explain_with
    from deeplense.classification.predictions import predict_views
    from deeplense.classification.recalibration import card_for
    from deeplense.classification.sensitivity import measure
    from deeplense.classification.write import load_best, say, store_for, write_evaluation
    from deeplense.cli import load_config
    from deeplense.evaluation.predict import scoring_device
    from deeplense.evaluation.scored import name_of, other_images, own_images
    from deeplense.network.views import shown_views
    from deeplense.scores.symmetry import viewed_of

    run = config.run
    model, card = load_best(run)
    trained = load_config(run / "config.json")
    if config.sensitivity:
        measure(config, model, card, trained.data.data)
        return
    if config.data is None:
        images, indices = own_images(run, card, trained, config.split)
        about: dict[str, object] = {"split": config.split, "data": trained.data.data, "tta": config.tta}
    else:
        images, indices, left_out = other_images(run, card, config)
        about = {"data": config.data, "left_out_since_learned_from": left_out, "tta": config.tta}
    name = name_of(config)

    device = scoring_device()
    model.to(device)
    card = card_for(run, model, card, trained, config)
    store = store_for(images, card, device)
    viewed, shown = viewed_of(len(indices) if images.labels is not None else 0), shown_views(trained.augment)
    predictions = predict_views(model, store, indices, viewed, shown, config.tta, config.batch_size)
    folder = run / "evaluation" / name
    title = f"{run.name} on {name}"
    explain = explain_with(model, card, images, store, indices, title, config.attribution_images)
    scores = write_evaluation(folder, images, store, indices, predictions, card, title, about, explain)
    print(say(scores) if scores else f"predicted {len(indices)} images without labels")
    print(f"all of it is in {folder}")


def compare_runs(config: EvaluateConfig) -> None:
    """The story of finding out which run is better."""
    from deeplense.classification.comparison import (
        Contestant,
        compare,
        names_of,
        refuse_other_classes,
        say,
        write_comparison,
    )
    from deeplense.classification.predictions import predict_views
    from deeplense.classification.recalibration import card_for
    from deeplense.classification.write import load_best, store_for
    from deeplense.cli import load_config
    from deeplense.evaluation.predict import scoring_device
    from deeplense.evaluation.scored import common_images
    from deeplense.network.views import shown_views
    from deeplense.scores.symmetry import viewed_of

    cards = [load_best(run)[1] for run in config.runs]
    refuse_other_classes(config.runs, cards)
    settings = [load_config(run / "config.json") for run in config.runs]
    images, indices, left_out = common_images(config.runs, cards[0], settings[0], config)
    assert images.labels is not None

    device = scoring_device()
    contestants = []
    for run, name, trained in zip(config.runs, names_of(config.runs), settings, strict=True):
        model, card = load_best(run)
        model.to(device)
        card = card_for(run, model, card, trained, config)
        store = store_for(images, card, device)
        shown = shown_views(trained.augment)
        logits = predict_views(model, store, indices, viewed_of(0), shown, config.tta, config.batch_size).logits
        contestants.append(Contestant(name, trained, card, card.probabilities(logits)))
    comparison = compare(contestants, images.labels[indices])
    about = {"images": config.data or f"test images of {config.run}", "left_out": left_out, "tta": config.tta}
    folder = write_comparison(config, comparison, contestants, images, indices, about)
    print(say(comparison))
    print(f"all of it is in {folder}")


if __name__ == "__main__":
    run_command(lambda: main(parse(EvaluateConfig, sys.argv[1:], DESCRIPTION)))
