"""Rendering against lenstronomy and textbook values: same parameters, same images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.constants import G, M_sun, c
from astropy.cosmology import FlatLambdaCDM
from lenstronomy.Cosmo.lens_cosmo import LensCosmo
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy_images import main_lens, reference_image, substructure
from set_names import EVERY_SET

from deeplense.errors import InputError
from deeplense.simulation.camera import blur
from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.deflection import deflect_halo, einstein_radii, table_nodes
from deeplense.simulation.deflection import main_lens as our_lens
from deeplense.simulation.lenses import ANY_ANGLE, Multipole, PowerLawHalo
from deeplense.simulation.placing import with_subhalos
from deeplense.simulation.priors import Cartesian, Fixed, LogUniform, PowerLaw, Uniform
from deeplense.simulation.profiles import MassConcentration, PseudoJaffe, Surroundings, TruncatedNFW
from deeplense.simulation.render import pixel_grid, subhalo_rays
from deeplense.simulation.sets import KINDS, SETS, find_classes, find_set
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.substructure import Equal, Rings, Share, Subhalos


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EVERY_SET)
def test_images_are_those_of_lenstronomy(name: str, kind: str) -> None:
    simulator = Simulator(SETS[name], find_classes([kind]), seed=1, device="cpu")
    draws = simulator.draw(torch.arange(32), torch.zeros(32, dtype=torch.int64))
    flux = simulator.render(draws)
    blurred = blur(flux, simulator.lens_set.camera)
    assert flux.dtype == blurred.dtype == torch.float32
    factor, side = simulator.lens_set.camera.oversample, simulator.lens_set.camera.pixels
    pixels = flux.view(32, side, factor, side, factor).sum((2, 4))
    for image in range(4):
        for ours, psf, bound in ((pixels, False, 1e-4), (blurred, True, 1e-3)):
            theirs = reference_image(draws, image, simulator.lens_set, psf)
            difference = np.abs(ours[image].numpy() - theirs)
            if psf and simulator.lens_set.lens_light is not None and factor > 1:
                # lenstronomy has nothing beyond the edges, but for a Gaussian; what that takes is its reach.
                difference = difference[12:-12, 12:-12]
            assert difference.max() < bound * theirs.max()


@pytest.mark.parametrize("ratios", [(0.2, 0.3), (0.5, 1.0), (1.0, 1.0)])
def test_power_laws_deflect_as_lenstronomys(ratios: tuple[float, float]) -> None:
    halo = PowerLawHalo(
        einstein_radius=Uniform(0.5, 2.0),
        slope=Uniform(1.3, 2.7),
        ellipse=(Uniform(*ratios), ANY_ANGLE),
        shear=(Uniform(-0.2, 0.2), Uniform(-0.2, 0.2)),
        position=Cartesian(Uniform(-0.2, 0.2), Uniform(-0.2, 0.2)),
        multipoles=(Multipole(3, Uniform(-0.1, 0.1)), Multipole(4, Uniform(-0.1, 0.1))),
    )
    lens_set = replace(find_set("one_subhalo"), name="power laws", halo=halo)
    simulator = Simulator(lens_set, find_classes(["no_sub"]), 2, "cpu")
    draws = simulator.draw(torch.arange(12), torch.zeros(12, dtype=torch.int64))
    x, y = pixel_grid(lens_set.camera, torch.device("cpu"))
    ours = deflect_halo(x, y, our_lens({name: value[:, None] for name, value in draws.scalars.items()}, halo))
    for image in range(12):
        models = main_lens({name: float(value[image]) for name, value in draws.scalars.items()}, lens_set)
        theirs = LensModel([name for name, _ in models]).alpha(
            x.double().numpy(), y.double().numpy(), [values for _, values in models]
        )
        for axis in (0, 1):
            there = (ours[axis] + ours[axis + 2])[image].numpy()
            assert np.abs(there - theirs[axis]).max() < 5e-6


PROFILES = {
    "compact": TruncatedNFW(Fixed(60), truncation=20.0, scale_radius=29.0),
    "relation": TruncatedNFW(MassConcentration(), truncation=5.0),
    "short": TruncatedNFW(Uniform(5, 30), truncation=0.5),
    "jaffe": PseudoJaffe(),
}


@pytest.mark.parametrize("name", PROFILES)
def test_subhalos_deflect_as_lenstronomys(name: str) -> None:
    """Two whole blocks and a part of one, over the whole image, and close to their centres."""
    subhalos = Subhalos(Fixed(20), LogUniform(1e6, 1e11), Rings(), PROFILES[name], compensated=name == "short")
    lens_set = replace(find_set("one_subhalo"), name=name, subhalos=subhalos)
    simulator = Simulator(lens_set, find_classes(["cdm"]), 2, "cpu")
    draws = simulator.draw(torch.arange(32), torch.zeros(32, dtype=torch.int64))
    rays = subhalo_rays(draws, lens_set)
    for image in range(2):
        models = substructure(draws, image, lens_set)
        theirs = LensModel([model for model, _ in models]).alpha(
            rays.x.double().numpy(), rays.y.double().numpy(), [values for _, values in models]
        )
        largest = np.hypot(*theirs).max()
        for ours, place, expected in ((rays.bent_x, rays.x, theirs[0]), (rays.bent_y, rays.y, theirs[1])):
            assert np.abs((place - ours[image]).numpy() - expected).max() < 3e-5 * largest + 1e-6


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_have_their_mass(name: str) -> None:
    """The projected mass is the integral of the density along lines, all of it is 1, and the table holds it all."""
    profile = PROFILES[name]
    t = profile.truncation
    for x in (0.01, 0.5, 1.0, 3.0, 40.0):
        if isinstance(profile, PseudoJaffe):
            # Surface density 1/(2 pi) (1/x - 1/sqrt(1 + x^2)): its integral in rings.
            radius = np.linspace(0.0, x, 200_001)
            rings = 1.0 - radius / np.sqrt(1 + radius**2)
            expected = np.trapezoid(rings, radius)
        else:
            # A shell of radius r has the part 1 - sqrt(1 - (x/r)^2) of its mass inside the cylinder, and all if r < x.
            log_r = np.linspace(math.log(1e-7), math.log(1e7), 800_001)
            r = np.exp(log_r)
            shell = r**3 / (r * (1 + r) ** 2) * t**2 / (t**2 + r**2)
            part = 1 - np.sqrt(np.clip(1 - (x / r) ** 2, 0, 1))
            expected = np.trapezoid(shell * part, log_r) / np.trapezoid(shell, log_r)
        assert profile.enclosed(np.array([x]))[0] == pytest.approx(expected, rel=2e-4)
    inside = profile.enclosed(table_nodes())
    assert (np.diff(inside) > 0).all()
    assert inside[-1] == pytest.approx(1.0, abs=3e-4 if name == "jaffe" else 2e-5)


def test_truncated_halos_have_the_masses_of_tsang_et_al() -> None:
    """Total masses of M200 / 0.778 ... M200 / 0.976 (their code), for halos of 10^9 Msun of any size."""
    around = Surroundings(Cosmology(67.5, 0.316), torch.tensor([[0.5]]), torch.tensor([[1e-12]]), torch.ones(1, 1))
    mass, u = torch.tensor([[1e9]]), torch.tensor([[0.5]])
    for concentration, share in ((15, 0.778), (20, 0.847), (25, 0.890), (30, 0.917), (45, 0.959), (60, 0.976)):
        for scale_radius in (None, 100.0):
            spread = TruncatedNFW(Fixed(concentration), 20.0, scale_radius).spread(mass, around, u)
            assert 1e9 / float(spread.total) == pytest.approx(share, abs=6e-4)
        cosmology = FlatLambdaCDM(H0=67.5, Om0=0.316)
        assert float(spread.scale) == pytest.approx(
            1e-3 * cosmology.arcsec_per_kpc_proper(0.5).value * 1000.0, rel=1e-4
        )  # 100 pc of 10^6 are 1 kpc of 10^9
    # r_s = r_200 / c, by lenstronomy.
    lens = LensCosmo(0.5, 1.0, FlatLambdaCDM(H0=67.5, Om0=0.316))
    theirs = lens.nfw_physical2angle(1e9, 20)[0]
    assert float(TruncatedNFW(Fixed(20), 20.0).spread(mass, around, u).scale) == pytest.approx(theirs, rel=2e-3)


@pytest.mark.parametrize("name", ["compact", "jaffe"])
def test_a_subhalos_einstein_radius_encloses_the_critical_density(name: str) -> None:
    subhalos = Subhalos(Fixed(20), LogUniform(1e7, 1e11), Rings(), PROFILES[name])
    lens_set = replace(find_set("one_subhalo"), name=name, subhalos=subhalos)
    draws = Simulator(lens_set, find_classes(["cdm"]), 2, "cpu").draw(
        torch.arange(8), torch.zeros(8, dtype=torch.int64)
    )
    radius, scale, point = (part.double() for part in (einstein_radii(draws, lens_set), draws.scale, draws.radius))
    seen = radius > 0
    assert 0.1 < seen.double().mean() <= 1
    inside = PROFILES[name].enclosed((radius / scale)[seen].numpy())
    np.testing.assert_allclose(inside * (point[seen] ** 2).numpy(), (radius[seen] ** 2).numpy(), rtol=1e-3)
    # Where it is 0, even the innermost node of the table has less than the critical density.
    first = table_nodes()[0]
    assert (PROFILES[name].enclosed(np.array([first]))[0] * point[~seen] ** 2 <= (first * scale[~seen]) ** 2).all()


@pytest.mark.parametrize("name", ["euclid", "hst_subhalo", "one_subhalo"])
def test_none_is_placed_where_the_mass_is_0(name: str) -> None:
    lens_set = SETS[name]
    lens_set = replace(lens_set, camera=replace(lens_set.camera, pixels=32))
    simulator = Simulator(lens_set, find_classes(["no_sub"]), 0, "cpu")
    draws = simulator.draw(torch.arange(2), torch.zeros(2, dtype=torch.int64))
    place = torch.tensor([[0.3, 1.0]]).expand(2, 2)
    alone = with_subhalos(draws, lens_set, place[:, :1], place[:, :1], torch.full((2, 1), 1e9))
    beside = with_subhalos(draws, lens_set, place, place, torch.tensor([[1e9, 0.0]]).expand(2, 2))
    for field in ("mass", "radius", "scale"):
        assert (getattr(beside, field)[:, 1] == 0).all()
        assert torch.equal(getattr(beside, field)[:, :1], getattr(alone, field))
    assert torch.equal(beside.concentration[:, :1].nan_to_num(), alone.concentration.nan_to_num())
    torch.testing.assert_close(simulator.render(beside), simulator.render(alone), rtol=1e-5, atol=0)


def test_concentrations_follow_the_relation_with_its_scatter() -> None:
    around = Surroundings(Cosmology(), torch.tensor([[0.5]]), torch.tensor([[1e-12]]), torch.ones(1, 1))
    u = (torch.arange(1000) + 0.5)[None] / 1000
    drawn = MassConcentration(0.11).at(torch.full((1, 1000), 1e12 / 0.7), around, u).log10()
    # Dutton & Maccio 2014, table 3 and eqs. 10 and 11: at 10^12 Msun/h, and a slope of -0.101 + 0.026 z.
    level = 0.520 + 0.385 * math.exp(-0.617 * 0.5**1.21)
    assert float(drawn.mean()) == pytest.approx(level, abs=1e-3)
    assert float(drawn.std()) == pytest.approx(0.11, rel=0.01)
    light = MassConcentration(0.11).at(torch.full((1, 1), 1e9 / 0.7), around, torch.tensor([[0.5]])).log10()
    assert float(light) - level == pytest.approx(3 * 0.088, abs=1e-3)


def test_priors_outside_a_profiles_range_are_refused() -> None:
    ratio = (Fixed(0.8), ANY_ANGLE)
    for low, high in ((1.0, 2.0), (2.0, 3.0), (0.5, 3.5)):
        with pytest.raises(InputError, match=r"^a slope from .*: between 1 and 3, without either, a lens has a mass$"):
            PowerLawHalo(Fixed(1.0), Uniform(low, high), ratio)
    with pytest.raises(InputError, match=r"^axis ratios from 0.1 to 1: give 0.2 to 1$"):
        PowerLawHalo(Fixed(1.0), Fixed(2.0), (Uniform(0.1, 1.0), ANY_ANGLE))
    with pytest.raises(InputError, match=r"^a multipole of order 2: orders 3 and 4 are known$"):
        Multipole(2, Fixed(0.01))
    with pytest.raises(InputError, match=r"^a truncation of -1 scale radii: give one above 0$"):
        TruncatedNFW(Fixed(10), truncation=-1.0)
    with pytest.raises(InputError, match=r"^a concentration of 0: give one above 0$"):
        TruncatedNFW(Uniform(0, 10), truncation=1.0)
    with pytest.raises(
        InputError, match=r"^a share of the mass in subhalos needs a mass function, and places in Rings$"
    ):
        Subhalos(Share(Fixed(0.01), 100), Equal(1e10, of_halo=False), Rings())
    with pytest.raises(InputError, match=r"^subhalos from 0 Msun: give masses above 0$"):
        Subhalos(Fixed(1), PowerLaw(-1.9, 0.0, 1e10), Rings())


def test_einstein_radius_of_model_i_is_that_of_its_code() -> None:
    assert SETS["model_i"].halo.einstein_radius.value == pytest.approx(1.281, abs=5e-4)
    # And with angular-diameter distances, by the textbook and by lenstronomy (whose solar mass is another).
    ours = math.sqrt(1e12 * Cosmology().mass_to_square(0.5, 1.0))
    theirs = FlatLambdaCDM(H0=70, Om0=0.3)
    lens, source = theirs.angular_diameter_distance(0.5), theirs.angular_diameter_distance(1.0)
    between = theirs.angular_diameter_distance_z1z2(0.5, 1.0)
    radius = (4 * G * 1e12 * M_sun / c**2 * between / (lens * source)) ** 0.5
    assert ours == pytest.approx(radius.to_value("") * 180 * 3600 / math.pi, rel=1e-5)
    critical = LensCosmo(0.5, 1.0, theirs).sigma_crit_angle
    assert ours == pytest.approx(math.sqrt(1e12 / (math.pi * critical)), rel=3e-4)
    assert ours == pytest.approx(1.664, abs=1e-3)


def test_distances_are_those_of_astropy() -> None:
    theirs = FlatLambdaCDM(H0=70, Om0=0.3)
    for z in (0.4, 0.5, 0.6, 1.0, 1.2):
        assert Cosmology().comoving_distance(z) == pytest.approx(theirs.comoving_distance(z).value, rel=1e-8)
        density = theirs.critical_density(z).to_value("Msun/Mpc3")
        assert Cosmology().critical_density(z) == pytest.approx(density, rel=1e-4)
