"""Where numbers go while a run goes on: `metrics.jsonl` in its folder, and Weights & Biases beside it."""
