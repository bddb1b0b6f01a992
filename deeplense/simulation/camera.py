"""From noise-free images to counts: point-spread function, exposure, Poisson noise, background."""

from __future__ import annotations

import functools
from collections.abc import Callable

import scipy.fft
import torch
from torch import Tensor

from deeplense.machine.compiling import compiled
from deeplense.simulation.counters import normals, philox, poisson
from deeplense.simulation.draw import Draws
from deeplense.simulation.instruments import PSF, Airy, Camera, Gaussian, Moffat, PixelKernel, Telescope

_NOISE = 2
"""Second word of the random counter (`draw` has the others)."""


def photograph(flux: Tensor, draws: Draws, camera: Camera | Telescope, key: Tensor, band: int = 0) -> Tensor:
    """Counts (B, H, W) of the flux that reaches the telescope, (B, k H, k W) for `oversample` k.

    With b the blurred flux, their mean is `exposure * b` and their variance `exposure * b + (exposure * rms)^2`; where
    the camera's images are in another unit than counts, they are divided by what that has. The noise of a pixel
    follows from the key, the image, the band and the pixel alone.
    """
    blurred = blur(flux, camera)
    if not camera.noise:
        assert isinstance(camera, Telescope)
        return blurred / camera.gain
    exposure = draws.scalars["exposure"][:, None]
    background, image = exposure * camera.background_rms, (draws.number[:, None], draws.kind[:, None])
    counts = _kernels(flux.device.type)[1](blurred.flatten(1), exposure, background, *image, key, _NOISE | band << 8)
    return counts.view_as(blurred) if camera.unit_counts is None else counts.view_as(blurred) / camera.unit_counts


def blur(flux: Tensor, camera: Camera | Telescope) -> Tensor:
    """Convolve (B, k H, k W) with the camera's point-spread function, and add up what the k x k points of each pixel
    have, (B, H, W).

    For an image k is the camera's `oversample`; with fewer points it is a rougher image, through the same telescope.
    Beyond the edges a `Camera` has nothing; for a `Telescope` the light goes on as it is there, or the frames of images
    with a lens's light in would have a dark rim.
    """
    if isinstance(camera, Camera):
        return _convolve(flux, camera.psf, camera.pixel_scale, False)
    factor = flux.shape[1] // camera.pixels
    if isinstance(camera.psf, PixelKernel):
        return _beyond(_gather(flux, factor), camera.psf, camera.pixel_scale, False)
    return _gather(_beyond(flux, camera.psf, camera.pixel_scale / factor, integrated=camera.oversample > 1), factor)


def _beyond(flux: Tensor, psf: PSF, pixel_scale: float, integrated: bool) -> Tensor:
    """Convolve with the outermost pixels' light beyond the edges."""
    reach = _reach(psf, pixel_scale)
    wide = torch.nn.functional.pad(flux[:, None], (reach,) * 4, mode="replicate")[:, 0]
    inner = slice(reach, reach + flux.shape[1])
    return _convolve(wide.contiguous(), psf, pixel_scale, integrated)[:, inner, inner].contiguous()


@functools.cache
def _reach(psf: PSF, pixel_scale: float) -> int:
    """Pixels from the middle of the weights to their edge."""
    return len(psf.taps(pixel_scale) if isinstance(psf, Gaussian) else psf.kernel(pixel_scale)) // 2


def _gather(flux: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return flux
    count, side, _ = flux.shape
    return flux.view(count, side // factor, factor, side // factor, factor).sum((2, 4))


def _convolve(flux: Tensor, psf: PSF, pixel_scale: float, integrated: bool) -> Tensor:
    if isinstance(psf, Gaussian):
        return _kernels(flux.device.type)[0](flux, psf.taps(pixel_scale, integrated))
    transfer, size, margin = _transfer(psf, pixel_scale, integrated, flux.shape[1], flux.device)
    blurred = torch.fft.irfft2(torch.fft.rfft2(flux, s=(size, size)) * transfer, s=(size, size))
    return blurred[:, margin : margin + flux.shape[1], margin : margin + flux.shape[1]].contiguous()


@functools.cache
def _transfer(
    psf: Airy | Moffat | PixelKernel, pixel_scale: float, integrated: bool, side: int, device: torch.device
) -> tuple[Tensor, int, int]:
    """The transform of a kernel, that of which size, and the kernel's half width."""
    kernel = psf.kernel(pixel_scale, integrated)
    margin = len(kernel) // 2
    size = scipy.fft.next_fast_len(side + margin, real=True)
    weights = torch.tensor(kernel, dtype=torch.float32, device=device)
    return torch.fft.rfft2(weights, s=(size, size)), size, margin


def expose(
    flux: Tensor, exposure: Tensor, background: Tensor, number: Tensor, kind: Tensor, key: Tensor, purpose: int
) -> Tensor:
    """Noisy counts of `flux` (B, P); all others are (B, 1), but for the two words of the set's key.

    A call of the generator makes four words, and a pixel needs two (for two normals): so pixel p of the first half
    shares one with pixel p of the second.
    """
    half = (flux.shape[1] + 1) // 2
    pair = torch.arange(half, device=flux.device)
    counter = (pair, torch.full_like(pair, purpose), number & 0xFFFFFFFF, (number >> 32) << 8 | kind)
    a, b, c, d = philox(key, counter)
    quantile = torch.cat([normals(a, b)[0], normals(c, d)[0]], dim=1)[:, : flux.shape[1]]
    sky = torch.cat([normals(a, b)[1], normals(c, d)[1]], dim=1)[:, : flux.shape[1]]
    return poisson(exposure * flux, quantile) + background * sky


@functools.cache
def _kernels(kind: str) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    return compiled(_separable, kind), compiled(expose, kind)


def _separable(flux: Tensor, taps: tuple[float, ...]) -> Tensor:
    reach = len(taps) // 2
    for dim, margin in ((2, (reach, reach)), (1, (0, 0, reach, reach))):
        wide = torch.nn.functional.pad(flux, margin)
        flux = taps[0] * wide.narrow(dim, 0, flux.shape[dim])
        for place in range(1, len(taps)):
            flux = flux + taps[place] * wide.narrow(dim, place, flux.shape[dim])
    return flux
