import sys

import pytest
from conftest import run_python

FAULTS = """
import resource, torch
from deeplense.machine.heap import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    stem(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {keep}:
    keep_freed_memory()
images = torch.zeros(192, 1, 64, 64)
stem = torch.nn.Sequential(torch.nn.Conv2d(1, 64, 7, 2, 3), torch.nn.BatchNorm2d(64), torch.nn.ReLU())
print(min(faults() for _ in range(20)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has glibc")
def test_a_step_uses_the_memory_of_the_one_before():
    """Counted in pages that the system has to hand out anew: thousands as it comes, of blocks above 32 MiB each time.

    At the best of twenty: where glibc aligns a block it asks for more than the block, and a freed one of the same size
    has no room for it (before 2.38) until its neighbour is free as well.
    """
    plain, kept = (int(run_python("-c", FAULTS.format(keep=keep)).stdout) for keep in (False, True))
    assert kept < plain / 4
