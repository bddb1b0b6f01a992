"""What a network's early stages see is read in the pass that predicts, and leaves no trace."""

import numpy as np
import pytest
import torch
from scipy import fft

from deeplense.network.changes import CHANGES, blurred, noise_of, noisier, rescaled
from deeplense.network.features import PIXEL_FEATURES, RINGS, Looks, Watched, moments, spectrum, widths
from deeplense.network.model import build_model
from deeplense.network.views import Views, view_of
from deeplense.scores.symmetry import ALL

STAGES = ("maxpool", "layer1")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model(2).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


@torch.inference_mode()
def test_outputs_are_the_networks_own_and_features_those_of_its_stages(network, images):
    everything = Watched(network, STAGES)(images)
    assert torch.equal(everything[:, :1], network(images))
    stem = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    stages = [maps.flatten(2).double() for maps in (stem, network.layer1(stem))]
    expected = torch.cat([number for maps in stages for number in (maps.mean(2), maps.std(2, correction=0))], 1)
    features = everything[:, 1:]
    assert features.shape == (5, PIXEL_FEATURES + 256)
    torch.testing.assert_close(features[:, PIXEL_FEATURES:].double(), expected, rtol=1e-4, atol=1e-5)
    assert widths(network, STAGES, images[:1]) == [128, 128]
    assert hooks(network) == 0


@torch.inference_mode()
def test_a_look_is_the_same_and_ends_early(network, images):
    seen = []
    handle = network.layer2.register_forward_hook(lambda *_: seen.append(1))
    assert torch.equal(Looks(network, STAGES)(images), Watched(network, STAGES)(images)[:, 1:])
    handle.remove()
    assert len(seen) == 1  # of the two
    assert hooks(network) == 0


@torch.inference_mode()
def test_of_several_views_the_image_as_it_is_counts(network, images):
    everything = Watched(network, STAGES, Views(network, ALL))(images)
    assert everything.shape[1] == len(ALL) + PIXEL_FEATURES + 256
    assert torch.equal(everything[:, len(ALL) :], Looks(network, STAGES)(images))
    assert not torch.equal(everything[:, len(ALL) :], Looks(network, STAGES)(view_of(images, 1)))


def test_after_an_error_the_network_is_as_before(network):
    with pytest.raises(RuntimeError):
        Watched(network, STAGES)(torch.zeros(1, 2, 32, 32))
    assert hooks(network) == 0


def test_the_spectrum_is_that_of_the_cosine_transform(images):
    coefficients = fft.dctn(images[:, 0].numpy(), axes=(1, 2), norm="ortho") ** 2
    row, column = np.mgrid[:32, :32]
    ring = np.minimum(np.hypot(row, column) * RINGS / 32, RINGS - 1).astype(int)
    ring[0, 0] = -1
    expected = np.stack([np.log10(coefficients[:, ring == own].mean(1)) for own in range(RINGS)], 1)
    np.testing.assert_allclose(spectrum(images), expected, rtol=1e-4, atol=1e-4)
    assert torch.isfinite(spectrum(torch.full((1, 3, 64, 64), 0.3))).all()


def test_moments_of_a_known_law():
    pixels = torch.distributions.Exponential(torch.tensor(2.0)).sample((4, 1, 256, 256))
    mean, spread, skewness, kurtosis = moments(pixels).mean(0).tolist()
    assert (mean, 10**spread, skewness, 10**kurtosis) == pytest.approx((0.5, 0.5, 2, 10), rel=0.1)
    assert torch.isfinite(moments(torch.zeros(1, 1, 32, 32))).all()


@pytest.fixture(scope="module")
def lens():
    """A blob on a sky with noise of 0.05, and noise to be added."""
    y, x = np.mgrid[:64, :64] - 31.5
    random = torch.Generator().manual_seed(1)
    blob = torch.from_numpy(np.exp(-(x**2 + y**2) / 50)).float()
    return blob + 0.05 * torch.randn(8, 1, 64, 64, generator=random), torch.randn(8, 1, 64, 64, generator=random)


def test_changes_do_what_they_say(lens):
    images, noise = lens
    assert noise_of(images).mean().item() == pytest.approx(0.05, rel=0.1)
    assert noise_of(noisier(2)(images, noise)).mean().item() == pytest.approx(0.1, rel=0.1)
    wide = blurred(3.0)(images, noise)
    assert noise_of(wide).mean().item() == pytest.approx(0.05, rel=0.15)  # the noise is as before,
    assert wide.mean(0).max() < images.mean(0).max() - 0.1  # and the peak is lower
    torch.testing.assert_close(blurred(0.0)(images, noise), images, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(rescaled(1.0)(images, noise), images, rtol=1e-3, atol=1e-4)
    light = [(rescaled(scale)(images, noise) > 0.5).sum().item() for scale in (1 / 1.2, 1.0, 1.2)]
    assert light[0] > 1.2 * light[1] > 1.44 * light[2]
    for change in CHANGES.values():
        changed = change(images, noise)
        assert changed.shape == images.shape
        assert torch.isfinite(changed).all()
        assert torch.isfinite(change(torch.zeros_like(images), noise)).all()
