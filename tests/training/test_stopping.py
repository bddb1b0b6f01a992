import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from deeplense.training.stopping import SAME_REQUEST

WAITING = """
import time
from deeplense.training.stopping import StopRequest
stop = StopRequest()
stop.listen()
print("listens", flush=True)
while not stop.requested:
    time.sleep(0.01)
print("asked", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_later_signal_ends_the_process_and_an_echo_does_not(number):
    process = subprocess.Popen([sys.executable, "-c", WAITING], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "listens\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)  # as SLURM does at a preemption
        time.sleep(SAME_REQUEST + 0.2)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(10) == -number
    finally:
        process.kill()
        process.communicate()
