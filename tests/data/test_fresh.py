"""Images that are made when they are needed, crowded and easier ones first."""

import dataclasses

import numpy as np
import pytest
import torch

from configs import DESCRIPTIONS, PRESETS
from deeplense.cli import parse_training
from deeplense.config import DataConfig, OptimizationConfig, SimulationConfig, TrainConfig
from deeplense.data.batches import PixelStore
from deeplense.data.fresh import fresh_batches, lessons_of, say_fresh
from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError
from deeplense.simulation.draw import Draws

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    task="locate",
    data=DataConfig(data="one_subhalo", image_size=32),
    simulation=SimulationConfig(online=True, epoch_images=32, crowd=4.0, crowd_part=0.5),
    optimization=OptimizationConfig(batch_size=16, epochs=3),
)


def batches(config=CONFIG, rank=0, world=1):
    store = PixelStore(ImageSet(np.zeros((1, 1, 80, 80), np.float32), None, (), ["a"], ["0"]), config.data, CPU)
    return fresh_batches(
        config, store=store, targets=lambda draws, maps: draws.mass, augment=config.augment, batch_size=16, parts=1,
        rank=rank, world=world,
    )  # fmt: skip


def numbers_of(own, epoch):
    return [(truth.mass > 0).sum(1) for _, _, truth in own.raw(epoch)]


def test_many_subhalos_first_and_then_as_the_set_has_them():
    own = batches()
    assert (own.steps, [lesson.until for lesson in own.lessons]) == (2, [3])
    first, second, third = (numbers_of(own, epoch) for epoch in range(3))
    for many in (*first, second[0]):
        assert many.max() > 2
        assert 0 < (many == 0).sum() < 16  # smooth lenses stay: half of the images, and some of the others
    for few in (second[1], *third):
        assert few.max() == 1
        assert few.sum() > 0
    crowded = torch.cat([*first, second[0]])
    assert crowded.double().mean() == pytest.approx(2.0, abs=1.0)  # of half of the images four in the mean


def test_every_step_has_one_shape():
    """As one that is captured must."""
    own = batches()
    shapes = {truth.mass.shape for epoch in range(3) for _, _, truth in own.raw(epoch)}
    assert shapes == {(16, 8)}
    plain = dataclasses.replace(own, lessons=())
    counts, _, truth = next(plain.raw(2))
    assert truth.mass.shape == (16, 1)
    same, _, padded = next(own.raw(2))
    assert torch.equal(counts, same)
    assert isinstance(padded, Draws)
    assert torch.equal(padded.of_places(0, 1).mass, truth.mass)
    assert not padded.mass[:, 1:].any()


def test_it_goes_on_in_the_middle_and_is_the_same_for_two_processes():
    whole = [counts for counts, _, _ in batches().raw(1)]
    assert torch.equal(next(batches().raw(1, start=1))[0], whole[1])
    shares = [next(batches(rank=rank, world=2).raw(1))[0] for rank in (0, 1)]
    assert torch.equal(torch.cat(shares), whole[0])


def test_what_cannot_be_crowded_is_refused_in_a_line():
    for name in ("morphology_2019", "euclid"):
        config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, data=name))
        with pytest.raises(InputError, match=rf"^--crowd 4: the subhalos of {name} share a given mass, .*--crowd 0$"):
            batches(config)
    with pytest.raises(InputError, match=r"^--crowd -1: give the mean number of subhalos, 0 to 50$"):
        SimulationConfig(crowd=-1.0, online=True)
    with pytest.raises(InputError, match=r"^--crowd-part 1: give a part, more than 0 and less than 1$"):
        SimulationConfig(crowd_part=1.0)


def test_stored_images_of_the_preset_are_as_they_are():
    """`train.py locate --no-online --data FOLDER`: whoever has a set of his own need not know of crowds."""
    config = parse_training(["locate", "--no-online", "--data", "folder"], PRESETS, DESCRIPTIONS)
    assert (config.simulation.online, config.simulation.crowd) == (False, 4.0)


def settings_of(data="one_subhalo", epochs=3, ema_decay=None, **simulation):
    return dataclasses.replace(
        CONFIG,
        data=dataclasses.replace(CONFIG.data, data=data),
        simulation=dataclasses.replace(CONFIG.simulation, **simulation),
        optimization=dataclasses.replace(CONFIG.optimization, epochs=epochs, ema_decay=ema_decay),
    )


@pytest.mark.parametrize(
    ("settings", "lessons"),
    [
        ({}, [("one_subhalo, crowded", 10)]),
        ({"crowd": 0.0}, []),
        ({"first_set": "few_subhalos", "crowd": 0.0}, [("few_subhalos", 4)]),
        ({"first_set": "few_subhalos"}, [("few_subhalos, crowded", 4), ("one_subhalo, crowded", 10)]),
        ({"first_set": "few_subhalos", "first_part": 0.7}, [("few_subhalos, crowded", 10), ("few_subhalos", 14)]),
        ({"first_set": "few_subhalos", "first_part": 0.5}, [("few_subhalos, crowded", 10)]),
        ({"epochs": 1, "crowd_part": 0.99}, [("one_subhalo, crowded", 1)]),  # the last step is of the run's own
    ],
)
def test_lessons_come_one_after_the_other(settings, lessons):
    found = lessons_of(settings_of(**{"epochs": 10, **settings}))
    assert [(lens_set.name, until) for lens_set, until in found] == lessons


def test_an_easier_set_first_and_then_the_own_one():
    """Point masses, and then halos with a profile; in crowds of them, and then one by one."""
    own = batches(settings_of("hst_subhalo_sersic", first_set="one_subhalo"))
    items = [item for epoch in range(3) for item in own.raw(epoch)]
    truths = [truth for _, _, truth in items]
    assert [bool((truth.scale > 0).any()) for truth in truths] == [False] + 5 * [True]
    assert [int((truth.mass > 0).sum(1).max()) > 1 for truth in truths] == 3 * [True] + 3 * [False]
    assert {counts.shape for counts, _, _ in items} == {(16, 1, 80, 80)}
    alone = dataclasses.replace(own, lessons=())
    assert torch.equal(next(alone.raw(2))[0], items[4][0])


def test_a_step_that_is_captured_takes_what_any_other_has():
    """Of sources with clumps and without; what both have a task may ask for."""
    own = batches(settings_of("hst_subhalo", first_set="one_subhalo"))
    number = torch.arange(16)
    forms = []
    for stream in own._streams:
        truth = stream.simulator.draw(number).of_subhalos(own._scalars).with_room(8)
        assert list(truth.scalars) == own._scalars
        tensors = {**vars(truth), **truth.scalars, "scalars": number}
        forms.append({name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
    assert len(forms) == 3
    assert forms[0] == forms[1] == forms[2]
    assert "einstein_radius" in own._scalars


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.simulation.online])
def test_presets_have_lessons_that_can_be(name):
    config = PRESETS[name]
    assert bool(lessons_of(config)) == config.simulation.has_lessons


def test_a_first_set_of_other_images_is_refused_in_a_line():
    with pytest.raises(InputError, match=r"^--first-set sausage: no simulated set has this name; there are model_i, "):
        lessons_of(settings_of(first_set="sausage"))
    with pytest.raises(InputError, match=r"^--first-set one_subhalo: is the set of --data: leave it out$"):
        lessons_of(settings_of(first_set="one_subhalo"))
    message = r"^--first-set hst: has images of 100 x 100 px of .*\" where one_subhalo has 80 x 80 px of 0.08\": give "
    with pytest.raises(InputError, match=message):
        lessons_of(settings_of(first_set="hst"))
    with pytest.raises(InputError, match=r"^--first-part 0: give a part, more than 0 and less than 1$"):
        SimulationConfig(first_part=0.0)


def test_an_average_that_would_go_on_expecting_the_crowd_is_refused_in_a_line():
    message = r"^--ema-decay 0\.99: 97% of the average would be .* left, 3 steps before the end: give 0\.368 or less, "
    with pytest.raises(InputError, match=message):
        lessons_of(settings_of(ema_decay=0.99))
    assert lessons_of(settings_of(ema_decay=0.368))
    assert lessons_of(settings_of(ema_decay=0.99, epochs=300))
    assert not lessons_of(settings_of(ema_decay=0.99, crowd=0.0))


def test_it_is_said():
    assert say_fresh(CONFIG.simulation) == ("32 fresh ones an epoch; in the first 50% with 4 subhalos in the mean")
    assert say_fresh(settings_of(first_set="few_subhalos").simulation) == (
        "32 fresh ones an epoch; in the first 20% of the training of few_subhalos; "
        "in the first 50% with 4 subhalos in the mean"
    )
    assert say_fresh(SimulationConfig(online=True)) == "10000 fresh ones an epoch"
