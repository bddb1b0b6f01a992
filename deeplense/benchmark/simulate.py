"""How fast images are simulated, against lenstronomy on the same cores.

Ours are whole images of `model_i`, 150 pixels and 25 subhalos: drawn, rendered, photographed, with noise. Those of
lenstronomy are noise-free, of parameters that were drawn before. The two take turns, so that whatever else the machine
does falls on both; each has a warm-up that is not counted (compilation, caches).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deeplense.benchmark.measuring import Benchmark, about, heading, rates, shown
from deeplense.errors import InputError


@dataclass(frozen=True)
class Simulate(Benchmark):
    """Time the simulator, and lenstronomy beside it."""

    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    rounds: int = 7
    """Timed turns of each."""
    cores: int = 1
    """CPU cores for ours. lenstronomy runs on one: it is compared by the core."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.cores <= (os.cpu_count() or 1):
            raise InputError(f"--cores {self.cores}: give 1 to {os.cpu_count()}, the cores of this machine")


def show(result: dict[str, Any]) -> None:
    """Print `result` for a reader."""
    print(heading(result))
    for name in ("deeplense", "lenstronomy"):
        rate = result[name]
        print(f"{name:12} {shown(rate)} images/s in {rate['rounds']} rounds of {rate['images']:,}; {rate['what']}")
    print(f"{result['ratio']:.1f} times as fast, {result['by']}")


def measure(wanted: Simulate) -> dict[str, Any]:
    """Rates in images/s, what they were measured on, and their ratio: by the core on a CPU."""
    import torch

    if wanted.device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"--device {wanted.device}: there is no such device here; give cpu")
    torch.set_num_threads(wanted.cores)
    on_cpu = wanted.device == "cpu"
    ours_count, theirs_count = (1024, 64) if on_cpu else (65_536, 64)
    ours, theirs = _our_images(wanted.device, ours_count), _their_images(theirs_count)
    ours(), theirs()
    our_times, their_times = [], []
    for _ in range(wanted.rounds):
        our_times.append(_seconds(ours))
        their_times.append(_seconds(theirs))
    mine = rates(ours_count, our_times) | {"what": f"with noise, on {wanted.cores if on_cpu else wanted.device}"}
    other = rates(theirs_count, their_times) | {"what": "noise-free, on 1 core"}
    if on_cpu:
        mine["what"] += " core" if wanted.cores == 1 else " cores"
    per = wanted.cores if on_cpu else 1
    return about(wanted, wanted.device, "torch", "caustics", "lenstronomy", "numpy") | {
        "deeplense": mine,
        "lenstronomy": other,
        "ratio": mine["median"] / per / other["median"],
        "by": "by the core" if on_cpu else "a device against a core",
    }


def _our_images(device: str, count: int) -> Callable[[], None]:
    """Makes `count` new images at each call, on the device, and waits for the last."""
    import torch

    from deeplense.simulation.sets import find_classes, find_set
    from deeplense.simulation.simulator import Simulator

    simulator = Simulator(find_set("model_i"), find_classes(["cdm"]), 0, device)
    at_once = min(count, 4096)  # as a program would ask for them: all of 65,536 do not fit everywhere

    def make() -> None:
        for first in range(0, count, at_once):
            number = torch.arange(first, first + at_once, device=device)
            counts, _ = simulator.make(number, torch.zeros_like(number))
        counts[-1, -1, -1].item()

    return make


def _their_images(count: int) -> Callable[[], None]:
    """Renders `count` images with lenstronomy, with the telescope and without noise."""
    try:
        from lenstronomy.Data.imaging_data import ImageData  # type: ignore[import-untyped]
        from lenstronomy.Data.psf import PSF  # type: ignore[import-untyped]
        from lenstronomy.ImSim.image_model import ImageModel  # type: ignore[import-untyped]
        from lenstronomy.LensModel.lens_model import LensModel  # type: ignore[import-untyped]
        from lenstronomy.LightModel.light_model import LightModel  # type: ignore[import-untyped]
    except ImportError:
        raise InputError("lenstronomy is not installed: pip install 'deeplense[dev]'") from None
    import numpy as np
    import torch

    from deeplense.simulation.instruments import Gaussian
    from deeplense.simulation.sets import find_classes, find_set
    from deeplense.simulation.simulator import Simulator

    lens_set = find_set("model_i")
    camera = lens_set.camera
    assert isinstance(camera.psf, Gaussian)
    number = torch.arange(count)
    draws = Simulator(lens_set, find_classes(["cdm"]), 0, "cpu").draw(number, torch.zeros_like(number))
    side, scale = camera.pixels, camera.pixel_scale
    corner = -0.5 * (side - 1) * scale
    model = ImageModel(
        ImageData(
            image_data=np.zeros((side, side)),
            ra_at_xy_0=corner,
            dec_at_xy_0=corner,
            transform_pix2angle=scale * np.eye(2),
        ),
        PSF(psf_type="GAUSSIAN", fwhm=camera.psf.fwhm, pixel_size=scale, truncation=camera.psf.truncation),
        lens_model_class=LensModel(["SIE", "SHEAR"] + ["POINT_MASS"] * draws.x.shape[1]),
        source_model_class=LightModel(["SERSIC_ELLIPSE"]),
        kwargs_numerics={"supersampling_factor": 1, "supersampling_convolution": False},
    )
    own = {name: values.tolist() for name, values in draws.scalars.items()}
    lenses, sources = [], []
    for image in range(count):
        halo = {"theta_E": own["einstein_radius"][image], "e1": 0.1, "e2": 0.0, "center_x": 0.0, "center_y": 0.0}
        places = zip(draws.radius[image].tolist(), draws.x[image].tolist(), draws.y[image].tolist(), strict=True)
        masses = [{"theta_E": radius, "center_x": x, "center_y": y} for radius, x, y in places]
        lenses.append([halo, {"gamma1": 0.05, "gamma2": 0.0}, *masses])
        source = {"amp": 20.0, "R_sersic": 0.25, "n_sersic": 1.0, "e1": -0.1, "e2": 0.1}
        sources.append([source | {"center_x": own["source_x"][image], "center_y": own["source_y"][image]}])

    def make() -> None:
        for lens, source in zip(lenses, sources, strict=True):
            model.image(lens, source)

    return make


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
