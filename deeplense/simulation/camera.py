"""From noise-free images to counts: point-spread function, exposure, Poisson noise, background."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import scipy.fft
import scipy.special
import torch
from torch import Tensor

from deeplense.machine.compiling import compiled
from deeplense.simulation.counters import normals, philox, poisson
from deeplense.simulation.draw import Draws
from deeplense.simulation.instruments import Airy, Camera, Gaussian

_NOISE = 2
"""Second word of the random counter (`draw` has the others)."""


def photograph(flux: Tensor, draws: Draws, camera: Camera, key: Tensor) -> Tensor:
    """Counts of the flux (B, H, W) that reaches the telescope.

    With b the blurred flux, their mean is `exposure * b` and their variance `exposure * b + (exposure * rms)^2`. The
    noise of a pixel follows from the key, the image and the pixel alone. Light from beyond the frame is not
    scattered into it.
    """
    blurred = blur(flux, camera)
    exposure = draws.scalars["exposure"][:, None]
    background, image = exposure * camera.background_rms, (draws.number[:, None], draws.kind[:, None])
    counts = _kernels(flux.device.type)[1](blurred.flatten(1), exposure, background, *image, key)
    return counts.view_as(flux)


def blur(flux: Tensor, camera: Camera) -> Tensor:
    """Convolve (B, H, W) with the camera's point-spread function, with nothing beyond the edges."""
    side = camera.pixels
    if isinstance(camera.psf, Gaussian):
        return _kernels(flux.device.type)[0](flux, gaussian_taps(camera.psf, camera.pixel_scale))
    kernel = airy_kernel(camera.psf, camera.pixel_scale)
    margin = len(kernel) // 2
    size = scipy.fft.next_fast_len(side + margin, real=True)
    transfer = torch.fft.rfft2(_on_device(camera.psf, camera.pixel_scale, flux.device), s=(size, size))
    blurred = torch.fft.irfft2(torch.fft.rfft2(flux, s=(size, size)) * transfer, s=(size, size))
    return blurred[:, margin : margin + side, margin : margin + side].contiguous()


def expose(flux: Tensor, exposure: Tensor, background: Tensor, number: Tensor, kind: Tensor, key: Tensor) -> Tensor:
    """Noisy counts of `flux` (B, P); all others are (B, 1), but for the two words of the set's key.

    A call of the generator makes four words, and a pixel needs two (for two normals): so pixel p of the first half
    shares one with pixel p of the second.
    """
    half = (flux.shape[1] + 1) // 2
    pair = torch.arange(half, device=flux.device)
    counter = (pair, torch.full_like(pair, _NOISE), number & 0xFFFFFFFF, (number >> 32) << 8 | kind)
    a, b, c, d = philox(key, counter)
    quantile = torch.cat([normals(a, b)[0], normals(c, d)[0]], dim=1)[:, : flux.shape[1]]
    sky = torch.cat([normals(a, b)[1], normals(c, d)[1]], dim=1)[:, : flux.shape[1]]
    return poisson(exposure * flux, quantile) + background * sky


def gaussian_taps(psf: Gaussian, pixel_scale: float) -> tuple[float, ...]:
    """Weights of a separable Gaussian along one axis, their sum 1; an odd number of them."""
    deviation = psf.fwhm / (2.0 * math.sqrt(2.0 * math.log(2.0))) / pixel_scale
    reach = max(round(psf.truncation * deviation), 1)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return tuple((taps / taps.sum()).tolist())


def airy_kernel(psf: Airy, pixel_scale: float) -> np.ndarray:
    """Weights of an Airy disk, (2m + 1, 2m + 1), their sum 1: (2 J1(u) / u)^2, whose first zero is u = 3.8317."""
    reach = int(psf.truncation / pixel_scale)
    axis = np.arange(-reach, reach + 1) * pixel_scale
    distance = np.hypot(axis, axis[:, None])
    u = scipy.special.jn_zeros(1, 1)[0] * distance / psf.first_zero
    u[reach, reach] = 1.0
    kernel = (2.0 * scipy.special.j1(u) / u) ** 2
    kernel[reach, reach] = 1.0
    kernel[distance > psf.truncation] = 0.0
    return kernel / kernel.sum()


@functools.cache
def _on_device(psf: Airy, pixel_scale: float, device: torch.device) -> Tensor:
    return torch.tensor(airy_kernel(psf, pixel_scale), dtype=torch.float32, device=device)


@functools.cache
def _kernels(kind: str) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    return compiled(_convolve, kind), compiled(expose, kind)


def _convolve(flux: Tensor, taps: tuple[float, ...]) -> Tensor:
    reach = len(taps) // 2
    for dim, margin in ((2, (reach, reach)), (1, (0, 0, reach, reach))):
        wide = torch.nn.functional.pad(flux, margin)
        flux = taps[0] * wide.narrow(dim, 0, flux.shape[dim])
        for place in range(1, len(taps)):
            flux = flux + taps[place] * wide.narrow(dim, place, flux.shape[dim])
    return flux
