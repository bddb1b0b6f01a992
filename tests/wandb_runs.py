"""W&B's offline runs, read back."""

import json

from deeplense.tracking.wandb_files import records


def history(entries):
    """One dictionary for each logged line."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in entries
        if record.HasField("history")
    ]


def entries(folder):
    """W&B's step, the run's, and the loss, of all sessions in the order of time."""
    return [
        (line["_step"], line["global_step"], line.get("train_loss"))
        for file in sorted(folder.glob("wandb/*run-*/*.wandb"))
        for line in history(records(file.read_bytes()))
    ]
