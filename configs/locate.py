"""Where the subhalos are: point masses of `one_subhalo`, minutes on two cores."""

from deeplense.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    OptimizationConfig,
    SimulationConfig,
    SplitConfig,
    TrainConfig,
)

CONFIG = TrainConfig(
    preset="locate",
    task="locate",
    data=DataConfig(data="one_subhalo", image_size=56, crop=0.7, standardize=True),
    simulation=SimulationConfig(count=16_000, online=True, epoch_images=7_500),
    split=SplitConfig(val_fraction=0.1, test_fraction=0.75),
    augment=AugmentConfig(rotation=0.0, flips=False),
    model=ModelConfig(init="random"),
    optimization=OptimizationConfig(
        lr=1e-3,
        weight_decay=0.02,
        optimizer="adamw",
        schedule="cosine",
        warmup_epochs=0.1,
        clip_norm=5.0,
        batch_size=32,
        epochs=8,
    ),
)
