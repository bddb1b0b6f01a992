"""The random numbers, what is drawn with them, and that an image depends on its own number alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.cosmology import FlatLambdaCDM
from scipy import stats
from set_names import EVERY_SET, ONE_SET

from deeplense.errors import InputError
from deeplense.simulation.camera import blur, poisson
from deeplense.simulation.counters import key_of, normals, philox, uniform
from deeplense.simulation.draw import Draws
from deeplense.simulation.lights import flux_of_unit
from deeplense.simulation.priors import Fixed, Normal, Poisson, PowerLaw, TruncatedNormal, WarmPowerLaw, mean_mass
from deeplense.simulation.render import render
from deeplense.simulation.sets import SETS, LensSet, find_classes, find_set
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.stream import ImageStream
from deeplense.simulation.substructure import Rings, Share, Subhalos


def words(value: int) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.int64)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter: tuple, key: tuple, expected: tuple) -> None:
    given = philox(torch.tensor(key), tuple(words(value) for value in counter))  # type: ignore[arg-type]
    assert tuple(int(word) for word in given) == expected


def test_uniforms_and_normals_have_their_laws_and_are_independent() -> None:
    place = torch.arange(200_000)
    zero = torch.zeros_like(place)
    a, b, c, _ = philox(torch.tensor(key_of("test")), (place, zero, zero, zero))
    assert stats.kstest(uniform(a).double(), "uniform").pvalue > 0.01
    first, second = normals(a, b)
    for values in (first, second):
        assert stats.kstest(values.double(), "norm").pvalue > 0.01
    for one, other in ((first, second), (first[1:], first[:-1]), (uniform(a), uniform(c)), (first**2, second**2)):
        assert abs(np.corrcoef(one.double(), other.double())[0, 1]) < 4 / math.sqrt(len(place))


@pytest.mark.parametrize("mean", [0.0, 1e-3, 0.3, 2.0, 4.99, 5.0, 14.0, 50.0, 800.0, 5e3])
def test_poisson_numbers_have_their_law(mean: float) -> None:
    # Normals at the middles of equal cells: what is left is the error of the method, without a random one.
    probability = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    quantile = torch.special.ndtri(probability).float()
    numbers = poisson(torch.full_like(quantile, mean), quantile).double()
    assert numbers.min() >= 0
    assert (numbers == numbers.round()).all()
    assert numbers.mean().item() == pytest.approx(mean, rel=1e-4, abs=2e-5)
    assert numbers.var().item() == pytest.approx(mean, rel=2e-3, abs=2e-5)
    exact = stats.poisson.ppf(stats.norm.cdf(quantile.double()), mean) if mean else np.zeros(len(quantile))
    assert (numbers.numpy() != exact).mean() < 2e-3


def test_poisson_numbers_stay_possible_in_the_far_tails() -> None:
    quantile = torch.tensor([-5.78, 5.78])
    for mean in (0.0, 1e-6, 0.1, 4.99, 5.0, 12.0):
        low, high = poisson(torch.full((2,), mean), quantile).tolist()
        assert 0 <= low <= mean
        assert math.floor(mean) <= high < mean + 8 * math.sqrt(mean) + 8


def sample(name: str, kind: str, count: int = 4000) -> Draws:
    number = torch.arange(count)
    simulator = Simulator(find_set(name), find_classes([kind]), seed=3, device="cpu")
    return simulator.draw(number, torch.zeros_like(number))


def ks(values: torch.Tensor, law: str, *of: float) -> float:
    return stats.kstest(values.double().flatten().numpy(), law, args=of, method="asymp").pvalue


def test_model_i_draws_what_it_says() -> None:
    draws = sample("model_i", "cdm")
    own = draws.scalars
    assert ks(own["exposure"].log10(), "uniform", 3.0, 0.5) > 0.01
    for axis in ("source_x", "source_y"):
        assert ks(own[axis], "uniform", -0.35, 0.7) > 0.01
    assert (own["subhalos"] == 25).all()
    assert (draws.mass > 0).sum(1).eq(25).all()
    assert ks(torch.hypot(draws.x, draws.y), "uniform", 0.25, 1.75) > 0.01
    assert ks(torch.atan2(draws.y, draws.x), "uniform", -math.pi, 2 * math.pi) > 0.01
    # dN/dm ~ m^-0.9 between 1e6 and 1e10: m^0.1 is uniform; and the slope by maximum likelihood.
    assert ks(draws.mass**0.1, "uniform", 1e6**0.1, 1e10**0.1 - 1e6**0.1) > 0.01
    assert slope_of(draws.mass.double().flatten().numpy(), 1e6, 1e10) == pytest.approx(-0.9, abs=0.01)
    # Theta_E^2 is proportional to the mass, with the same factor as for the main lens of 1e12 Msun.
    expected = own["einstein_radius"][:, None] * (draws.mass / 1e12).sqrt()
    torch.testing.assert_close(draws.radius, expected, rtol=1e-5, atol=0)


def slope_of(masses: np.ndarray, low: float, high: float) -> float:
    slopes = np.linspace(-2.5025, -0.5025, 401)  # none is -1, whose norm is another
    norms = (high ** (slopes + 1) - low ** (slopes + 1)) / (slopes + 1)
    return float(slopes[np.argmax(slopes * np.log(masses).mean() - np.log(norms))])


def test_model_i_vortex_is_a_centred_line() -> None:
    draws = sample("model_i", "axion")
    own = draws.scalars
    assert draws.mass.shape == (4000, 100)
    torch.testing.assert_close(draws.mass.sum(1), torch.full((4000,), 3e10), rtol=1e-5, atol=0)
    assert ks(own["axion_mass"].double().log10(), "uniform", -24, 2) > 0.01
    torch.testing.assert_close(own["vortex_half_length"], 3e-24 / own["axion_mass"], rtol=1e-5, atol=0)
    ends = torch.hypot(draws.x[:, 0], draws.y[:, 0])
    torch.testing.assert_close(ends, own["vortex_half_length"], rtol=1e-4, atol=0)
    torch.testing.assert_close(draws.x, -draws.x.flip(1), rtol=1e-4, atol=1e-6)
    assert ks(own["vortex_angle"], "uniform", 0, 2 * math.pi) > 0.01


def test_morphology_draws_what_it_says() -> None:
    draws = sample("morphology_2019", "cdm")
    own = draws.scalars
    for name, low, high in (
        ("shear", 0.0, 0.3),
        ("source_amplitude", 0.51, 1.05),
        ("source_axis_ratio", 0.7, 1.0),
        ("light_axis_ratio", 0.5, 1.0),
        ("light_angle", 0.0, math.radians(2 * math.pi)),
    ):
        assert ks(own[name], "uniform", low, high - low) > 0.01, name
    assert ks(torch.hypot(own["source_x"], own["source_y"]), "uniform", 0.0, 1.2) > 0.01
    assert ks(torch.hypot(draws.x, draws.y), "uniform", 0.0, 1.0) > 0.01
    # Squares of Einstein radii add up like masses: the published generator's sqrt(0.01) / 25 of 1.2", 25 times.
    torch.testing.assert_close((draws.radius**2).sum(1), torch.full((4000,), 0.12), rtol=1e-4, atol=0)
    assert draws.mass.sum(1).mean().item() == pytest.approx(0.12 / 1.44 * 1e12 * (1.2 / 1.6645) ** 2, rel=1e-3)


def test_varied_morphology_varies() -> None:
    draws = sample("morphology_2019_varied", "cdm")
    own, there = draws.scalars, (draws.mass > 0).sum(1)
    assert ks(own["z_lens"], "uniform", 0.4, 0.2) > 0.01
    assert ks(own["z_source"], "uniform", 0.8, 0.4) > 0.01
    assert ks(own["light_radius"], "uniform", 0.5, 1.5) > 0.01
    assert (there == own["subhalos"]).all()
    assert there.double().mean().item() == pytest.approx(25, abs=4 * 5 / math.sqrt(4000))
    assert there.double().var().item() == pytest.approx(25, rel=0.1)
    torch.testing.assert_close((draws.radius**2).sum(1), torch.full((4000,), 0.12), rtol=1e-4, atol=0)
    vortex = sample("morphology_2019_varied", "axion").scalars
    assert ks(2 * vortex["vortex_half_length"], "uniform", 0.5, 1.5) > 0.01
    assert ks(vortex["vortex_x"], "norm", 0.0, 0.5) > 0.01


def test_quantiles_of_the_priors() -> None:
    u = torch.tensor([1e-6, 0.25, 0.5, 0.75, 1 - 1e-6])
    torch.testing.assert_close(Normal(1.0, 2.0).at(u)[2], torch.tensor(1.0))
    assert Poisson(25.0, most=60).at(u).tolist() == stats.poisson.ppf(u.double(), 25.0).tolist()
    low, high = PowerLaw(-1.9, 1e6, 1e10).at(torch.tensor([1e-7, 1 - 6e-8])).tolist()
    assert low == pytest.approx(1e6, rel=1e-3)
    assert 1e9 < high <= 1e10 * (1 + 1e-5)


@pytest.mark.parametrize("name", EVERY_SET)
def test_an_image_is_the_same_in_any_batch(name: str) -> None:
    lens_set = SETS[name]
    _check_batches(replace(lens_set, camera=replace(lens_set.camera, pixels=32)))


@pytest.mark.parametrize("name", ONE_SET)
def test_a_compiled_image_is_the_same_in_any_batch(name: str, compiler: None) -> None:
    torch._dynamo.utils.counters.clear()
    _check_batches(SETS[name])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 5


def _check_batches(lens_set: LensSet) -> None:
    simulator = Simulator(lens_set, find_classes(["no_sub", "cdm", "axion"]), seed=0, device="cpu")
    index = torch.arange(36)  # more than are made at once
    whole, truth = simulator.make(index // 3, index % 3)
    assert torch.isfinite(whole).all()
    for chosen in (torch.tensor([7]), torch.tensor([35, 3, 20, 3]), torch.arange(1, 35)):
        part, part_truth = simulator.make(chosen // 3, chosen % 3)
        assert torch.equal(part, whole[chosen])
        assert torch.equal(part_truth.x, truth.x[chosen])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(simulator.make(index // 3, index % 3)[0], whole)
    finally:
        torch.set_num_threads(threads)


def test_images_differ_by_number_class_and_seed() -> None:
    zero = torch.zeros(1, dtype=torch.int64)
    images = [
        Simulator(SETS["model_i"], find_classes(), seed, "cpu", purpose).make(zero + number, zero + label)[0]
        for seed, purpose, number, label in (
            (0, "stored", 0, 0),
            (0, "stored", 1, 0),
            (0, "stored", 2**32, 0),
            (0, "stored", 0, 1),
            (1, "stored", 0, 0),
            (0, "stream", 0, 0),
        )
    ]
    noise = [image[0, :40, :40].flatten().double().numpy() for image in images]
    for one in range(len(noise)):
        for other in range(one):
            assert abs(np.corrcoef(noise[one], noise[other])[0, 1]) < 0.1


def test_noise_has_the_mean_and_the_variance_of_the_camera() -> None:
    simulator = Simulator(SETS["model_i"], find_classes(["cdm"]), seed=0, device="cpu")
    count = 512
    number = torch.arange(count)
    # One lens, photographed with the noise of many images.
    one = simulator.draw(torch.zeros(32, dtype=torch.int64), torch.zeros(32, dtype=torch.int64))
    flux = simulator.render(one)
    counts = torch.cat(
        [simulator.photograph(flux, replace(one, number=number[k : k + 32])) for k in range(0, count, 32)]
    ).double()
    camera, exposure = simulator.lens_set.camera, one.scalars["exposure"][0].double()
    mean = exposure * blur(flux, camera)[0].double()
    variance = mean + (exposure * camera.background_rms) ** 2
    # Each pixel's mean and variance over the photographs, in units of their standard errors.
    off_mean = (counts.mean(0) - mean) / (variance / count).sqrt()
    off_variance = (counts.var(0) / variance - 1) / math.sqrt(2 / count)
    for off in (off_mean, off_variance):
        assert off.abs().max() < 6
        assert off.mean().abs() < 4 / 150
        assert off.std().item() == pytest.approx(1, abs=0.05)
    # And neighbours know nothing of each other, nor the two pixels that share a call of the generator.
    noise = ((counts - mean) / variance.sqrt()).flatten(1)
    for shift in (1, 150, 11_250):
        correlation = (noise[:, shift:] * noise[:, :-shift]).mean()
        assert correlation.abs() < 5 / math.sqrt(noise[:, shift:].numel())


def test_stream_gives_the_same_images_in_any_batches() -> None:
    stream = ImageStream("model_i", seed=5)
    images, draws = stream.span(0, 70)
    assert images.shape == (70, 1, 150, 150)
    assert images.dtype == torch.float32
    assert draws.label.dtype == torch.int64
    again, same = ImageStream("model_i", seed=5).span(33, 50)
    assert torch.equal(again, images[33:50])
    assert torch.equal(same.label, draws.label[33:50])
    many = ImageStream("model_i", ("no_sub", "cdm", "axion"), seed=5).simulator.draw(torch.arange(9000))
    assert stats.chisquare(many.label.bincount(minlength=3)).pvalue > 0.01


def test_classes_have_the_order_of_their_labels() -> None:
    assert find_classes(["cdm", "no_sub"]).names == ("no_sub", "sub")
    assert find_classes(["sub", "no_sub"]) == find_classes()
    assert find_classes(["cdm", "axion", "no_sub"]).names == ("no_sub", "axion", "cdm")
    assert find_classes(["axion", "no_sub"]).names == ("no_sub", "axion")


def test_unknown_sets_and_classes_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^model_2: no simulated set has this name; there are model_i, model_ii, model_ii_pub"
    ):
        find_set("model_2")
    with pytest.raises(InputError, match=r"^--classes wdm: unknown; there are no_sub, cdm, axion$"):
        find_classes(["no_sub", "wdm"])
    with pytest.raises(InputError, match=r"^--classes sub: named twice; name each class once$"):
        find_classes(["cdm", "sub"])
    with pytest.raises(InputError, match=r"^--classes: none given"):
        find_classes([])


def test_one_subhalo_draws_what_it_says() -> None:
    count = 20_000
    draws = sample("one_subhalo", "cdm", count)
    own = draws.scalars
    for name, low, high in (
        ("einstein_radius", 1.0, 1.6),
        ("axis_ratio", 0.6, 1.0),
        ("angle", 0.0, 2 * math.pi),
        ("shear", 0.0, 0.1),
        ("shear_angle", 0.0, 2 * math.pi),
        ("source_radius", 0.1, 0.3),
        ("source_axis_ratio", 0.5, 1.0),
    ):
        assert ks(own[name], "uniform", low, high - low) > 0.01, name
    assert draws.mass.shape == (count, 1)
    assert ks(draws.mass.log10(), "uniform", 8.5, 2.0) > 0.01
    assert ks(torch.hypot(draws.x, draws.y), "uniform", 0.7, 1.2) > 0.01
    assert ks(torch.hypot(own["source_x"], own["source_y"]), "uniform", 0.0, 0.35) > 0.01
    assert find_set("one_subhalo").camera.pixels == 80


def test_hst_subhalo_draws_what_it_says() -> None:
    own = sample("hst_subhalo", "no_sub", 20_000).scalars
    for name, low, high in (
        ("einstein_radius", 0.8, 1.2),
        ("slope", 1.5, 2.5),
        ("axis_ratio", 0.5, 1.0),
        ("lens_x", -0.2, 0.2),
        ("gamma1", -0.1, 0.1),
        ("gamma2", -0.1, 0.1),
        ("multipole3", -0.02, 0.02),
        ("multipole4_angle", 0.0, 2 * math.pi),
        ("source_y", -0.2, 0.2),
        ("clump_share", 0.1, 0.4),
    ):
        assert ks(own[name], "uniform", low, high - low) > 0.01, name
    draws = sample("hst_subhalo", "cdm", 512)
    own = draws.scalars
    assert ks(draws.mass.log10(), "uniform", 8.0, 3.0) > 0.01
    # r_s = 29 pc (m / 10^6)^(1/3) at concentration 60, and all of it is 1/0.976 of M200.
    assert (draws.concentration == 60).all()
    parsec = FlatLambdaCDM(H0=67.5, Om0=0.316).arcsec_per_kpc_proper(0.5).value * 1e-3
    torch.testing.assert_close(draws.scale, 29.0 * parsec * (draws.mass / 1e6) ** (1 / 3), rtol=1e-4, atol=0)
    # The light of the whole source is of its magnitude, clumps and body together.
    clumps = (draws.clumps[:, 3] * flux_of_unit(draws.clumps[:, 2], 0.5)).sum(1)  # Gaussians
    light = own["source_amplitude"] * flux_of_unit(own["source_radius"], 0.7) + clumps
    torch.testing.assert_close(25.96 - 2.5 * light.log10(), own["source_magnitude"], rtol=1e-5, atol=0)
    torch.testing.assert_close(clumps / light, own["clump_share"], rtol=1e-3, atol=0)


def test_concentrations_are_those_asked_for() -> None:
    draws = sample("hst_subhalo_varied", "cdm", 512)
    assert ks(draws.concentration.log10(), "uniform", 1.0, math.log10(6.0)) > 0.01
    cosmology = FlatLambdaCDM(H0=67.5, Om0=0.316)
    arcsec = cosmology.arcsec_per_kpc_proper(0.5).to_value("arcsec/Mpc")
    density = 200 * cosmology.critical_density(0.5).to_value("Msun/Mpc3")
    r200 = (draws.mass * 3 / (4 * math.pi * density)) ** (1 / 3) * arcsec
    torch.testing.assert_close(draws.scale * draws.concentration, r200, rtol=1e-3, atol=0)
    # That of fixed concentration has the radii of Tsang et al., 107.5 pc of 10^6 Msun.
    draws = sample("hst_subhalo_c15", "cdm", 64)
    assert (draws.concentration == 15).all()
    torch.testing.assert_close(draws.scale, 107.5e-6 * arcsec * (draws.mass / 1e6) ** (1 / 3), rtol=1e-4, atol=0)


def test_subhalos_are_where_the_smooth_image_is_bright_and_evenly_so() -> None:
    simulator = Simulator(find_set("hst_subhalo"), find_classes(["cdm"]), seed=3, device="cpu")
    camera = replace(simulator.lens_set.camera, oversample=1)
    number = torch.arange(320)
    places = []
    for first in range(0, 320, 32):
        part = number[first : first + 32]
        draws = simulator.draw(part, torch.zeros_like(part))
        smooth = blur(render(draws.bare(), replace(simulator.lens_set, camera=camera)), camera)
        bright = smooth > 0.2 * smooth.amax((1, 2), keepdim=True)
        column = (draws.x[:, 0] / camera.pixel_scale + camera.pixels / 2).floor().long()
        row = (draws.y[:, 0] / camera.pixel_scale + camera.pixels / 2).floor().long()
        assert bright[torch.arange(32), row, column].all()
        before = bright.flatten(1).cumsum(1)[torch.arange(32), row * camera.pixels + column]
        places.append((before - 0.5) / bright.sum((1, 2)))  # among the bright pixels in their order
        places.append((draws.x[:, 0] / camera.pixel_scale + camera.pixels / 2) % 1.0)  # in its pixel
    for every in (torch.cat(places[::2]), torch.cat(places[1::2])):
        assert ks(every, "uniform", 0.0, 1.0) > 0.01


def test_a_share_of_the_mass_is_in_subhalos_everywhere_alike() -> None:
    subhalos = Subhalos(Share(Fixed(0.05), most=1600), PowerLaw(-1.9, 1e7, 1e9), Rings(reach=2.0))
    lens_set = replace(find_set("one_subhalo"), name="share", subhalos=subhalos)
    number = torch.arange(256)
    draws = Simulator(lens_set, find_classes(["cdm"]), 3, "cpu").draw(number, torch.zeros_like(number))
    ring = draws.scalars["einstein_radius"]
    distance, squares = torch.hypot(draws.x, draws.y), (draws.radius**2).double()
    for part in (0.5, 1.0, 2.0):
        # Squared Einstein radii are to one another as masses; an isothermal lens has r theta_E inside r.
        share = (squares * (distance < part * ring[:, None])).sum(1) / (part * ring**2)
        assert share.mean().item() == pytest.approx(0.05, rel=0.05)
    counted = draws.scalars["subhalos"].double()
    expected = counted.mean().item() * (ring**2 / (ring**2).mean()).double()
    assert ((counted - expected) / expected.sqrt()).var().item() == pytest.approx(1.0, abs=0.3)
    assert ks(distance[draws.mass > 0] / ring[:, None].expand_as(distance)[draws.mass > 0], "uniform", 0, 2) > 0.01


def test_warm_mass_functions_end_at_the_half_mode_mass() -> None:
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5).float() / 200_000
    warm = WarmPowerLaw(-1.9, 1e6, 1e10, half_mode=1e8).at(u).double()
    cold = WarmPowerLaw(-1.9, 1e6, 1e10, half_mode=0.0).at(u).double()
    torch.testing.assert_close(cold, PowerLaw(-1.9, 1e6, 1e10).at(u).double(), rtol=2e-3, atol=0)
    # Their ratio in steps of the mass is (1 + 2.7 m_hm / m)^-0.99, but for a factor.
    edges = np.geomspace(1e6, 1e9, 13)
    ratio = np.histogram(warm, edges)[0] / np.histogram(cold, edges)[0]
    middle = np.sqrt(edges[1:] * edges[:-1])
    expected = (1 + 2.7 * 1e8 / middle) ** -0.99
    np.testing.assert_allclose(ratio / ratio[6], expected / expected[6], rtol=0.08)
    assert mean_mass(WarmPowerLaw(-1.9, 1e6, 1e10, 1e8)) == pytest.approx(warm.mean().item(), rel=5e-3)
    assert mean_mass(PowerLaw(-1.9, 1e6, 1e10)) == pytest.approx(1.36e7, rel=5e-3)


def test_truncated_normals_have_their_law() -> None:
    u = (torch.arange(20_000) + 0.5) / 20_000
    values = TruncatedNormal(2.0, 0.2, 1.9, 2.6).at(u)
    assert stats.kstest(values.double(), stats.truncnorm(-0.5, 3.0, 2.0, 0.2).cdf).pvalue > 0.01
    assert 1.9 <= values.min() < values.max() <= 2.6
