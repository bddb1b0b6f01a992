"""Highest AUC: 32 epochs in one cycle, on the logarithm of the light in the middle of the image."""

from deeplense.config import AugmentConfig, DataConfig, ModelConfig, OptimizationConfig, TrainConfig

CONFIG = TrainConfig(
    preset="best",
    data=DataConfig(stretch="log", crop=0.64),
    augment=AugmentConfig(rotation=10.0),
    model=ModelConfig(init="random"),
    optimization=OptimizationConfig(
        lr=1e-3, weight_decay=0.05, optimizer="adamw", schedule="onecycle", batch_size=64, epochs=32
    ),
)
