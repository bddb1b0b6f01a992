"""Batch norm over several processes, against one that has the whole batch."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPT = """
import copy, sys, torch
from torch.nn.parallel import DistributedDataParallel
from deeplense.network.batchnorm import synchronized
from deeplense.classification.outputs import loss_function
from deeplense.network.model import build_model

torch.distributed.init_process_group("gloo")
rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
torch.manual_seed(0)
alone = build_model(2, 1).double()
shared = synchronized(copy.deepcopy(alone))
x, y = torch.randn(16, 1, 64, 64).double(), torch.arange(16) % 2
share = slice(rank * 16 // world, (rank + 1) * 16 // world)
torch.nn.functional.binary_cross_entropy_with_logits(alone(x)[:, 0], y.double()).backward()
network = DistributedDataParallel(shared)
torch.nn.functional.binary_cross_entropy_with_logits(network(x[share])[:, 0], y[share].double()).backward()
assert list(shared.state_dict()) == list(alone.state_dict())
for (name, own), other in zip(shared.named_parameters(), alone.parameters(), strict=True):
    torch.testing.assert_close(own.grad, other.grad, atol=1e-10, rtol=1e-6, msg=name)
for (name, own), other in zip(shared.named_buffers(), alone.buffers(), strict=True):
    torch.testing.assert_close(own, other, atol=1e-12, rtol=1e-8, msg=name)
torch.testing.assert_close(shared.eval()(x), alone.eval()(x))
torch.distributed.destroy_process_group()
print("equal")
"""


@pytest.mark.slow  # `test_loop.py` trains by two processes
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_are_one(tmp_path, processes):
    """In double precision: gradients, running statistics and names of the whole ResNet-18."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", "29561",
         tmp_path / "script.py"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["equal"] * processes
