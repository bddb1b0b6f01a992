import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from scipy import ndimage

from deeplense.data.augment import affine, resample, to_unit


def blurred(count=4, size=60, seed=0):
    """Smooth random images, so that two ways to interpolate agree; (N, 1, size, size) uint8."""
    noise = np.random.default_rng(seed).random((count, 1, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 4, 4), mode="wrap")
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.from_numpy((smooth * 255).astype(np.uint8))


def draws_for(angle, rotation, left_right=False, up_down=False):
    """The draws that give an angle in degrees and these flips."""
    return torch.tensor([[(angle / rotation + 1) / 2, 0.0 if left_right else 0.9, 0.0 if up_down else 0.9]])


def test_nothing_drawn_changes_nothing():
    images = blurred()
    same = resample(images, None, 60)
    np.testing.assert_allclose((same * 0.5 + 0.5) * 255, images.float(), atol=1e-3)
    assert same.min() >= -1
    assert same.max() <= 1


@pytest.mark.parametrize("crop", [1.0, 0.64])
@pytest.mark.parametrize("size", [32, 64, 200])
@pytest.mark.parametrize("shape", [(150, 150), (61, 90), (90, 61)])
def test_an_image_that_is_not_turned_is_that_of_a_map_that_does_not_turn(shape, size, crop):
    """Both ways to interpolate give the same light."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 2, *shape), dtype=np.uint8))
    still = torch.eye(2, 3).expand(3, 2, 3)
    for stretch in ("none", "log"):
        ours, theirs = (resample(pixels, maps, size, stretch, crop) for maps in (None, still))
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("left_right", "up_down"), [(False, False), (True, False), (False, True), (True, True)])
def test_flips_are_exact(left_right, up_down):
    images = blurred(1)
    maps = affine(draws_for(0, 30, left_right, up_down), 30, True)
    dims = [dim for dim, wanted in ((3, left_right), (2, up_down)) if wanted]
    np.testing.assert_allclose((resample(images, maps, 60) * 0.5 + 0.5) * 255, images.flip(dims).float(), atol=2e-3)
    unflipped = resample(images, affine(draws_for(0, 30, left_right, up_down), 30, False), 60)
    np.testing.assert_allclose((unflipped * 0.5 + 0.5) * 255, images.float(), atol=2e-3)


@pytest.mark.parametrize("angle", [-30.0, 7.0, 25.0])
def test_rotation_is_that_of_torchvision(angle):
    images = blurred(1)
    ours = resample(images, affine(draws_for(angle, 30), 30, True), 60) * 0.5 + 0.5
    theirs = TF.rotate(images.float() / 255, angle, interpolation=TF.InterpolationMode.BILINEAR)
    middle = (..., slice(8, 52), slice(8, 52))
    np.testing.assert_allclose(ours[middle], theirs[middle], atol=5e-3)
    assert ours[0, 0, 0, 0] == 0 if abs(angle) > 20 else True  # dark outside, as there


def test_a_crop_is_the_middle_at_the_same_scale():
    images = blurred()
    torch.testing.assert_close(resample(images, None, 30, crop=0.5), resample(images[..., 15:45, 15:45], None, 30))
    # As many samples a pixel as the middle needs, not the whole.
    torch.testing.assert_close(resample(images, None, 15, crop=0.5), resample(images[..., 15:45, 15:45], None, 15))


def test_what_turns_into_a_crop_is_the_image_and_not_the_dark():
    bright = torch.full((1, 1, 60, 60), 255, dtype=torch.uint8)
    maps = affine(draws_for(30, 30), 30, True)
    assert resample(bright, maps, 30).min() == -1
    torch.testing.assert_close(resample(bright, maps, 30, crop=0.5), torch.ones(1, 1, 30, 30))


def test_each_image_has_its_own_map():
    images = blurred(1).expand(64, -1, -1, -1)
    maps = affine(torch.rand(64, 3, generator=torch.Generator().manual_seed(0)), 180, True)
    assert len(torch.unique(resample(images, maps, 30).flatten(1), dim=0)) == 64
    rows = maps[:, :, :2]
    torch.testing.assert_close(rows @ rows.mT, torch.eye(2).expand(64, 2, 2), atol=1e-6, rtol=0)
    flipped = torch.linalg.det(rows) < 0  # one of the two flips
    assert 16 < flipped.sum() < 48


def test_a_smaller_result_averages_the_noise():
    """White noise of 150 px at 64 px: a resize with a filter keeps about 1 / 2.3 of its spread, skipping keeps more."""
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 1, 150, 150), dtype=np.uint8))
    ours = resample(noise, None, 64).std()
    filtered = (F.interpolate(noise / 255, size=64, mode="bilinear", antialias=True) * 2 - 1).std()
    skipped = (F.interpolate(noise / 255, size=64, mode="bilinear") * 2 - 1).std()
    assert ours < 1.35 * filtered
    assert skipped > 1.6 * filtered


def test_a_logarithm_of_the_light_not_of_the_noise():
    """log(1 + 100 x) / log 101 of the resampled pixels: 0 and 1 stay, and bytes and floats are treated alike."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 1, 60, 60), dtype=np.uint8))
    pixels[:, :, 0, 0], pixels[:, :, 0, 1] = 0, 255
    stretched = resample(pixels, None, 60, "log") * 0.5 + 0.5
    np.testing.assert_allclose(stretched, np.log1p(100 * (pixels.numpy() / 255)) / np.log(101), atol=1e-4)
    smaller = resample(pixels, None, 30) * 0.5 + 0.5
    np.testing.assert_allclose(
        resample((pixels / 255).half(), None, 30, "log") * 0.5 + 0.5,
        np.log1p(100 * smaller.numpy()) / np.log(101),
        atol=1e-3,
    )


@pytest.mark.parametrize("stretch", ["none", "log"])
def test_standardised_images_have_mean_0_and_spread_1(stretch):
    """Bytes and floats alike, each image by itself; one that is dark all over has no spread and stays dark."""
    pixels = torch.cat([blurred(), blurred(seed=1) // 2, blurred(seed=2) // 3], 1)
    pixels[3] = 0
    seen = resample(pixels, None, 30, stretch, standardize=True)
    np.testing.assert_allclose(seen[:3].mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(seen[:3].std((1, 2, 3)), 1, rtol=1e-5)
    assert (seen[3] == 0).all()
    plain = resample(pixels[:3], None, 30, stretch)
    own = (plain - plain.mean((1, 2, 3), keepdim=True)) / plain.std((1, 2, 3), keepdim=True)
    torch.testing.assert_close(seen[:3], own, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(resample(pixels / 255, None, 30, stretch, standardize=True), seen, atol=1e-4, rtol=1e-4)


OWN = float("nan")
"""Each image by its own range."""


@pytest.mark.parametrize("white", [255.0, 200.0, OWN])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float16, np.float32])
def test_pixels_get_to_the_unit_interval(kind, white):
    stored = np.random.default_rng(0).integers(5, 200, (3, 1, 9, 9)).astype(kind)
    unit = to_unit(torch.from_numpy(stored), 1, white)
    values = unit.double().numpy() / (255 if unit.dtype == torch.uint8 else 1)
    low, high = stored.min((1, 2, 3), keepdims=True), stored.max((1, 2, 3), keepdims=True)
    expected = stored / white if white == white else (stored.astype(float) - low) / (high.astype(float) - low)
    np.testing.assert_allclose(values, expected, atol=1e-3)
    assert unit.dtype == (torch.uint8 if kind == np.uint8 and white == 255 else torch.float16)
    each = to_unit(torch.from_numpy(stored), 1, torch.tensor([OWN, white, 100.0]))
    assert torch.equal(each[0], to_unit(torch.from_numpy(stored), 1, OWN)[0])
    np.testing.assert_allclose(each[1], expected[1], atol=1e-3)
    np.testing.assert_allclose(each[2], stored[2] / 100, atol=1e-2)


def test_colour_and_grey():
    colour = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 9, 9), dtype=np.uint8))
    grey = to_unit(colour, 1, 255.0, rgb=True)
    np.testing.assert_allclose(grey.float(), TF.rgb_to_grayscale(colour).float(), atol=1)
    three = to_unit(colour[:, :1], 3, 255.0)
    assert three.shape == (2, 3, 9, 9)
    assert torch.equal(three[:, 0], three[:, 2])
    mean = to_unit(colour, 1, 255.0)  # bands of a telescope are no colours
    np.testing.assert_allclose(mean[:, 0].float(), colour.float().mean(1), atol=0.51)
    both = to_unit(colour.float(), 1, 255.0, rgb=torch.tensor([True, False]))
    np.testing.assert_allclose(both[0] * 255, grey[0].float(), atol=1)
    np.testing.assert_allclose(both[1] * 255, mean[1].float(), atol=1)
    assert torch.equal(to_unit(colour, 2, 255.0, bands=(2, 0)), colour[:, [2, 0]])


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
@pytest.mark.parametrize("turned", [False, True])
def test_an_image_that_is_not_square_is_padded_cropped_or_squeezed(shape, turned):
    """A disk in the middle stays round, and as large as it was beside the part of the sky that is seen."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    disk = np.hypot(y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2) < 15
    pixels = torch.from_numpy(disk[None, None].astype(np.uint8) * 255)
    maps = affine(draws_for(90, 180), 180, True) if turned else None
    for fit, seen in (("pad", 60), ("crop", 40)):
        light = resample(pixels, maps, 40, fit=fit)[0, 0] * 0.5 + 0.5
        width, height = (int((light.sum(dim) > 0.5).sum()) for dim in (0, 1))
        assert width == pytest.approx(30 * 40 / seen, abs=2)
        assert height == pytest.approx(30 * 40 / seen, abs=2)
        assert light.sum() == pytest.approx(disk.sum() * (40 / seen) ** 2, rel=0.02)
    squeezed = resample(pixels, None, 40, fit="stretch")[0, 0] * 0.5 + 0.5
    sides = {int((squeezed.sum(dim) > 0.5).sum()) for dim in (0, 1)}
    assert max(sides) > min(sides) + 5


def test_an_image_of_one_value_is_dark_and_finite():
    assert not to_unit(torch.full((1, 1, 9, 9), 7.0), 1, OWN).any()
