"""Every setting of a run, as frozen, typed dataclasses that refuse nonsense when they are made.

This module imports no torch, so that `--help` and a wrong flag answer at once. Field names become flat
flags (`optimization.lr` is `--lr`), so a name may stand in one class only; `tests/test_config.py` checks it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deeplense.errors import InputError


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def _require_rate(fpr: float | None) -> None:
    _require(
        fpr is None or 0 <= fpr < 1, f"--fpr {fpr}: give a false-positive rate from 0 up to 1 (0.01, say), or none"
    )


def _require_bands(bands: tuple[str, ...]) -> None:
    numbers = [band for band in bands if band.isdecimal()]
    _require(
        len(numbers) in (0, len(bands)) and len(set(bands)) == len(bands) and all(bands),
        f"--bands {' '.join(bands)}: give numbers of planes (0 1 2), or names of bands (g r i), each once",
    )


class _Settings:
    """Common to all settings: how `pydantic` rebuilds them from JSON. Unknown or mistyped fields are errors."""

    __pydantic_config__ = {"extra": "forbid", "strict": True}  # noqa: RUF012 - must not be a field


@dataclasses.dataclass(frozen=True)
class DataConfig(_Settings):
    """Which images, and what becomes of them before the network sees them."""

    data: str = "model_i"
    """A folder of class folders, a packed set, or the name of a simulated set."""
    image_size: int = 64
    """Pixels a side after the resample."""
    crop: float = 1.0
    """Part of each side of an image that the network sees, in its middle; 1: all of it."""
    fit: Literal["pad", "crop", "stretch"] = "pad"
    """An image that is not square: dark beside it, its middle alone, or squeezed to a square."""
    channels: int = 1
    """Channels that the network sees. Colour becomes 1 by luminance, bands of a telescope by their mean; 1 becomes
    several by copying."""
    bands: tuple[str, ...] = ()
    """Which bands of an image are taken. Numbers: planes of a cube, from 0. Names: one file a band, lens7_g.fits and
    lens7_r.fits (or g/lens7.fits and r/lens7.fits) for `--bands g r`."""
    normalize: Literal["auto", "range", "minmax"] = "auto"
    """How pixels get to [0, 1]: by their range, or each image by its own minimum and maximum.
    auto: grey levels of pictures from black to white, all else minmax. range: other numbers must be in [0, 1]."""
    stretch: Literal["none", "log"] = "none"
    """log: log(1 + 100 x) / log 101 of pixels in [0, 1], which shows faint arcs beside a bright lens."""
    standardize: bool = False
    """Each image less its own mean, over its own spread, after the stretch; else (x - 0.5) / 0.5 for all.
    With --rotation, give a --crop that keeps its corners inside the image (0.73 for 30 degrees, 0.7 for any), or the
    dark that turns in counts."""
    layout: Literal["auto", "classes", "parts"] = "auto"
    """What names of folders say: classes, or part and class (train/no_sub, train_lenses). auto: parts where that is
    clear."""
    labels: str | None = None
    """A CSV file of classes (path,class, or an id, with or without suffix) for a folder without class folders."""
    positive: str | None = None
    """Of two classes, the one whose probability is given. none: the one without a name such as no_sub, smooth or
    nonlens; else the last by name."""
    fits_hdu: str | None = None
    """Name or number of the FITS extension that is the picture. none: SCI, PRIMARY, or the only one that is not named
    as noise, weight or mask."""
    bad_pixels: Literal["error", "zero", "median"] = "error"
    """Pixels that are no numbers: such an image is bad, or they become zero, or the median of their band."""
    bad_images: Literal["error", "skip"] = "error"
    """An image that cannot be read, or a file among the images that is none: stop, or leave it out."""
    placement: Literal["auto", "device", "host"] = "auto"
    """Where the pixels live. auto: on the device, if they take less than half of its free memory."""

    def __post_init__(self) -> None:
        _require(bool(self.data), "--data is empty: give a folder, a packed set or the name of a simulated set")
        _require(
            32 <= self.image_size <= 1024,
            f"--image-size {self.image_size}: give 32 to 1024 pixels a side (the network halves them five times)",
        )
        _require(0 < self.crop <= 1, f"--crop {self.crop}: give the part of a side to keep, above 0 up to 1")
        _require(1 <= self.channels <= 16, f"--channels {self.channels}: give 1 to 16")
        _require_bands(self.bands)
        _require(
            not self.bands or self.channels in (1, len(self.bands)),
            f"--channels {self.channels}: --bands {' '.join(self.bands)} gives {len(self.bands)}: give that, or 1",
        )


@dataclasses.dataclass(frozen=True)
class SimulationConfig(_Settings):
    """Simulated sets; has effect only where --data is the name of one."""

    count: int = 10_000
    """Images of all classes together. With --online: the share of them that is for validation and test."""
    classes: tuple[str, ...] = ("no_sub", "sub")
    """Of no_sub, cdm (called sub where there are two classes) and axion."""
    simulation_seed: int = 0
    """Another seed gives other images."""
    online: bool = False
    """Simulate each training batch fresh on the device; validation and test images stay fixed."""
    epoch_images: int = 10_000
    """Training images that --online calls an epoch."""
    crowd: float = 0.0
    """With --online: subhalos that an image with substructure has in the mean in the first part of the training, so
    that each teaches more; 0: as many as the set says, from the start."""
    crowd_part: float = 0.75
    """How long that part is, of all."""
    first_set: str | None = None
    """With --online: another simulated set, of as many pixels of the same size, whose images come before those of
    --data: an easier one, for what a network does not learn from those alone. None: no such set."""
    first_part: float = 0.2
    """How long its part is, of all."""

    @property
    def has_lessons(self) -> bool:
        """Whether a run sees other images before its own, for a part of all its steps (`data.fresh`)."""
        return self.online and bool(self.crowd or self.first_set)

    def __post_init__(self) -> None:
        _require(self.count >= 1, f"--count {self.count}: give the number of images, 1 or more")
        _require(len(set(self.classes)) >= 2, f"--classes {' '.join(self.classes)}: give two or more")
        _require(self.simulation_seed >= 0, f"--simulation-seed {self.simulation_seed}: give 0 or more")
        _require(self.epoch_images >= 1, f"--epoch-images {self.epoch_images}: give 1 or more")
        _require(0 <= self.crowd <= 50, f"--crowd {self.crowd:g}: give the mean number of subhalos, 0 to 50")
        for flag, part in (("--crowd-part", self.crowd_part), ("--first-part", self.first_part)):
            _require(0 < part < 1, f"{flag} {part:g}: give a part, more than 0 and less than 1")


@dataclasses.dataclass(frozen=True)
class SplitConfig(_Settings):
    """The three-way split, drawn over the content of the images."""

    val_fraction: float = 0.1
    """Part of the images that chooses the checkpoint."""
    test_fraction: float = 0.2
    """Part of the images that is scored once, at the end."""
    split_seed: int = 0
    """Seed of the split, apart from --seed so that runs of several seeds share their test images."""

    def __post_init__(self) -> None:
        for flag, value in (("--val-fraction", self.val_fraction), ("--test-fraction", self.test_fraction)):
            _require(0 <= value < 1, f"{flag} {value}: give a fraction from 0 up to, not including, 1")
        _require(
            self.val_fraction + self.test_fraction < 1,
            f"--val-fraction {self.val_fraction} and --test-fraction {self.test_fraction} leave no images "
            "to train on: their sum must be below 1",
        )
        _require(self.split_seed >= 0, f"--split-seed {self.split_seed}: give 0 or more")


@dataclasses.dataclass(frozen=True)
class AugmentConfig(_Settings):
    """Augmentation, drawn for each image anew in each epoch."""

    rotation: float = 30.0
    """Largest rotation either way, in degrees; 180 is any angle, 0 is off."""
    flips: bool = True
    """Mirror left-right and up-down, each for half of the images."""

    def __post_init__(self) -> None:
        _require(0 <= self.rotation <= 180, f"--rotation {self.rotation}: give degrees from 0 to 180")


@dataclasses.dataclass(frozen=True)
class ModelConfig(_Settings):
    """The network: torchvision's ResNet-18."""

    init: str = "auto"
    """First weights: auto, imagenet, random, a run folder, or a file (.safetensors, .pth).
    auto: ImageNet if the weights are in the cache or can be fetched, else random with a warning."""
    orient: bool = False
    """Lenses have no up: the network is shown the one of an image's eight views (turned by quarters, mirrored) whose
    light lies to the right, so that it says the same of all of them, at no cost."""

    def __post_init__(self) -> None:
        _require(bool(self.init), "--init is empty: give auto, imagenet, random or a file of weights")


@dataclasses.dataclass(frozen=True)
class OptimizationConfig(_Settings):
    """How the weights move."""

    lr: float = 1e-4
    """Peak learning rate, for the global batch whatever the number of processes."""
    weight_decay: float = 0.0
    """L2 penalty (adam, sgd), or decoupled decay (adamw)."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Rule of the step; sgd has Nesterov momentum 0.9."""
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    """Learning rate over the run: cosine falls to 0; onecycle rises for 30 % of the steps, then falls to 0."""
    warmup_epochs: float = 0.0
    """Linear rise of the learning rate at the start (onecycle has its own)."""
    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 128
    """The global batch: images that one optimiser step sees, over all processes and --grad-accum parts."""
    grad_accum: int = 1
    """Parts that each process cuts its share of the batch into, to save memory."""
    clip_norm: float | None = None
    """Largest norm of the gradient; none: not clipped."""
    label_smoothing: float = 0.0
    """Part of each training label that goes to all classes alike, against needless certainty.
    The training loss is then that of such labels; the validation loss is not."""
    balance: Literal["none", "loss", "batches"] = "none"
    """Classes of unequal size. loss: an image of a rare class counts more; batches: drawn evenly from all classes, so
    that images of a rare one come several times an epoch. Probabilities are then those of even classes, until the
    temperature and the threshold are fitted on validation images."""
    choose_by: Literal["auto", "roc_auc", "average_precision", "log_loss"] = "auto"
    """The validation score that chooses the weights. auto: ROC AUC, or the average precision where the class of label 1
    (of more than two: any) has less than 5 % of the images."""
    ema_decay: float | None = None
    """Decay a step of a moving average of the weights, which then is what is scored and kept; none: off."""
    patience: int | None = None
    """Stop after this many epochs without a better validation AUC; none: train all epochs."""

    def __post_init__(self) -> None:
        _require(0 < self.lr < float("inf"), f"--lr {self.lr}: give a learning rate above 0")
        _require(0 <= self.weight_decay < float("inf"), f"--weight-decay {self.weight_decay}: give 0 or more")
        _require(self.epochs >= 1, f"--epochs {self.epochs}: give 1 or more")
        _require(
            0 <= self.warmup_epochs <= self.epochs,
            f"--warmup-epochs {self.warmup_epochs}: give 0 up to --epochs {self.epochs}",
        )
        _require(
            not (self.warmup_epochs and self.schedule == "onecycle"),
            "--warmup-epochs has no effect with --schedule onecycle, which warms up by itself: give 0",
        )
        _require(self.batch_size >= 2, f"--batch-size {self.batch_size}: give 2 or more (batch norm needs two)")
        _require(self.grad_accum >= 1, f"--grad-accum {self.grad_accum}: give 1 or more")
        _require(
            self.batch_size % self.grad_accum == 0,
            f"--grad-accum {self.grad_accum} does not divide --batch-size {self.batch_size}",
        )
        _require(
            self.batch_size // self.grad_accum >= 2,
            f"--grad-accum {self.grad_accum} leaves parts of one image, and batch norm needs two: lower it",
        )
        _require(
            self.clip_norm is None or 0 < self.clip_norm < float("inf"),
            f"--clip-norm {self.clip_norm}: give a norm above 0, or none",
        )
        _require(
            0 <= self.label_smoothing < 1,
            f"--label-smoothing {self.label_smoothing}: give a part from 0 up to, not including, 1",
        )
        _require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            f"--ema-decay {self.ema_decay}: give a decay between 0 and 1 (0.999, say), or none",
        )
        _require(
            self.patience is None or self.patience >= 1,
            f"--patience {self.patience}: give 1 or more, or none",
        )


@dataclasses.dataclass(frozen=True)
class CalibrationConfig(_Settings):
    """What is kept with the best weights beside them, fitted on validation images."""

    fpr: float | None = None
    """The false-positive rate that the threshold on two classes is to keep on validation images.
    none: the largest difference of true- and false-positive rate (Youden's J)."""

    def __post_init__(self) -> None:
        _require_rate(self.fpr)


@dataclasses.dataclass(frozen=True)
class ComputeConfig(_Settings):
    """How the arithmetic is done: what is computed stays the same, but for rounding and what batch norm is over."""

    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """auto: the launcher's, if that is fp16 or bf16.
    Else fp16 on CUDA, bf16 on a CPU that has it in hardware, and no elsewhere."""
    compile: bool | Literal["auto"] = "auto"
    """Compile the network with torch.compile, and on a GPU capture the step, which then is one launch: slower to start,
    faster afterwards. auto: either where the run is long enough to pay for it; never on a CPU."""
    channels_last: bool = True
    """Memory layout that convolutions prefer on most hardware."""
    deterministic: bool = False
    """The same bits whenever a run is repeated on the same GPU, at the cost of slower kernels, and no other choice
    of convolutions than cuDNN's first. A CPU's runs repeat themselves to the bit as they are."""
    sync_batchnorm: bool = False
    """Several processes: statistics of batch norm over the global batch, as one process has them."""


@dataclasses.dataclass(frozen=True)
class RunConfig(_Settings):
    """The run folder, and how the run is kept safe."""

    seed: int = 0
    """Seed of the initial weights, the order of the images and their augmentation."""
    output_dir: str = "runs"
    """The run folder is OUTPUT_DIR/NAME."""
    name: str | None = None
    """Name of the run; none: preset and time."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the run that is in the folder; start one if there is none."""
    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Delete the run that is in the folder first."""
    checkpoint_minutes: float = 10.0
    """Time between checkpoints within an epoch; there is one at every epoch's end as well."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints are kept."""
    profile: int = 0
    """Write a trace of this many training steps into the run folder, for Perfetto and TensorBoard; 0: none."""

    def __post_init__(self) -> None:
        _require(self.seed >= 0, f"--seed {self.seed}: give 0 or more")
        _require(bool(self.output_dir), "--output-dir is empty: give a folder")
        _require(
            self.name is None or (self.name not in ("", ".", "..") and Path(self.name).name == self.name),
            f"--name {self.name}: give the name of one folder, without slashes",
        )
        _require(
            not (self.resume and self.overwrite),
            "--resume and --overwrite exclude each other: give one of them",
        )
        _require(not self.resume or self.name is not None, "--resume: which run? give its --name as well")
        _require(self.checkpoint_minutes > 0, f"--checkpoint-minutes {self.checkpoint_minutes}: give more than 0")
        _require(self.keep_checkpoints >= 1, f"--keep-checkpoints {self.keep_checkpoints}: give 1 or more")
        _require(self.profile >= 0, f"--profile {self.profile}: give a number of steps, or 0 for none")


@dataclasses.dataclass(frozen=True)
class TrackingConfig(_Settings):
    """Weights & Biases. The run folder holds everything in any case."""

    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Weights & Biases. auto: online if logged in, else offline."""
    wandb_project: str = "deeplense"
    """Its project there."""

    def __post_init__(self) -> None:
        _require(bool(self.wandb_project), "--wandb-project is empty: give a name")


@dataclasses.dataclass(frozen=True)
class TrainConfig(_Settings):
    """All settings of one training run."""

    preset: Annotated[str, tyro.conf.Suppress] = "report"
    """The preset that the settings started from."""
    task: str = "classify"
    """What the network is trained for: classify, or locate."""
    data: DataConfig = DataConfig()
    simulation: SimulationConfig = SimulationConfig()
    split: SplitConfig = SplitConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    optimization: OptimizationConfig = OptimizationConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    compute: ComputeConfig = ComputeConfig()
    run: RunConfig = RunConfig()
    tracking: TrackingConfig = TrackingConfig()

    def __post_init__(self) -> None:
        _require(
            self.optimization.patience is None or self.split.val_fraction > 0,
            f"--patience {self.optimization.patience} needs validation images: give --val-fraction above 0",
        )
        _require(
            self.calibration.fpr is None or self.split.val_fraction > 0,
            f"--fpr {self.calibration.fpr} needs validation images: give --val-fraction above 0",
        )
        _require(
            not self.simulation.online or self.optimization.balance == "none",
            f"--balance {self.optimization.balance}: --online draws classes evenly: leave it out",
        )
        _require(
            not self.simulation.online or self.simulation.epoch_images >= self.optimization.batch_size,
            f"--epoch-images {self.simulation.epoch_images} is less than --batch-size {self.optimization.batch_size}",
        )


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(_Settings):
    """Score a run, on its own split or on other images; or several runs on the same images."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """The run folder. Several: they are compared on the same images, none of which any of them has learned from."""
    data: str | None = None
    """Other images: class folders, packed, simulated, or a flat folder without labels; none: the run's own."""
    count: int = 2_000
    """Images of a simulated set."""
    simulation_seed: int = 1
    """Seed of a simulated set; runs train on seed 0 unless told otherwise."""
    split: Literal["test", "val", "train", "all"] | None = None
    """Part of the run's own images to score; none: test.
    With --data: the images of that part that are there, by content, for a run whose images have moved."""
    name: str | None = None
    """Results go to RUN/evaluation/NAME; none: the split, or the name of --data.
    Those of several runs go to comparison/NAME beside the first of them; none: the names of the runs."""
    allow_overlap: tyro.conf.FlagCreatePairsOff[bool] = False
    """With --data that holds images the run has learned from: score the rest, and say so."""
    tta: tyro.conf.FlagCreatePairsOff[bool] = False
    """Average the logits over the flips and quarter turns that the run was trained with, with a temperature and
    threshold that are fitted for it on the run's own validation images. Of a run that locates: the density over all
    eight views."""
    fpr: float | None = None
    """A threshold of this false-positive rate on the run's own validation images; none: the one kept with the run."""
    foreign: Literal["say", "leave-out", "refuse"] = "say"
    """More than 5 % of the images look like none that the run knows: say so first, score without those (and list
    them), or stop. leave-out: leaves out fewer, too."""
    turn_test: tyro.conf.FlagCreatePairsOff[bool] = False
    """Turn each image by a multiple of 90 degrees, and mirror some, as their content says: a lens has no up."""
    class_map: tuple[str, ...] = ()
    """With --data: what the run calls its classes, THEIRS=OURS (subhalo=cdm vortex=axion); synonyms that are common
    in this field are known."""
    layout: Literal["auto", "classes", "parts"] = "auto"
    """With --data: what names of folders say, as in training."""
    labels: str | None = None
    """With --data: a CSV file of classes."""
    fits_hdu: str | None = None
    """With --data: name or number of the FITS extension that is the picture."""
    bad_pixels: Literal["error", "zero", "median"] = "error"
    """With --data: pixels that are no numbers."""
    bad_images: Literal["error", "skip"] = "error"
    """With --data: an image that cannot be read, or a file among the images that is none: stop, or leave it out."""
    batch_size: int | None = None
    """Images at a time; none: as many as suit the device."""
    attribution_images: int = 200
    """Images of substructure whose attribution maps are counted, where the truth is known; 0: no maps at all."""
    min_probability: float | None = None
    """Of a run that locates: detections below it are not listed; none: 0.1."""
    refit: tyro.conf.FlagCreatePairsOff[bool] = False
    """Of a run that locates, on a simulated set: lens, source and subhalo are fitted together, from the network's
    detections and from a scan; a tenth of a second of a core an image, and minutes more the first time."""
    sensitivity_map: tyro.conf.FlagCreatePairsOff[bool] = False
    """In place of all else, of a run that locates: where in the image at --data a subhalo of which mass would be found
    half the time at 1 % false positives."""
    lens: str | None = None
    """With --sensitivity-map: a JSON file of the lens's parameters by name, as in `catalog.csv`; none: the image's own
    truth, or a fit."""
    image: int = 0
    """With --sensitivity-map: which image of --data, by its place."""
    sensitivity: tyro.conf.FlagCreatePairsOff[bool] = False
    """In place of all else: how often one subhalo is seen, against its mass, place and exposure.
    Simulates its own images, of the set that the run was trained on or of --data SET."""
    sensitivity_count: int = 2_000
    """With --sensitivity: images in each half decade of mass."""

    def __post_init__(self) -> None:
        _require(len(self.runs) > 0, "which run? give its folder: evaluate.py runs/NAME")
        folders = [run.resolve() for run in self.runs]
        twice = [str(run) for run, folder in zip(self.runs, folders, strict=True) if folders.count(folder) > 1]
        _require(not twice, f"{twice[0] if twice else ''} is given twice: compare different runs")
        _require(
            len(self.runs) == 1 or self.split is None,
            f"--split {self.split}: several runs are compared on test images, or on those at --data: leave it out",
        )
        _require(
            not self.sensitivity or len(self.runs) == 1,
            "--sensitivity asks one run: give one, and compare what it writes",
        )
        _require(
            not self.sensitivity or (self.fpr is None and not self.tta),
            "--sensitivity has false-positive rates of its own and takes images as they are: leave --fpr and --tta out",
        )
        _require(
            len(self.runs) == 1 or not (self.refit or self.sensitivity_map),
            "--refit and --sensitivity-map ask one run: give one",
        )
        _require(
            not self.tta or not (self.refit or self.sensitivity_map),
            "--tta is of the network's word alone: leave it out with --refit and --sensitivity-map",
        )
        _require(
            self.sensitivity_map or (self.lens is None and self.image == 0),
            "--lens and --image are for --sensitivity-map: leave them out",
        )
        _require(
            not self.sensitivity_map or self.data is not None,
            "--sensitivity-map: of which image? give --data, and --image where there are several",
        )
        _require(self.image >= 0, f"--image {self.image}: give a place from 0 on")
        alone = len(self.runs) == 1 and not self.sensitivity
        _require(
            alone or self.foreign == "say",
            f"--foreign {self.foreign} is for scoring one run: leave it out",
        )
        _require(alone or not self.turn_test, "--turn-test is for scoring one run: leave it out")
        _require_rate(self.fpr)
        _require(
            self.batch_size is None or self.batch_size >= 1, f"--batch-size {self.batch_size}: give 1 or more, or none"
        )
        _require(
            self.attribution_images >= 0,
            f"--attribution-images {self.attribution_images}: give 0 (none) or more",
        )
        _require(
            self.min_probability is None or 0 <= self.min_probability <= 1,
            f"--min-probability {self.min_probability}: give a probability from 0 to 1, or none",
        )
        _require(
            self.sensitivity_count >= 50,
            f"--sensitivity-count {self.sensitivity_count}: give 50 or more, a rate of fewer says nothing",
        )
        for flag, asked in (
            ("--class-map", self.class_map),
            ("--labels", self.labels),
            ("--fits-hdu", self.fits_hdu),
        ):
            _require(
                self.data is not None or not asked, f"{flag} is for other images, and --data is not given: leave it out"
            )
        _require(self.data is None or bool(self.data), "--data is empty: give a folder or a packed set")
        _require(
            self.name is None or (self.name not in ("", ".", "..") and Path(self.name).name == self.name),
            f"--name {self.name}: give the name of one folder, without slashes",
        )

    @property
    def run(self) -> Path:
        """The run, or the first of several."""
        return self.runs[0]

    @property
    def part(self) -> str:
        """The part of the run's own images that is scored, where it is those."""
        return self.split or "test"

    @property
    def moved_to(self) -> str | None:
        """Where the run's own images are looked for; None: where they were."""
        return self.data if self.split else None
