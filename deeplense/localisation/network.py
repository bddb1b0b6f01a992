"""The network: a ResNet-18 as encoder, a decoder back to half the resolution of the image, and a view round the ring.

What it says of an image is a density of subhalos over place and mass, on cells of two by two pixels. Each cell has an
expected number, and, for a subhalo that belongs to it, a Gaussian over its place and one over the logarithm of its
mass.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F

from deeplense.localisation.around import Around
from deeplense.network.model import build_model

CELL = 2
"""Pixels of the network's image a side of a cell."""

LOG_DENSITY, DX, DY, LOG_SIGMA, LOG_MASS, LOG_MASS_SIGMA = range(6)
"""Channels of what the network says, see `Localizer.forward`."""

REACH = 1.0
"""Cells that a subhalo may be away from the middle of the cell it belongs to, along x and y: its neighbours may have
it, too, so that nothing jumps where it crosses a border."""
SIGMA = (0.02, 1.5)
"""Least and largest spread of a place, in cells. What is less certain is spread over several cells."""
MASS_SIGMA = (0.02, 1.0)
"""Least and largest spread of a mass, in dex."""


@dataclasses.dataclass(frozen=True)
class Prior:
    """What a network says before it has learned anything: then training starts near the truth, and not far from it."""

    density: float = 1e-3
    """Expected number in a cell."""
    log_mass: float = 9.5
    """Mean of log10 of the mass in Msun."""
    log_mass_sigma: float = 0.5
    """Its spread, dex."""


class Localizer(torch.nn.Module):
    """ResNet-18, a feature pyramid (Lin et al. 2017, arXiv:1612.03144) to half resolution, joined there by what is seen
    of the unrolled image (`around.py`), and a last layer of six."""

    def __init__(self, channels: int = 1, width: int = 64, prior: Prior | None = None) -> None:
        """With random weights from torch's generator.

        Args:
            channels: of the images, 1 or 3.
            width: of the pyramid's finer levels.
            prior: None: `Prior()`.
        """
        super().__init__()
        self.encoder = build_model(2, channels)
        self.encoder.fc = torch.nn.Identity()
        self.from5 = torch.nn.Conv2d(512, 2 * width, 1)
        self.from4 = torch.nn.Conv2d(256, 2 * width, 1)
        self.from3 = torch.nn.Conv2d(128, width, 1)
        self.from2 = torch.nn.Conv2d(64, width, 1)
        self.from1 = torch.nn.Conv2d(64, width, 1)
        self.mix4 = _block(2 * width, width)
        self.mix3 = _block(width, width)
        self.mix1 = _block(width, width)
        self.around = Around(channels, width)
        # The ring as a whole, and where in it a cell is: a smooth lens looks the same at places that belong together.
        self.whole = torch.nn.Linear(512, width)
        self.where = torch.nn.Conv2d(3, width, 1, bias=False)
        self.last = torch.nn.Conv2d(width, 6, 1)
        self._start_at(Prior() if prior is None else prior)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, S, S) to (B, 6, S/2, S/2), rounded up where the image has an odd number of pixels.

        Channels: log of the expected number in the cell; x and y from its middle, in cells, at most `REACH`; log of the
        spread of each of them, in cells; log10 of the mass in Msun, and the log of its spread in dex.
        """
        encoder = self.encoder
        one = encoder.bn1(encoder.conv1(images))  # (B, 64, S/2, S/2); what is above 0 is taken after the pooling
        two = encoder.layer1(encoder.maxpool(one))
        three = encoder.layer2(two)
        four = encoder.layer3(three)
        five = encoder.layer4(four)  # (B, 512, S/32, S/32)
        merged = self.mix4(_onto(self.from5(five), four) + self.from4(four))
        merged = self.mix3(_onto(merged, three) + self.from3(three))
        merged = _onto(_onto(merged, two) + self.from2(two), one) + self.from1(one)
        merged = merged + self.around(images, CELL)
        whole = self.whole(five.mean((2, 3)))[:, :, None, None]
        return _bounded(self.last(self.mix1(merged + whole + self.where(_places(merged)))))

    def _start_at(self, prior: Prior) -> None:
        """Last layer: the prior everywhere, all but regardless of the image."""
        low, high = (math.log(bound) for bound in MASS_SIGMA)
        part = (math.log(prior.log_mass_sigma) - low) / (high - low)
        assert self.last.bias is not None
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            self.last.bias.zero_()
            self.last.bias[LOG_DENSITY] = math.log(prior.density)
            self.last.bias[LOG_MASS] = prior.log_mass
            self.last.bias[LOG_MASS_SIGMA] = math.log(part / (1 - part))


def _block(inside: int, outside: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(inside, outside, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(outside),
        torch.nn.ReLU(inplace=True),
    )


def _onto(coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    return F.interpolate(coarse, size=fine.shape[2:], mode="nearest")


def _places(maps: torch.Tensor) -> torch.Tensor:
    """x, y and distance from the middle of the cells of `maps` (B, C, h, w): (1, 3, h, w), from -1 to 1 along a
    side."""
    y, x = (torch.linspace(-1, 1, side, device=maps.device, dtype=maps.dtype) for side in maps.shape[2:])
    x, y = x.expand(len(y), -1), y[:, None].expand(-1, len(x))
    return torch.stack([x, y, (x * x + y * y).sqrt()])[None]


def _bounded(raw: torch.Tensor) -> torch.Tensor:
    """(B, 6, h, w) of any numbers to what they stand for."""
    density, dx, dy, sigma, mass, mass_sigma = raw.float().unbind(1)
    spreads = [
        math.log(low) + (math.log(high) - math.log(low)) * value.sigmoid()
        for value, (low, high) in ((sigma, SIGMA), (mass_sigma, MASS_SIGMA))
    ]
    return torch.stack([density, REACH * dx.tanh(), REACH * dy.tanh(), spreads[0], mass, spreads[1]], 1)
