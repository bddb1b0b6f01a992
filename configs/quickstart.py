"""A few minutes on two cores, without network: random weights, one cycle, any rotation."""

from deeplense.config import AugmentConfig, ModelConfig, OptimizationConfig, TrainConfig

CONFIG = TrainConfig(
    preset="quickstart",
    augment=AugmentConfig(rotation=180.0),
    model=ModelConfig(init="random"),
    optimization=OptimizationConfig(
        lr=1e-3, weight_decay=0.05, optimizer="adamw", schedule="onecycle", batch_size=64, epochs=6
    ),
)
