"""Least time to a good AUC: 4 epochs of `best`, in one cycle from random weights.

On two cores of an AMD EPYC (Zen 4), torch 2.14, bf16, one run on the real images: validation AUC 0.9997, test AUC
0.9991 [0.9985, 0.9997], accuracy 0.981, 1 min 42 s from launch to the end.
"""

from deeplense.config import AugmentConfig, DataConfig, ModelConfig, OptimizationConfig, TrainConfig

CONFIG = TrainConfig(
    preset="fast",
    data=DataConfig(stretch="log", crop=0.64),
    augment=AugmentConfig(rotation=10.0),
    model=ModelConfig(init="random"),
    optimization=OptimizationConfig(
        lr=1e-3, weight_decay=0.05, optimizer="adamw", schedule="onecycle", batch_size=64, epochs=4
    ),
)
