"""torchvision's ResNet-18 for lens images, and where its first weights come from."""

from __future__ import annotations

import dataclasses
import pickle
import socket
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torchvision.models import ResNet, ResNet18_Weights
from torchvision.models.resnet import BasicBlock

from deeplense.config import ModelConfig
from deeplense.errors import InputError
from deeplense.network.smallmaps import with_small_maps
from deeplense.network.views import OrientedResNet

State = dict[str, torch.Tensor]

FETCH_SECONDS = 20
"""How long a download may stay silent; a cluster node without network would otherwise hang here."""

UNAVAILABLE = (OSError, EOFError, RuntimeError, pickle.UnpicklingError)
"""No network, no room, a download that was cut off, a damaged file in the cache."""


@dataclasses.dataclass(frozen=True)
class Initialization:
    """Which weights a run really starts from."""

    effective: str
    """`imagenet`, `random`, or the file."""
    warning: str | None = None
    """Why it is not what was hoped for."""


def build_model(classes: int, channels: int = 1, orient: bool = False) -> ResNet:
    """ResNet-18 with random weights from torch's generator.

    Args:
        classes: number of classes. Two need one logit, that of label 1; more need one each.
        channels: of the images.
        orient: as in `ModelConfig`. The weights do not know.
    """
    kind = OrientedResNet if orient else ResNet
    model = kind(BasicBlock, [2, 2, 2, 2], num_classes=1 if classes == 2 else classes)
    if channels != 3:
        stem = model.conv1
        model.conv1 = torch.nn.Conv2d(channels, 64, stem.kernel_size, stem.stride, stem.padding, bias=False)
        torch.nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    # The largest of some numbers, or 0 if that is more: in either order, to the bit; in this one, of a quarter of them.
    model.relu, model.maxpool = torch.nn.Identity(), torch.nn.Sequential(model.maxpool, torch.nn.ReLU(inplace=True))
    return model


def placed(model: torch.nn.Module, device: torch.device, channels_last: bool = True) -> torch.nn.Module:
    """`model` on `device`, in that memory layout; with the same weights, under the same names."""
    if device.type == "cpu":
        with_small_maps(model)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return model.to(device=device, memory_format=layout)  # type: ignore[call-overload]


def initialize(model: torch.nn.Module, config: ModelConfig) -> Initialization:
    """Decide what a run starts from, and load it into `model`. One process decides; DDP hands its weights on.

    Raises:
        InputError: weights that were asked for by name cannot be had.
    """
    if config.init == "random":
        return Initialization("random")
    encoder = getattr(model, "encoder", model)
    if config.init not in ("auto", "imagenet"):
        state = _read_weights(weights_of(Path(config.init)))
        if encoder is model:
            load_initial(model, state)
        else:
            load_encoder(model, state, config.init)
        return Initialization(config.init)
    try:
        load_initial(encoder, imagenet_state())
        return Initialization("imagenet")
    except UNAVAILABLE as error:
        why = str(error) or type(error).__name__
    if config.init == "imagenet":
        raise InputError(
            f"--init imagenet: the weights are not in {_hub_folder()} and cannot be fetched ({why}): "
            "run `python -m deeplense.model` where there is a network, or give --init random"
        )
    return Initialization(
        "random",
        warning=f"NO IMAGENET WEIGHTS: starting from RANDOM ones, which need more epochs. They are not in "
        f"{_hub_folder()} and cannot be fetched ({why}). Run `python -m deeplense.model` where there is a network, "
        "or give --init random to say that this is meant.",
    )


def strange_to(network: torch.nn.Module, state: State) -> str | None:
    """Name of a tensor of `state` or of `network` that the other has not, or has in another shape; None: they fit.

    Counters of batches do not count: files of before torch had them, as torchvision's, are without.
    """
    shapes, own = ({name: value.shape for name, value in of.items()} for of in (state, network.state_dict()))
    odd = (name for name in shapes.keys() | own.keys() if shapes.get(name) != own.get(name))
    return min((name for name in odd if not name.endswith(".num_batches_tracked")), default=None)


def load_initial(model: torch.nn.Module, state: State) -> None:
    """Load `state` into `model`, fitting what differs.

    Kernels of a colour stem are summed over colour for one channel: grey light is equal in all three, so
    the features stay what they were. A head for other classes stays as it was drawn.

    Raises:
        InputError: these are not the weights of a ResNet-18.
    """
    own = model.state_dict()
    fitted = dict(state)
    stem = fitted.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] != own["conv1.weight"].shape[1]:
        channels = own["conv1.weight"].shape[1]
        fitted["conv1.weight"] = stem.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
    if "fc.weight" not in own:  # an encoder has no head
        fitted = {name: value for name, value in fitted.items() if not name.startswith("fc.")}
    elif fitted.get("fc.weight", own["fc.weight"]).shape != own["fc.weight"].shape:
        fitted["fc.weight"], fitted["fc.bias"] = own["fc.weight"], own["fc.bias"]
    if odd := strange_to(model, fitted):
        raise InputError(f"--init: the weights are not those of a ResNet-18 ({odd}): give some that are, or random")
    model.load_state_dict(fitted)


def load_encoder(model: torch.nn.Module, state: State, said: str) -> None:
    """Load `state` into a network that has a ResNet-18 as its `encoder`: that of a classifier, or a whole such network.

    Args:
        said: what the user called the weights.

    Raises:
        InputError: they are of neither, or of images of other channels.
    """
    own = model.state_dict()
    whole = any(name.startswith("encoder.") for name in state)
    stem, wanted = state.get("encoder.conv1.weight" if whole else "conv1.weight"), own["encoder.conv1.weight"]
    if stem is not None and stem.ndim == 4 and stem.shape[1] != wanted.shape[1]:
        raise InputError(
            f"--init {said}: is a network for {stem.shape[1]} channel(s), and --channels is {wanted.shape[1]}: give "
            "one of as many"
        )
    part: torch.nn.Module = model if whole else model.encoder  # type: ignore[assignment]
    parts = {name: value for name, value in state.items() if whole or not name.startswith("fc.")}
    if odd := strange_to(part, parts):
        kind = "this network, whose layers may have changed" if whole else "a ResNet-18"
        raise InputError(f"--init {said}: the weights are not those of {kind} ({odd}): give some that are, or random")
    part.load_state_dict(parts)


def weights_of(where: Path) -> Path:
    """The file of weights at `where`: that itself, or the best ones of a run folder."""
    return where / "best" / "model.safetensors" if where.is_dir() else where


def imagenet_state() -> State:
    """The ImageNet weights, from torch's cache or fetched into it. Raises one of `UNAVAILABLE` if neither can be."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(FETCH_SECONDS)
    try:
        weights = ResNet18_Weights.IMAGENET1K_V1
        return dict(weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, weights_only=True))
    finally:
        socket.setdefaulttimeout(before)


def _hub_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _read_weights(file: Path) -> State:
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        state = torch.load(file, map_location="cpu", weights_only=True)  # no code of the file's author runs
    except FileNotFoundError:
        raise InputError(f"--init {file}: there is no such file; give auto, imagenet, random or a file") from None
    except Exception as error:  # damaged files make both libraries raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--init {file}: cannot be read as weights ({reason})") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"--init {file}: is not a table of weights: save `model.state_dict()`")
    return state


def fetch() -> None:
    """Fetch the ImageNet weights into the cache. Raises `InputError` if they cannot be had."""
    try:
        imagenet_state()
    except UNAVAILABLE as error:
        raise InputError(
            f"the ImageNet weights cannot be fetched ({error}): run this where there is a network"
        ) from None
    print(f"the ImageNet weights are in {_hub_folder()}")
