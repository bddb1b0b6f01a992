"""All views of an image, asked one by one, give one word that does not depend on how the image lies."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_locate import located, rings_with_dots

import evaluate
from deeplense.config import EvaluateConfig
from deeplense.errors import InputError
from deeplense.localisation.network import DX, DY, LOG_DENSITY, LOG_MASS, LOG_MASS_SIGMA, LOG_SIGMA
from deeplense.localisation.views import AllViews, together


class Pointer(torch.nn.Module):
    """A localiser that turns with the image: each cell of two by two pixels points to its light."""

    def forward(self, images):
        light = F.pixel_unshuffle(images.exp(), 2)  # (B, 4, h, w): upper left, upper right, lower left, lower right
        whole = light.sum(1)
        right, lower = light[:, 1] + light[:, 3], light[:, 2] + light[:, 3]
        words = [whole.log(), right / whole - 0.5, lower / whole - 0.5, 0.1 * whole, 9 + whole, -0.2 * whole]
        return torch.stack(words, 1)


def test_what_turns_with_the_image_is_told_as_it_was():
    images = torch.randn(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(AllViews(Pointer())(images), Pointer()(images))


def test_several_words_are_the_moments_of_their_mixture():
    generator = torch.Generator().manual_seed(1)
    words = 0.3 * torch.randn(2, 1, 6, 1, 1, generator=generator, dtype=torch.float64)
    words[:, :, LOG_MASS] += 9
    said = together(words).flatten()
    one, other = words.flatten(1)
    numbers = torch.stack([one[LOG_DENSITY], other[LOG_DENSITY]]).exp()
    assert said[LOG_DENSITY].exp() == pytest.approx(float(numbers.mean()))
    draws, random = 400_000, np.random.default_rng(0)
    which = random.random(draws) < float(numbers[0] / numbers.sum())

    def drawn(mean, log_sigma):
        chosen = [np.where(which, float(one[channel]), float(other[channel])) for channel in (mean, log_sigma)]
        return random.normal(chosen[0], np.exp(chosen[1]))

    x, y, mass = drawn(DX, LOG_SIGMA), drawn(DY, LOG_SIGMA), drawn(LOG_MASS, LOG_MASS_SIGMA)
    assert [float(said[channel]) for channel in (DX, DY, LOG_MASS)] == pytest.approx(
        [x.mean(), y.mean(), mass.mean()], abs=0.01
    )
    assert float(said[LOG_SIGMA].exp()) == pytest.approx(np.sqrt((x.var() + y.var()) / 2), rel=0.01)
    assert float(said[LOG_MASS_SIGMA].exp()) == pytest.approx(mass.std(), rel=0.01)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    data = rings_with_dots(folder / "dots")
    located(data, folder, "--name", "run", "--epochs", "1")
    return folder / "run", data


def test_a_turned_image_has_what_it_had(run, tmp_path, capsys):
    folder, _ = run
    images = np.load(rings_with_dots(tmp_path / "others", 6, seed=9) / "images.npy")
    expected = []
    for name, turned in (("upright", images), ("turned", np.rot90(images, 1, (1, 2))), ("mirrored", images[:, ::-1])):
        (tmp_path / name).mkdir()
        for index, image in enumerate(turned):
            np.save(tmp_path / name / f"{index}.npy", image)
        asked = EvaluateConfig(runs=(folder,), data=str(tmp_path / name), tta=True, min_probability=0.0)
        evaluate.main(asked)
        written = folder / "evaluation" / f"{name}-tta"
        rows = list(csv.DictReader((written / "predictions.csv").open()))
        expected.append([float(row["expected_number"]) for row in rows])
    assert expected[1] == pytest.approx(expected[0], rel=1e-4)
    assert expected[2] == pytest.approx(expected[0], rel=1e-4)
    assert "promises for all views together, of 32 validation images" in capsys.readouterr().err


def test_own_test_images_are_scored_beside_those_of_one_view(run):
    folder, _ = run
    evaluate.main(EvaluateConfig(runs=(folder,), tta=True))
    one, all_of_them = (
        json.loads((folder / "evaluation" / name / "metrics.json").read_text()) for name in ("test", "test-tta")
    )
    assert one["n"] == all_of_them["n"]
    assert one["roc_auc"] != all_of_them["roc_auc"]


def test_where_views_make_no_sense_is_refused(run, tmp_path):
    folder, _ = run
    with pytest.raises(InputError, match="--tta is of the network's word alone"):
        EvaluateConfig(runs=(folder,), tta=True, refit=True)
    card = shutil.copytree(folder, tmp_path / "odd") / "best" / "model.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "image_size": 33}))
    with pytest.raises(InputError, match="sees 33 px, an odd number"):
        evaluate.main(EvaluateConfig(runs=(tmp_path / "odd",), tta=True))
    with pytest.raises(InputError, match="compared by what they say of images as they are"):
        evaluate.main(EvaluateConfig(runs=(folder, tmp_path / "odd"), tta=True))
