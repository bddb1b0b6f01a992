"""What a run takes for foreign, measured on its own images and on changed ones."""

import numpy as np
import pytest

from deeplense.benchmark.familiar import STRAYS, Familiar, _noise, _widening, measure, show
from deeplense.errors import InputError


def test_own_images_are_rarely_foreign_and_strays_always(trained, capsys):
    result = measure(Familiar(run=trained, count=20))
    rows = {row["images"]: row for row in result["rows"]}
    assert rows["own, unseen"]["n"] == 20
    assert rows["own, unseen"]["rate"] < 0.4  # 24 validation images leave it open
    for name, count in (("sky", STRAYS), ("photographs", STRAYS), ("grey levels inverted", 20)):
        assert (rows[name]["n"], rows[name]["rate"]) == (count, 1)
        assert rows[name]["as_a_set_p"] < 0.01
    assert {"PSF x 1.5", "PSF x 1.5, JPEG", "noise x 2.0", "pixels x 0.8, JPEG"} <= set(rows)
    show(result)
    assert "own, unseen" in capsys.readouterr().out


def test_a_wider_disk_and_noise_are_what_they_are_called():
    kernel = _widening(4.5, 1.5)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.max() < 0.5
    noisy = np.random.default_rng(0).normal(100, 7, (3, 1, 60, 60))
    assert _noise(noisy).ravel() == pytest.approx([7, 7, 7], rel=0.1)


def test_what_cannot_be_measured_is_refused(tmp_path):
    with pytest.raises(InputError, match="--run: of which run"):
        measure(Familiar())
    with pytest.raises(InputError, match="--count 5: give 20 or more"):
        Familiar(count=5)
