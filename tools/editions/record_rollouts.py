"""A callback that writes every rollout whole: token ids, log-probabilities, rewards, totals, advantages."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from r1lit.callbacks.base import RolloutCallback
from r1lit.types import Rollout


class Recorder(RolloutCallback):
    """Appends a line for each completion of each rollout to ``rollouts.jsonl`` in the stage's folder."""

    def on_rollout_end(self, trainer: Trainer, pl_module: LightningModule, rollout: Rollout) -> None:
        """Writes the rollout; numbers as exact as JSON has them."""
        if not trainer.is_global_zero:
            return
        with (Path(trainer.default_root_dir) / "rollouts.jsonl").open("a", encoding="utf-8") as file:
            for row in rows_of(rollout):
                file.write(json.dumps(row) + "\n")


def rows_of(rollout: Rollout) -> list[list[Any]]:
    """One list for each completion, whichever edition made the rollout."""
    made: Any = rollout
    rows = []
    for place, completion in enumerate(made.completions):
        if hasattr(made, "scored"):
            total, rewards = made.scored[place].total, dict(made.scored[place].scores)
        else:
            total, rewards = made.totals[place], {name: column[place] for name, column in made.rewards.items()}
        advantage = made.advantages[place]
        ids, logprobs = list(completion.token_ids), list(completion.logprobs)
        rows.append([made.index, completion.prompt.id, completion.sample, ids, logprobs, rewards, total, advantage])
    return rows
