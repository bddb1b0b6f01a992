"""How fast images are simulated, against lenstronomy on the same cores.

Ours are whole images: drawn, rendered, photographed, with noise. Those of lenstronomy are noise-free, of parameters
that were drawn before. They are images of `model_i`, 150 pixels and 25 point masses; or with `--subhalos N` of
`hst_subhalo`, 80 pixels of 4 x 4 points, with N truncated NFW halos: of 10^8 to 10^11 Msun for one, of the mass
function of cold dark matter down to 10^6 Msun for more. Then ours are made with one subhalo as well, which says what
each further one costs. All take turns, so that whatever else the machine does falls on each; each has a warm-up that is
not counted (compilation, caches).
"""

from __future__ import annotations

import math
import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deeplense.benchmark.measuring import Benchmark, about, heading, rates, shown
from deeplense.errors import InputError

if TYPE_CHECKING:
    from deeplense.simulation.draw import Draws
    from deeplense.simulation.sets import LensSet

Models = list[tuple[str, dict[str, float]]]
"""Names and parameters of lenstronomy's profiles."""


@dataclass(frozen=True)
class Simulate(Benchmark):
    """Time the simulator, and lenstronomy beside it."""

    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    rounds: int = 7
    """Timed turns of each."""
    cores: int = 1
    """CPU cores for ours. lenstronomy runs on one: it is compared by the core."""
    subhalos: int | None = None
    """Of hst_subhalo, in each image; none: images of model_i."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subhalos is not None and self.subhalos < 1:
            raise InputError(f"--subhalos {self.subhalos}: give 1 or more")
        if not 1 <= self.cores <= (os.cpu_count() or 1):
            raise InputError(f"--cores {self.cores}: give 1 to {os.cpu_count()}, the cores of this machine")


def show(result: dict[str, Any]) -> None:
    """Print `result` for a reader."""
    print(heading(result))
    for name in ("deeplense", "lenstronomy"):
        rate = result[name]
        figure = shown(rate, 0 if rate["median"] >= 10 else 2)
        print(f"{name:12} {figure} images/s in {rate['rounds']} rounds of {rate['images']:,}; {rate['what']}")
    print(f"{result['ratio']:.1f} times as fast, {result['by']}; ours in {result['memory_gib']:.2f} GiB, all told")
    if "each_subhalo_ms" in result:
        print(
            f"an image takes {result['image_ms']:.1f} ms here, and {result['each_subhalo_ms']:.3f} ms for each subhalo"
        )


def measure(wanted: Simulate) -> dict[str, Any]:
    """Rates in images/s, what they were measured on, and their ratio: by the core on a CPU."""
    import torch

    if wanted.device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"--device {wanted.device}: there is no such device here; give cpu")
    torch.set_num_threads(wanted.cores)
    on_cpu = wanted.device == "cpu"
    lens_set = _lens_set(wanted.subhalos)
    # Seconds a round for either: fewer images where each has more to sum.
    ours_count = 1024 if on_cpu else 65_536
    theirs_count = 64
    if wanted.subhalos is not None:
        ours_count, theirs_count = max(ours_count // (12 + wanted.subhalos // 8) // 32, 1) * 32, 1
    several = wanted.subhalos is not None and wanted.subhalos > 1
    ours = _our_images(lens_set, wanted.device, ours_count)
    with_one = _our_images(_lens_set(1), wanted.device, ours_count) if several else None
    ours()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB
    theirs = _their_images(lens_set, theirs_count)
    theirs()
    if with_one is not None:
        with_one()
    our_times, their_times, one_times = [], [], []
    for _ in range(wanted.rounds):
        our_times.append(_seconds(ours))
        their_times.append(_seconds(theirs))
        if with_one is not None:
            one_times.append(_seconds(with_one))
    mine = rates(ours_count, our_times) | {"what": f"with noise, on {wanted.cores if on_cpu else wanted.device}"}
    other = rates(theirs_count, their_times) | {"what": "noise-free, on 1 core"}
    if on_cpu:
        mine["what"] += " core" if wanted.cores == 1 else " cores"
    per = wanted.cores if on_cpu else 1
    growth = {}
    if one_times:
        assert wanted.subhalos is not None
        first, all_of_them = (1000 * statistics.median(times) / ours_count for times in (one_times, our_times))
        each = (all_of_them - first) / (wanted.subhalos - 1)
        growth = {"image_ms": first - each, "each_subhalo_ms": each}
    return about(wanted, wanted.device, "torch", "caustics", "lenstronomy", "numpy") | {
        "deeplense": mine,
        "lenstronomy": other,
        "ratio": mine["median"] / per / other["median"],
        "by": "by the core" if on_cpu else "a device against a core",
        "memory_gib": memory,
        **growth,
    }


def _lens_set(subhalos: int | None) -> LensSet:
    from deeplense.simulation.priors import Fixed, PowerLaw
    from deeplense.simulation.sets import find_set

    if subhalos is None:
        return find_set("model_i")
    lens_set = find_set("hst_subhalo")
    mass = lens_set.subhalos.mass if subhalos == 1 else PowerLaw(-1.9, 1e6, 1e10)
    return replace(lens_set, subhalos=replace(lens_set.subhalos, number=Fixed(subhalos), mass=mass))


def _our_images(lens_set: LensSet, device: str, count: int) -> Callable[[], None]:
    """Makes `count` new images at each call, on the device, and waits for the last."""
    import torch

    from deeplense.simulation.sets import find_classes
    from deeplense.simulation.simulator import Simulator

    simulator = Simulator(lens_set, find_classes(["cdm"]), 0, device)
    at_once = min(count, 4096)  # as a program would ask for them: all of 65,536 do not fit everywhere

    def make() -> None:
        for first in range(0, count, at_once):
            number = torch.arange(first, first + at_once, device=device)
            counts, _ = simulator.make(number, torch.zeros_like(number))
        counts[-1, -1, -1].item()

    return make


def _their_images(lens_set: LensSet, count: int) -> Callable[[], None]:
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
    from deeplense.simulation.sets import find_classes
    from deeplense.simulation.simulator import Simulator

    camera = lens_set.camera
    assert isinstance(camera.psf, Gaussian)
    number = torch.arange(count)
    draws = Simulator(lens_set, find_classes(["cdm"]), 0, "cpu").draw(number, torch.zeros_like(number))
    lenses = [_their_lenses(draws, image, lens_set) for image in range(count)]
    sources = [_their_sources(draws, image) for image in range(count)]
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
        lens_model_class=LensModel([name for name, _ in lenses[0]]),
        source_model_class=LightModel([name for name, _ in sources[0]]),
        kwargs_numerics={
            "supersampling_factor": camera.oversample,
            "supersampling_convolution": camera.oversample > 1,
        },
    )

    def make() -> None:
        for lens, source in zip(lenses, sources, strict=True):
            model.image([values for _, values in lens], [values for _, values in source])

    return make


def _their_lenses(draws: Draws, image: int, lens_set: LensSet) -> Models:
    """Main lens, shear and subhalos in lenstronomy's terms, but for numbers that make no difference to its speed."""
    own = {name: float(values[image]) for name, values in draws.scalars.items()}
    ellipse = {"theta_E": own["einstein_radius"], "e1": 0.1, "e2": 0.0, "center_x": 0.0, "center_y": 0.0}
    shear = {"gamma1": 0.05, "gamma2": 0.0}
    per_mass = (part[image].tolist() for part in (draws.x, draws.y, draws.radius, draws.scale))
    masses = list(zip(*per_mass, strict=True))
    if lens_set.subhalos.profile is None:
        points = [{"theta_E": radius, "center_x": x, "center_y": y} for x, y, radius, _ in masses]
        return [("SIE", ellipse), ("SHEAR", shear), *(("POINT_MASS", point) for point in points)]
    lenses: Models = [("EPL", {**ellipse, "gamma": own["slope"]}), ("SHEAR", shear)]
    for order in (3, 4):
        strength = {"m": order, "a_m": own[f"multipole{order}"], "phi_m": own[f"multipole{order}_angle"]}
        lenses.append(("MULTIPOLE", {**strength, "center_x": 0.0, "center_y": 0.0}))
    for x, y, radius, scale in masses:
        # 2.1321 scale masses are all of a halo that is truncated at 20 scale radii.
        at_scale = radius**2 * (1 - math.log(2)) / (2.1321 * scale)
        halo = {"Rs": scale, "alpha_Rs": at_scale, "r_trunc": 20 * scale, "center_x": x, "center_y": y}
        lenses.append(("TNFW", halo))
    return [*lenses, ("CONVERGENCE", {"kappa": -0.001, "ra_0": 0.0, "dec_0": 0.0})]


def _their_sources(draws: Draws, image: int) -> Models:
    own = {name: float(values[image]) for name, values in draws.scalars.items()}
    body = {"amp": own["source_amplitude"], "R_sersic": own["source_radius"], "n_sersic": 1, "e1": -0.1, "e2": 0.1}
    sources: Models = [("SERSIC_ELLIPSE", {**body, "center_x": own["source_x"], "center_y": own["source_y"]})]
    for x, y, radius, amplitude in draws.clumps[image].T.tolist():
        clump = {"amp": amplitude, "R_sersic": radius, "n_sersic": 0.5, "center_x": x, "center_y": y}
        sources.append(("SERSIC", clump))
    return sources


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
