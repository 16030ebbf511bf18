"""Self-evolution: how answers change while a policy learns (paper 2.2.4 and supplement C), as figures and curves."""

import os
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from r1lit.callbacks.base import RolloutCallback
from r1lit.callbacks.metrics_file import FILE, read_rows
from r1lit.metrics.measures import consistency, is_stepwise, reflection_count, word_count
from r1lit.types import Completion, Rollout

PICTURE = "evolution.png"
PANELS = (
    ("accuracy and reward", ("reward/accuracy", "reward/format")),
    ("length (tokens)", ("mean_length", "mean_length_stepwise")),
    ("share of completions", ("stepwise", "truncated")),
    ("reflection words per 1,000 words", ("reflection_per_1k_words",)),
    ("language consistency", ("language_consistency",)),
    ("entropy (nats)", ("entropy",)),
)


class SelfEvolution(RolloutCallback):
    """Measures each rollout's completions and draws the curves at the end.

    Adds ``stepwise`` (share of completions that reason at all), ``mean_length_stepwise``, ``reflection_per_1k_words``,
    ``reflection_per_completion`` and ``language_consistency`` to the metrics of a rollout.
    """

    def measure_rollout(self, rollout: Rollout) -> dict[str, float]:
        """The figures of one rollout."""
        return evolution(rollout.completions)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws ``evolution.png`` from the metrics file."""
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero and (folder / FILE).is_file():
            draw(read_rows(folder / FILE), folder / PICTURE, title=folder.name)


def evolution(completions: Sequence[Completion]) -> dict[str, float]:
    """The signs of self-evolution in a set of completions.

    ``mean_length_stepwise`` and ``language_consistency`` are of those that reason at all, and left out where none does.
    """
    stepwise = [c for c in completions if is_stepwise(c)]
    words = sum(word_count(c.text) for c in completions)
    reflections = sum(reflection_count(c.text) for c in completions)
    found = {
        "stepwise": len(stepwise) / len(completions),
        "reflection_per_1k_words": 1000.0 * reflections / max(1, words),
        "reflection_per_completion": reflections / len(completions),
    }
    if stepwise:
        found["mean_length_stepwise"] = sum(len(c.token_ids) for c in stepwise) / len(stepwise)
        found["language_consistency"] = sum(consistency(c) or 0.0 for c in stepwise) / len(stepwise)
    return found


def draw(rows: list[dict[str, str]], path: Path, title: str = "", window: int = 9) -> None:
    """Draws the panels over policy updates: each rollout as a dot, a running mean as a line."""
    # Matplotlib takes a second to import, and only the end of a run needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, (heading, names) in zip(axes, PANELS, strict=True):
        for name in names:
            points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
            if not points:
                continue
            x, y = zip(*points, strict=True)
            (line,) = axis.plot(x, running_mean(y, window), label=name)
            axis.plot(x, y, ".", color=line.get_color(), alpha=0.25, markersize=4)
        axis.set_title(heading)
        axis.set_xlabel("policy updates")
        axis.grid(alpha=0.3)
        if axis.lines and len(names) > 1:
            axis.legend(fontsize="small")
    figure.suptitle(title)
    draft = path.with_name(f".{os.getpid()}.{path.name}")
    figure.savefig(draft, dpi=110)
    draft.replace(path)


def running_mean(values: tuple[float, ...], window: int) -> list[float]:
    """The mean over a centred window, shorter at the ends."""
    half = window // 2
    spans = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(span) / len(span) for span in spans]
