import sys

import pytest
from conftest import run_python

FAULTS = """
import resource, torch
from deeplense.machine.heap import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {keep}:
    keep_freed_memory()
print(min(faults() for _ in range(20)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has glibc")
def test_large_blocks_use_the_memory_of_those_before():
    """Counted in pages that the system has to hand out anew: as it comes, those of 64 MiB each time.

    At the best of twenty: where glibc aligns a block it asks for more than the block, and a freed one of the same size
    has no room for it (before 2.38) until its neighbour is free as well.
    """
    plain, kept = (int(run_python("-c", FAULTS.format(keep=keep)).stdout) for keep in (False, True))
    assert kept < plain / 4
