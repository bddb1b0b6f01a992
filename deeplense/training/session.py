"""What a training process is before it trains: its place among others, its device, its precision."""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import joblib
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env

from deeplense.config import TrainConfig
from deeplense.data.batches import Batches, PixelStore, TrainBatches
from deeplense.data.fresh import fresh_batches, lessons_of, say_fresh
from deeplense.data.imageset import ImageSet
from deeplense.data.mixed import describe
from deeplense.data.scale import mention_strangers, say_scale
from deeplense.data.simulated import load_data
from deeplense.data.split import Split, counts_of
from deeplense.errors import InputError, LostProcess
from deeplense.machine.compiling import why_not
from deeplense.machine.heap import keep_freed_memory
from deeplense.machine.precision import effective_precision, full_float32, repeatable
from deeplense.machine.remarks import remark
from deeplense.network.batchnorm import synchronized
from deeplense.network.model import Initialization, placed
from deeplense.simulation.sets import SETS
from deeplense.task import Task
from deeplense.training.pace import Way, choose

T = TypeVar("T")


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Join the other processes, in the precision that is really had.

    Raises:
        InputError: the processes do not divide the batch, or the device lacks the precision.
    """
    _refuse_half_a_launch()
    # Said outright, or several processes without a GPU would each believe that they are alone.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    # The others may have to wait while one decodes or simulates a large set.
    state = PartialState(cpu=cpu, timeout=timedelta(hours=6))
    optimization = config.optimization
    pieces = state.num_processes * optimization.grad_accum
    if optimization.batch_size % pieces or optimization.batch_size // pieces < 2:
        raise InputError(
            f"--batch-size {optimization.batch_size} is the global batch, and {state.num_processes} processes with "
            f"--grad-accum {optimization.grad_accum} do not divide it into parts of two or more: give a multiple of "
            f"{pieces}, and {2 * pieces} at least"
        )
    if state.device.type == "cpu":
        _use_cores(state)
        keep_freed_memory()
    precision = effective_precision(config.compute.mixed_precision, state.device)
    full_float32()
    repeatable(config.compute.deterministic)
    torch.manual_seed(config.run.seed)  # the first weights; all else has seeds of its own
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    log_with = None if config.tracking.wandb == "disabled" else "wandb"
    return Accelerator(cpu=cpu, mixed_precision=precision, log_with=log_with)


def _refuse_half_a_launch() -> None:
    """What launchers say in the environment is said whole, or was left there by something else."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        if not os.environ.get(name, "0").strip():
            del os.environ[name]  # empty: as good as not there
        elif not os.environ.get(name, "0").strip().isdecimal():
            raise InputError(f"the variable {name} is «{os.environ[name]}»: unset it, or start with accelerate launch")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
        if missing:
            raise InputError(
                f"the variable WORLD_SIZE is {os.environ['WORLD_SIZE']}, and there is no {' and no '.join(missing)}: "
                "unset it, or start with accelerate launch or torchrun"
            )


def _use_cores(state: PartialState) -> None:
    """Share the cores out. `accelerate launch` and `torchrun` leave each process one thread unless told otherwise."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    if launched and torch.get_num_threads() == 1:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", state.num_processes))
        torch.set_num_threads(max(1, joblib.cpu_count() // here))


def on_first(accelerator: Accelerator, act: Callable[[], T]) -> T:
    """Do something on the first process, and give its result, or its error, to all."""
    outcome: list[Any] = [only_first(accelerator, act)]
    broadcast_object_list(outcome)
    return outcome[0]


def only_first(accelerator: Accelerator, act: Callable[[], T]) -> T | None:
    """Do something on the first process, which alone keeps the result. Its error, if any, is raised on all.

    Without that the others would wait for ever for a process that has given up.
    """
    result: T | None = None
    error: list[Exception | None] = [None]
    if accelerator.is_main_process:
        try:
            result = act()
        except Exception as raised:
            error[0] = raised
    broadcast_object_list(error)
    if error[0] is not None:
        raise error[0]
    return result


def part(accelerator: Accelerator) -> None:
    """Leave the other processes.

    What still knows of them, such as a network that exchanged gradients, has to be gone by then: gloo's threads end
    with the last of it, and where they do not end before Python does, the process may abort at its very end.
    """
    traceback.clear_frames(sys.exc_info()[2])  # an error, or a stop on request, keeps what there was when it came
    accelerator.free_memory()
    gc.collect()  # of what that has let go
    accelerator.end_training()


@contextmanager
def keeping_touch(accelerator: Accelerator) -> Iterator[None]:
    """Turn the many errors that a process gets when another one dies into one that says so."""
    try:
        yield
    except RuntimeError as error:
        # NCCL's are of a type of their own, gloo's are told by their text.
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            raise LostProcess(
                f"process {accelerator.process_index} has lost another one of the run, which was killed or has failed: "
                "look for its last words above, and go on with --resume"
            ) from None
        raise


def load_on_all(accelerator: Accelerator, config: TrainConfig) -> ImageSet:
    """The images, decoded or simulated by one process of each machine and mapped by all."""

    def load() -> ImageSet:
        if config.simulation.online and config.data.data in SETS:
            lessons_of(config)  # may refuse, before anything is simulated
        return load_data(config.data, config.simulation, config.split)

    images, error = None, None
    if accelerator.is_local_main_process:
        try:
            images = load()
        except Exception as raised:
            error = raised
    for other in gather_object([error]):  # also a barrier
        if other is not None:
            raise other
    return images or load()


def make_batches(
    accelerator: Accelerator, config: TrainConfig, task: Task, images: ImageSet, split: Split
) -> tuple[PixelStore, Batches]:
    """The pixels on the device, and this process's share of the training batches.

    Raises:
        InputError: there are fewer training images than a batch has, or the set lacks what the task is to learn.
    """
    batch_size, simulation = config.optimization.batch_size, config.simulation
    if not simulation.online and len(split.train) < batch_size:
        raise InputError(f"--batch-size {batch_size} is more than the {len(split.train)} training images: lower it")
    store = PixelStore(images, config.data, accelerator.device)
    common = {
        "store": store,
        "augment": config.augment,
        "batch_size": batch_size,
        "parts": config.optimization.grad_accum,
        "rank": accelerator.process_index,
        "world": accelerator.num_processes,
    }
    if simulation.online:
        return store, fresh_batches(config, targets=task.drawn_targets, **common)
    targets = task.targets(images, accelerator.device)
    even = None
    if config.optimization.balance == "batches" and images.labels is not None:
        even = images.labels[split.train]
    return store, TrainBatches(targets=targets, indices=split.train, seed=config.run.seed, even=even, **common)


def prepare_network(accelerator: Accelerator, model: torch.nn.Module, config: TrainConfig) -> None:
    """Put the network on the device, in the memory layout asked for."""
    if config.compute.sync_batchnorm and accelerator.num_processes > 1:
        synchronized(model)
    placed(model, accelerator.device, config.compute.channels_last)


def way_of(accelerator: Accelerator, config: TrainConfig, batches: Batches) -> Way:
    """How the steps are to be run; after a warning, if that is not what was asked for.

    By those of the whole run, however many have been: other code rounds otherwise, and what goes on must have its bits.
    """
    optimization, compute = config.optimization, config.compute
    steps = optimization.epochs * batches.steps
    pixels = optimization.batch_size // accelerator.num_processes * config.data.image_size**2
    way, reason = choose(compute.compile, accelerator.device, accelerator.num_processes, steps, pixels, why_not)
    if reason is not None:
        remark(f"--compile has no effect, training runs eagerly: {reason}")
    return way


def facts_of(
    accelerator: Accelerator,
    images: ImageSet,
    store: PixelStore,
    initialization: Initialization,
    way: Way,
) -> dict[str, Any]:
    """What a run turned out to be, beside what was asked for; goes into the record and to W&B."""
    device = accelerator.device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}",
        "threads": torch.get_num_threads(),
        "world_size": accelerator.num_processes,
        "effective_precision": accelerator.mixed_precision,
        "effective_initialization": initialization.effective,
        "initialization_warning": initialization.warning,
        "effective_compile": way.compiled,
        "effective_capture": way.captured,
        "repeatable": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        "effective_placement": "host" if store.on_device is None else "device",
        "data_sha256": images.fingerprint(),
    }


def announce(
    config: TrainConfig,
    task: Task,
    images: ImageSet,
    split: Split,
    batches: Batches,
    model: torch.nn.Module,
    facts: dict[str, Any],
    way: Way,
    folder: Path,
    tracked: str,
) -> None:
    """Print what was derived, for a look before the hours go by."""
    counts = counts_of(images, split)
    optimization = config.optimization
    parameters = sum(parameter.numel() for parameter in model.parameters())
    share = optimization.batch_size // facts["world_size"]
    lines = {
        "images": f"{len(images)} of {describe(images.pixels)}, from {config.data.data}",
        "pixels": say_scale(images, batches.store.scale),
        **task.about(images, split),
        **{f"  {part}": said for part, said in counts.items()},
        **({"  online": say_fresh(config.simulation)} if config.simulation.online else {}),
        "batch": f"{optimization.batch_size} = {facts['world_size']} process(es) x {optimization.grad_accum} part(s) x "
        f"{share // optimization.grad_accum}",
        "steps": f"{batches.steps} an epoch, {batches.steps * optimization.epochs} in {optimization.epochs} epochs",
        "network": f"{task.card_type.architecture}, {parameters:,} parameters, from "
        f"{facts['effective_initialization']} weights",
        "device": f"{facts['device']}, precision {facts['effective_precision']}, pixels on the "
        f"{facts['effective_placement']}",
        **({"each step": way.said} if way.said else {}),
        "run folder": str(folder),
        "W&B": tracked,
    }
    print("\n".join(f"{name:<11}{value}" for name, value in lines.items()), flush=True)
    mention_strangers(images, batches.store.scale)
    if facts["initialization_warning"]:
        warn(facts["initialization_warning"])


def warn(message: str) -> None:
    """A warning that cannot be missed."""
    bar = "!" * 100
    print(f"\n{bar}\n{message}\n{bar}\n", file=sys.stderr, flush=True)
