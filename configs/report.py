"""The recipe of the DeepLense common-task report: 64 px, Adam at 1e-4, batch 128, 100 epochs.

Everything here is the default of its field, written out so that the recipe can be read in one place.
"""

from deeplense.config import AugmentConfig, DataConfig, OptimizationConfig, SplitConfig, TrainConfig

CONFIG = TrainConfig(
    preset="report",
    data=DataConfig(data="model_i", image_size=64),
    split=SplitConfig(val_fraction=0.1, test_fraction=0.2),
    augment=AugmentConfig(rotation=30.0, flips=True),
    optimization=OptimizationConfig(lr=1e-4, optimizer="adam", schedule="constant", batch_size=128, epochs=100),
)
