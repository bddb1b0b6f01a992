"""A few minutes on two cores, without network: 6,000 simulated lenses, random weights, 8 epochs in one cycle."""

from deeplense.config import ModelConfig, OptimizationConfig, SimulationConfig, TrainConfig

CONFIG = TrainConfig(
    preset="quickstart",
    simulation=SimulationConfig(count=6_000),
    model=ModelConfig(init="random"),
    optimization=OptimizationConfig(
        lr=1e-3, weight_decay=0.05, optimizer="adamw", schedule="onecycle", batch_size=64, epochs=8
    ),
)
