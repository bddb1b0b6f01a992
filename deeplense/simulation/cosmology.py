"""Distances in a flat LCDM universe and the Einstein radius of a mass, for floats and for tensors of redshifts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

SPEED_OF_LIGHT = 299_792.458  # km/s
FOUR_G_OVER_C2 = 4.0 * 4.785_41e-20  # Mpc per Msun: G Msun / c^2 = 1.476 625 km
CRITICAL_DENSITY = 2.775_37e11  # Msun / Mpc^3 for H0 = 100 km/s/Mpc: 3 H0^2 / (8 pi G)
ARCSEC = 180.0 * 3600.0 / math.pi  # arcsec in a radian

# Nodes and weights of Gauss and Legendre for six points: right to 1e-8 at z = 1.2, beyond float32.
_POINTS = (
    (-0.932469514203152, 0.171324492379170),
    (-0.661209386466265, 0.360761573048139),
    (-0.238619186083197, 0.467913934572691),
    (0.238619186083197, 0.467913934572691),
    (0.661209386466265, 0.360761573048139),
    (0.932469514203152, 0.171324492379170),
)


@dataclass(frozen=True)
class Cosmology:
    """Flat LCDM, without radiation."""

    hubble: float = 70.0
    """H0 in km/s/Mpc."""
    matter: float = 0.3
    """Om0."""
    distances: Literal["angular_diameter", "luminosity"] = "angular_diameter"
    """What stands for the distances in the lens equation. `luminosity`, with D_ls = D_s - D_l, is no physics: it is
    what DeepLenseSim does, and what the published images were made with."""

    def comoving_distance(self, z: Any) -> Any:
        """Comoving distance in Mpc to redshift `z`, a float or a tensor."""
        integral = 0.0
        for node, weight in _POINTS:
            there = 1.0 + z * (0.5 * (1.0 + node))
            integral = integral + weight * (self.matter * there**3 + (1.0 - self.matter)) ** -0.5
        return SPEED_OF_LIGHT / self.hubble * 0.5 * z * integral

    def mass_to_square(self, z_lens: Any, z_source: Any) -> Any:
        """The squared Einstein radius of a point of one solar mass, in arcsec^2 per Msun: 4 G/c^2 D_ls/(D_l D_s)."""
        lens, source = self.comoving_distance(z_lens), self.comoving_distance(z_source)
        if self.distances == "luminosity":
            near, far = lens * (1.0 + z_lens), source * (1.0 + z_source)
            ratio = (far - near) / (near * far)
        else:
            # D_ls (1+z_s) = lens-source comoving separation; the factors (1 + z_s) cancel against D_s.
            ratio = (source - lens) * (1.0 + z_lens) / (lens * source)
        return FOUR_G_OVER_C2 * ARCSEC**2 * ratio

    def arcsec_per_mpc(self, z: Any) -> Any:
        """The angle of a proper megaparsec at redshift `z`, always by the angular-diameter distance."""
        return ARCSEC * (1.0 + z) / self.comoving_distance(z)

    def critical_density(self, z: Any) -> Any:
        """The mean density of a flat universe at redshift `z`, Msun / Mpc^3."""
        return CRITICAL_DENSITY * (self.hubble / 100.0) ** 2 * (self.matter * (1.0 + z) ** 3 + (1.0 - self.matter))
