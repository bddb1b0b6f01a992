import copy
import json
import os
import resource
import signal
from pathlib import Path

import pytest
import torch

from deeplense.config import OptimizationConfig
from deeplense.errors import InputError, TrainingError
from deeplense.files import write_folder
from deeplense.training.checkpoint import (
    Checkpoint,
    Damaged,
    load_newest,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    save_checkpoint,
)
from deeplense.training.optimization import make_optimizer


def checkpoint(step, size=100):
    tensor = torch.full((size,), float(step))
    return Checkpoint({"weight": tensor}, {"0.exp_avg": tensor + 1}, {"step": step, "loss": 0.1 + step}, {"w": tensor})


def test_what_is_saved_is_read_back(tmp_path):
    path = save_checkpoint(tmp_path, 7, checkpoint(7), keep=2)
    assert path == tmp_path / "step_00000007"
    back = read_checkpoint(path)
    assert back.state == {"step": 7, "loss": 7.1}
    assert torch.equal(back.model["weight"], torch.full((100,), 7.0))
    assert torch.equal(back.average["w"], torch.full((100,), 7.0))
    assert torch.equal(back.optimizer["0.exp_avg"], torch.full((100,), 8.0))


def test_the_newest_are_kept(tmp_path):
    for step in (1, 2, 10, 3000):
        save_checkpoint(tmp_path, step, checkpoint(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000010", "step_00003000"]
    assert load_newest(tmp_path).state["step"] == 3000
    assert load_newest(tmp_path / "none") is None


def test_what_was_just_written_is_never_pruned(tmp_path):
    """A run whose newest checkpoints are damaged goes on from an older one, and writes lower numbers than theirs."""
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, checkpoint(step), keep=3)
    for step in (20, 30):
        flip(tmp_path / f"step_{step:08d}" / "model.safetensors")
    assert load_newest(tmp_path).state["step"] == 10
    save_checkpoint(tmp_path, 15, checkpoint(15), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000015"]


def test_the_same_step_is_replaced(tmp_path):
    save_checkpoint(tmp_path, 5, checkpoint(5), keep=2)
    newer = Checkpoint({"weight": torch.zeros(3)}, {}, {"step": 5, "validated": True})
    save_checkpoint(tmp_path, 5, newer, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000005"]
    assert load_newest(tmp_path).state["validated"]


def cut(file):
    file.write_bytes(file.read_bytes()[:-10])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", [cut, flip, os.remove])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "average.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path, capsys, harm, name):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, checkpoint(step), keep=2)
    harm(tmp_path / "step_00000002" / name)
    assert load_newest(tmp_path).state["step"] == 1
    warning = capsys.readouterr().err
    assert "step_00000002 is damaged" in warning
    assert name in warning
    with pytest.raises(Damaged):
        read_checkpoint(tmp_path / "step_00000002")


def test_another_format_is_not_guessed_at(tmp_path, capsys):
    path = save_checkpoint(tmp_path, 1, checkpoint(1), keep=1)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole: restore one, or start again with --overwrite"):
        load_newest(tmp_path)
    assert "its format is 99" in capsys.readouterr().err


def test_at_every_moment_of_a_replacement_one_is_whole(tmp_path, monkeypatch):
    """Fail before each change of the file system in turn; what is there then must open."""
    changes = ("mkdir", "rename")
    done = 0
    for fail_at in range(1, 10):
        folder = tmp_path / str(fail_at)
        save_checkpoint(folder, 5, checkpoint(5), keep=1)
        count = 0

        def failing(original, fail_at=fail_at):
            def change(*arguments, **options):
                nonlocal count
                count += 1
                if count == fail_at:
                    raise KeyboardInterrupt  # stands for a kill: nothing may run after it but `finally`
                return original(*arguments, **options)

            return change

        with monkeypatch.context() as patch:
            for name in changes:
                patch.setattr(Path, name, failing(getattr(Path, name)))
            try:
                save_checkpoint(folder, 5, checkpoint(5, size=50), keep=1)
                done += 1
            except KeyboardInterrupt:
                pass
        assert load_newest(folder).state["step"] == 5
        save_checkpoint(folder, 6, checkpoint(6), keep=1)  # and the next one finds its way
        assert [path.name for path in folder.iterdir()] == ["step_00000006"]
    assert done >= 4  # the later numbers let it through


def test_a_full_disk_leaves_the_one_before(tmp_path):
    """A limit on the size of files stands in for the full disk: the write fails in the middle, with an `OSError`."""
    save_checkpoint(tmp_path, 1, checkpoint(1), keep=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(TrainingError, match=r"step_00000002 cannot be written .*make room and go on with --resume"):
            save_checkpoint(tmp_path, 2, checkpoint(2, size=10_000), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]
    assert load_newest(tmp_path).state["step"] == 1


def test_write_folder_replaces_whole_folders(tmp_path):
    write_folder(tmp_path / "best", {"a": b"1", "b": b"2"})
    write_folder(tmp_path / "best", {"a": b"3"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "best").iterdir()} == {"a": b"3"}
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_an_optimiser_goes_on_bit_for_bit(kind):
    """Also with weights in channels-last layout, which the fused optimisers walk by address."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    config = OptimizationConfig(optimizer=kind, lr=0.1)

    def steps(net, optimizer, seeds):
        for seed in seeds:
            torch.manual_seed(seed)
            optimizer.zero_grad()
            net(torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)).square().mean().backward()
            optimizer.step()

    whole = make_optimizer(config, network)
    steps(network, whole, range(3))
    twin = copy.deepcopy(network)
    resumed = make_optimizer(config, twin)
    stored = {name: value.contiguous().clone() for name, value in optimizer_tensors(whole).items()}
    restore_optimizer(resumed, stored)
    steps(network, whole, range(3, 6))
    steps(twin, resumed, range(3, 6))
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), twin.parameters(), strict=True))
