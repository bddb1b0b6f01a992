"""The scripts of launch/ on a real SLURM: two nodes that share this machine, with eight GPUs each that do not exist."""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, SMALL
from wandb_runs import entries

from deeplense.simulation.write import simulate_set

PROGRAMS = {
    name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("munged", "slurmctld", "slurmd")
}
MISSING = [name for name, file in PROGRAMS.items() if file is None]

pytestmark = [
    pytest.mark.skipif(
        bool(MISSING), reason=f"no SLURM here: {', '.join(MISSING)} not found (apt-get install slurm-wlm munge)"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a SLURM of its own"),
]

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1
SlurmdParameters=config_overrides
MinJobAge=86400
KillWait=60
FirstJobId={port}
GresTypes=gpu
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_node}-{second_node}] CPUs=64 Gres=gpu:8
PartitionName=main Nodes=ALL Default=YES
"""
# cred_expire, 5 at least, is also how long a job waits in the queue that has come back to it.

TIME_LIMIT = ("scancel", "--batch", "--signal=USR1")
"""What SLURM does before the limit where a script has `--signal=B:USR1@120`."""


class Cluster:
    """Daemons of our own, on ports of our own, and a copy of the project's folder to submit from."""

    def __init__(self, folder):
        self.folder = folder
        self.daemons = []
        port = free_ports(3)
        host = socket.gethostname().split(".")[0]
        for name in ("state", "n1", "n2"):
            (folder / name).mkdir()
        for number in range(8):
            (folder / f"gpu{number}").touch()
        (folder / "key").write_bytes(os.urandom(64))
        (folder / "key").chmod(0o600)
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(folder=folder, host=host, port=port, first_node=port + 1, second_node=port + 2)
        )
        (folder / "gres.conf").write_text(f"NodeName=n[1-2] Name=gpu File={folder}/gpu[0-7]\n")
        # Not used, but looked at: this one starts with any cgroups or none.
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        self.project = folder / "project"
        self.project.mkdir()
        for name in ("train.py", "deeplense", "configs"):
            (self.project / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "launch", self.project / "launch")
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ACCELERATE_USE_CPU": "1",
            "OMP_NUM_THREADS": "1",
        }

    def start(self):
        options = {"key-file": "key", "socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "munge.seed"}
        files = [f"--{name}={self.folder / file}" for name, file in options.items()]
        # By force: munged dislikes folders that others may not enter, such as those of pytest.
        self._daemon("munged", "--foreground", "--force", f"--log-file={self.folder / 'munged.log'}", *files)
        self._wait_until("munged", (self.folder / "munge.socket").exists)
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-N", "n1")
        self._daemon("slurmd", "-D", "-N", "n2")
        self._wait_until(
            "sinfo", lambda: self.ask("sinfo", "-h", "-N", "-o", "%T", check=False).split() == ["idle"] * 2
        )

    def stop(self):
        if self.ask("squeue", "-h", check=False):
            self.ask("scancel", "--full", "--signal=KILL", "--user=root", check=False)
            self.ask("scancel", "--user=root", check=False)
            deadline = time.monotonic() + 20
            while self.ask("squeue", "-h", check=False) and time.monotonic() < deadline:
                time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _daemon(self, name, *arguments):
        with (self.folder / "daemons.log").open("ab") as log:
            process = subprocess.Popen(
                [PROGRAMS[name], *arguments],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_the_tests,
            )
        self.daemons.append(process)

    def _wait_until(self, what, ready):
        deadline = time.monotonic() + 30
        while not ready():
            logs = "".join(file.read_text() for file in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, f"{what} is not ready:\n{logs[-5000:]}"
            assert all(daemon.poll() is None for daemon in self.daemons), logs[-5000:]
            time.sleep(0.1)

    def ask(self, *command, check=True, **environment):
        """What one of SLURM's commands prints."""
        done = subprocess.run(
            list(map(str, command)),
            env={**self.environment, **environment},
            cwd=self.project,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, *arguments, **environment):
        """`sbatch ARGUMENTS` in the project's folder, as a user does; the job's number."""
        return self.ask("sbatch", "--parsable", *arguments, **environment)

    def facts(self, job):
        """What SLURM knows of a job."""
        words = self.ask("scontrol", "show", "job", job, "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job, seconds=300):
        """The facts of a job that has come to its end."""
        deadline = time.monotonic() + seconds
        while (facts := self.facts(job))["JobState"] in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED"):
            assert time.monotonic() < deadline, f"{facts}\n{self.log(job)}"
            time.sleep(0.2)
        return facts

    def act_in_the_middle(self, actions, seconds=300):
        """Ask SLURM for something about each job as soon as its run is well under way: {(run, job): command}."""
        deadline = time.monotonic() + seconds
        while actions:
            for run, job in list(actions):
                file = self.run(run) / "metrics.jsonl"
                if file.exists() and len(file.read_bytes().splitlines()) >= 2:
                    self.ask(*actions.pop((run, job)), job)
                else:
                    state = self.facts(job)["JobState"]
                    assert state in ("PENDING", "CONFIGURING", "RUNNING"), f"{state}\n{self.log(job)}"
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def log(self, job):
        return "".join(file.read_text() for file in (self.project / "launch" / "logs").glob(f"*-{job}.out"))

    def run(self, name):
        return self.project / "runs" / name


def end_with_the_tests():
    """A daemon whose tests are killed gets SIGTERM from Linux (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_ports(count):
    """The first of so many ports in a row that nobody listens on."""
    for first in range(17100 + os.getpid() % 2000 * count, 30000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as listener:
                    listener.bind(("", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    own = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        own.start()
        yield own
    finally:
        own.stop()


def sessions_of(run):
    return json.loads((run / "record.json").read_text())["sessions"]


def outcomes_of(run):
    return [session["outcome"].split(":")[0] for session in sessions_of(run)]


def test_two_nodes_preempted_end_as_one_node_undisturbed(cluster, lenses):
    flags = (*SMALL, "--data", lenses)
    single = cluster.submit("--gpus-per-node=2", "launch/slurm_single_node.sh", *flags)
    facts = cluster.wait(single)
    assert (facts["JobState"], facts["Restarts"], facts["NumNodes"]) == ("COMPLETED", "0", "1"), cluster.log(single)
    whole = cluster.run(f"slurm-{single}")
    assert [session["world_size"] for session in sessions_of(whole)] == [2]

    multi = cluster.submit(
        "--gpus-per-node=1", "launch/slurm_multi_node.sh", *flags, "--name", "multi", "--wandb", "offline"
    )
    cluster.act_in_the_middle({("multi", multi): ("scontrol", "requeue")})
    facts = cluster.wait(multi)
    assert (facts["JobState"], facts["Restarts"], facts["NodeList"]) == ("COMPLETED", "1", "n[1-2]"), cluster.log(multi)
    cut = cluster.run("multi")
    assert outcomes_of(cut) == ["Stopped", "done"]
    assert [(session["world_size"], session["slurm_job"]) for session in sessions_of(cut)] == [(2, multi)] * 2
    for name in ("best/model.safetensors", "split.csv", "evaluation/test/predictions.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    # W&B's process ends at SLURM's first signal; its entries are all there nevertheless, and the scores as the last.
    lines = len((cut / "metrics.jsonl").read_text().splitlines())
    assert [number for number, *_ in entries(cut)] == list(range(lines + 1))
    assert cluster.log(multi).count("on n[1-2], processes on each: 1") == 2  # one log for both starts


def test_a_wrong_flag_ends_the_job_for_good(cluster):
    job = cluster.submit("--gpus-per-node=0", "launch/slurm_single_node.sh", "debug", "--lr", "-1", "--name=wrong")
    facts = cluster.wait(job)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "2:0", "0")
    assert "error: --lr -1.0: give a learning rate above 0" in cluster.log(job).splitlines()
    assert not cluster.run("wrong").exists()


@pytest.mark.slow
def test_an_array_makes_the_shares_of_a_set_and_joins_them(cluster, tmp_path):
    """The same files as in one go, whichever task ends last."""
    flags = ("--cpus-per-task=1", "--gpus-per-node=0")
    job = cluster.submit(
        "--array=1-2", *flags, "launch/slurm_simulate.sh", "one_subhalo", "--count=40", "--out", tmp_path / "set",
    )  # fmt: skip
    ends = [cluster.wait(f"{job}_{share}") for share in (1, 2)]
    logs = [cluster.log(f"{job}_{share}") for share in (1, 2)]
    assert [end["JobState"] for end in ends] == ["COMPLETED"] * 2, logs
    assert any("joined, 40 images" in log for log in logs)
    simulate_set("one_subhalo", tmp_path / "whole", 40, progress=False)
    for name in ("images.npy", "catalog.csv", "subhalos.csv"):
        assert (tmp_path / "set" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "set").glob("part-*"))


@pytest.mark.slow
def test_an_array_trains_a_seed_each(cluster, lenses):
    """Seed 0 undisturbed, 1 through a time limit, and 2 until its user has had enough."""
    job = cluster.submit(
        "--array=0-2", "--gpus-per-node=0", "launch/slurm_array.sh", "report", *SMALL, "--data", lenses, "--name", "a"
    )
    cluster.act_in_the_middle({("a-seed-1", f"{job}_1"): TIME_LIMIT, ("a-seed-2", f"{job}_2"): ("scancel",)})
    ends = [cluster.wait(f"{job}_{seed}") for seed in range(3)]
    assert [(end["JobState"], end["Restarts"]) for end in ends] == [
        ("COMPLETED", "0"),
        ("COMPLETED", "1"),
        ("CANCELLED", "0"),
    ], cluster.log(f"{job}_1")
    runs = [cluster.run(f"a-seed-{seed}") for seed in range(3)]
    assert [outcomes_of(run) for run in runs] == [["done"], ["Stopped", "done"], ["Stopped"]]
    assert [json.loads((run / "config.json").read_text())["run"]["seed"] for run in runs] == [0, 1, 2]
    assert [(run / "summary.json").exists() for run in runs] == [True, True, False]
    assert list((runs[2] / "checkpoints").glob("step_*"))
    assert cluster.log(f"{job}_1").count("stopped on request: goes back to the queue") == 1


AGENT = """#!{python}
# `wandb`, as it is, but for its server.
import wandb
from wandb.apis.public import sweeps
from wandb.cli.cli import cli
from wandb.sdk import wandb_login

run = {{"type": "run", "run_id": "agents01", "program": "train.py", "args": {args}}}
answers = iter([[run]])
wandb.Api = lambda *_, **__: None
wandb_login._login = lambda *_, **__: True
sweeps._sweep_with_runs = lambda *_: {{"config": open("launch/sweep.yaml").read()}}
sweeps._register_agent = lambda *_, **__: {{"id": "agent"}}
sweeps._agent_heartbeat = lambda *_: next(answers, [])
cli()
"""


@pytest.mark.slow
def test_an_agent_s_run_goes_on_without_the_agent(cluster, lenses, tmp_path):
    flags = [flag.removeprefix("--").replace("-", "_") for flag in SMALL[::2]]
    settings = {**dict(zip(flags, SMALL[1::2], strict=True)), "wandb": "offline", "data": str(lenses)}
    agent = tmp_path / "wandb"
    agent.write_text(
        AGENT.format(python=sys.executable, args={name: {"value": value} for name, value in settings.items()})
    )
    agent.chmod(0o755)
    job = cluster.submit(
        "--array=7", "--gpus-per-node=0", "launch/slurm_array.sh", "--sweep", "me/deeplense/abc",
        PATH=f"{tmp_path}:{cluster.environment['PATH']}",
    )  # fmt: skip
    job = f"{job}_7"
    cluster.act_in_the_middle({(f"slurm-{job}", job): TIME_LIMIT})
    facts = cluster.wait(job)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), cluster.log(job)
    run = cluster.run(f"slurm-{job}")
    assert outcomes_of(run) == ["Stopped", "done"]
    both = sorted(folder.name for folder in (run / "wandb").glob("offline-run-*"))
    assert [name.endswith("-agents01") for name in both] == [True, True]
