"""Seconds: does everything work? Two epochs of 420 images at 32 px.

Half a minute on two cores, most of it for imports and the simulation of 600 images. It learns nothing to speak of.
"""

from deeplense.config import DataConfig, ModelConfig, OptimizationConfig, SimulationConfig, TrainConfig

CONFIG = TrainConfig(
    preset="debug",
    data=DataConfig(image_size=32),
    simulation=SimulationConfig(count=600),
    model=ModelConfig(init="random"),
    optimization=OptimizationConfig(lr=1e-3, batch_size=32, epochs=2),
)
