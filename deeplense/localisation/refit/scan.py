"""Where a subhalo would make the smooth fit better: the linearised gain over a grid of places, lens and source free.

A light subhalo adds to the image t_k = alpha_k . ds/dbeta, its deflection times the change of the image as the source
moves. With Q an orthonormal basis of what the smooth lens can take up, r the residual of the smooth fit, all in units
of the noise, the amplitude at place k is t_k'(1 - QQ')r / t_k'(1 - QQ')t_k; chi^2 falls by that times the numerator.
The deflections are the same for all images, so that the whole grid is a product of matrices. It is what the limit is
made of (`simulation/limit.py`), sought over places, and right for light subhalos; the heavy ones are the network's.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from deeplense.localisation.refit.fit import Fitted, Observed, derivatives, pieces
from deeplense.localisation.refit.parameters import Family
from deeplense.simulation.priors import Polar, bounds

STEP = 1.5
"""Pixels between places."""
SOFT = 0.08
"""arcsec within which a deflection grows no more: of the order of the Einstein radius of what can be seen at all."""
APART = 3.0
"""Pixels between two maxima."""
GAIN = 5.0
"""Fall of chi^2 that makes a place worth a fit."""
ROUND = 0.6
"""arcsec round the places within which pixels count."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Maxima of the gain of n images, the largest first."""

    x: Tensor
    """(n, K) arcsec."""
    y: Tensor
    square: Tensor
    """(n, K) squared Einstein radius, arcsec^2, by the linear fit."""
    gain: Tensor
    """(n, K) by which chi^2 falls."""


class Scan:
    """The deflections of subhalos on a grid over an image, kept for many."""

    def __init__(self, family: Family, places: list[Tensor] | None = None) -> None:
        """`places`: x and y (G,) in arcsec; None: a grid over where the set puts subhalos."""
        camera, device = family.lens_set.camera, family.device
        self.family = family
        axis = (torch.arange(camera.pixels, device=device) - 0.5 * (camera.pixels - 1)) * camera.pixel_scale
        y, x = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
        self.x, self.y = _grid(family, float(axis[-1])) if places is None else places  # (G,)
        self.pixels = (torch.hypot(x, y) < torch.hypot(self.x, self.y).max() + ROUND).nonzero()[:, 0]
        dx, dy = x[self.pixels, None] - self.x, y[self.pixels, None] - self.y  # (p, G)
        square = dx**2 + dy**2 + SOFT**2
        along, across = dx / square, dy / square
        self.bent = torch.cat([along, across])  # (2 p, G)
        self.products = torch.cat([along**2, across**2, 2 * along * across])  # (3 p, G)
        places_of = torch.stack([self.x, self.y], 1)
        self.near = torch.cdist(places_of, places_of) < APART * camera.pixel_scale

    @torch.no_grad()
    def __call__(self, observed: Observed, fitted: Fitted, most: int) -> Places:
        """The `most` best places of each image."""
        parts = []
        for rows in pieces(fitted.vectors):
            own = self._gains(observed.take(rows), fitted.vectors[rows])
            parts.append(self._maxima(*own, most))
        return Places(*(torch.cat(columns)[: len(fitted.vectors)] for columns in zip(*parts, strict=True)))

    def promising(self, observed: Observed, fitted: Fitted, most: int) -> tuple[Tensor, Tensor]:
        """Rows of the fits (m,) and subhalos (m, 3) that are worth a fit: `most` of each at most, in order of rows."""
        best = self(observed, fitted, most)
        worth = best.gain > GAIN
        mass = (best.square / self.family.mass_to_square()).clamp(min=1.0).log10().clamp(*self.family.masses)
        rows = torch.arange(len(worth), device=worth.device)[:, None].expand_as(worth)
        return rows[worth], torch.stack([best.x, best.y, mass], 2)[worth]

    def _gains(self, observed: Observed, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Fall of chi^2 and squared Einstein radius at each place, (B, G)."""
        gain, power = self._projected(observed, vectors)
        square = (gain / power).clamp(min=0.0)
        return square * gain, square

    @torch.no_grad()
    def power(self, observed: Observed, fitted: Fitted) -> Tensor:
        """Squared signal-to-noise ratio of a subhalo of one square arcsec at each place, (B, G), of a few images."""
        return self._projected(observed, fitted.vectors)[1]

    def _projected(self, observed: Observed, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """What the residual has of each place's change, and the square of that change, both (B, G), less what the
        smooth lens takes up."""
        flux, slopes = derivatives(self.family, vectors)
        weight = observed.weight[:, self.pixels]
        residual = weight * (observed.flux - flux)[:, self.pixels]
        slopes = weight[..., None] * slopes[:, self.pixels]  # (B, p, N)
        by_x, by_y = (slopes[..., self.family.names.index(f"source_{axis}")] for axis in "xy")
        basis = torch.linalg.qr(slopes)[0]  # (B, p, N)
        left = residual - (basis @ (basis.transpose(1, 2) @ residual[..., None]))[..., 0]
        gain = torch.cat([by_x * left, by_y * left], 1) @ self.bent  # (B, G)
        whole = torch.cat([by_x**2, by_y**2, by_x * by_y], 1) @ self.products
        both = torch.cat([by_x[..., None] * basis, by_y[..., None] * basis], 1)  # (B, 2 p, N)
        taken = (both.transpose(1, 2).flatten(0, 1) @ self.bent).unflatten(0, (len(vectors), -1))  # (B, N, G)
        return gain, (whole - (taken**2).sum(1)).clamp(min=1e-6)

    def _maxima(self, gain: Tensor, square: Tensor, most: int) -> tuple[Tensor, ...]:
        gain = gain.clone()
        found = []
        for _ in range(most):
            value, place = gain.max(1)
            found.append((self.x[place], self.y[place], square.gather(1, place[:, None])[:, 0], value))
            gain = gain.masked_fill(self.near[place], 0.0)
        return tuple(torch.stack(column, 1) for column in zip(*found, strict=True))


def _grid(family: Family, edge: float) -> tuple[Tensor, Tensor]:
    """Places (G,) at which the set may have put a subhalo; `edge` is the last pixel's distance from the centre."""
    camera, position = family.lens_set.camera, family.lens_set.subhalos.position
    low, high = bounds(position.radius) if isinstance(position, Polar) else (0.0, edge)
    axis = torch.arange(-high, high + 1e-6, STEP * camera.pixel_scale, device=family.device)
    y, x = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
    within = (torch.hypot(x, y) - 0.5 * (low + high)).abs() <= 0.5 * (high - low) + camera.pixel_scale
    return x[within], y[within]
