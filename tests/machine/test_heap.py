import sys

import pytest
from conftest import run_python

FAULTS = """
import resource, torch
from deeplense.machine.heap import keep_freed_memory
from deeplense.network.model import build_model

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        network(torch.zeros(64, 1, 64, 64)).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {keep}:
    keep_freed_memory()
network = build_model(2)
faults(3)
print(faults(5))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has glibc")
def test_a_step_uses_the_memory_of_the_one_before():
    """Counted in pages that the system has to hand out anew: thousands as it comes."""
    plain, kept = (int(run_python("-c", FAULTS.format(keep=keep)).stdout) for keep in (False, True))
    assert kept < plain / 4
