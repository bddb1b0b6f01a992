import pytest
import torch

from deeplense.config import OptimizationConfig
from deeplense.training.optimization import learning_rate


def rates(steps_per_epoch=10, **settings):
    config = OptimizationConfig(lr=0.1, **settings)
    return [learning_rate(config, step, steps_per_epoch) for step in range(config.epochs * steps_per_epoch)]


def test_onecycle_is_torchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=50)
    expected = []
    for _ in range(50):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 50:
            theirs.step()
    assert rates(epochs=5, schedule="onecycle") == pytest.approx(expected)


def test_cosine_is_torchs_after_its_warmup():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)
    expected = []
    for _ in range(30):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    own = rates(epochs=5, schedule="cosine", warmup_epochs=2)
    assert own[20:] == pytest.approx(expected)
    assert own[:20] == pytest.approx([0.1 * (step + 1) / 20 for step in range(20)])
    assert set(rates(epochs=3)) == {0.1}


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_schedules_of_the_shortest_runs(steps):
    for schedule in ("constant", "cosine", "onecycle"):
        for warmup in (0.0, 0.4, 0.5, 1.0)[: 1 if schedule == "onecycle" else None]:
            own = rates(steps, epochs=1, schedule=schedule, warmup_epochs=warmup)
            assert all(0 <= rate <= 0.1 for rate in own), (schedule, warmup)
