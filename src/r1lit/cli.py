"""The command line: ``r1lit fit | validate | test | predict`` through LightningCLI, with stages that resume.

Other words, such as ``rescore``, are functions with a parser of their own.

Importing the package's parts here makes their short class names known to configuration files.
"""

import itertools
import json
import logging
import math
import os
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

import r1lit.data
import r1lit.rewards
import r1lit.strategies
import r1lit.tasks
import r1lit.tasks.benchmarks
import r1lit.tiny_world  # noqa: F401 - makes the class names known
from r1lit import rescore
from r1lit.callbacks import (
    HFExport,
    MetricsFile,
    ReferenceSync,
    RolloutCheckpoint,
    RolloutProgress,
    SamplesTable,
    SelfEvolution,
    StageRecord,
)
from r1lit.callbacks.checkpoint import find_checkpoint
from r1lit.errors import InputError, TrainingError
from r1lit.freshness import CONFIG_FLAGS, DIR_FLAG, evaluation_folder, find_config, fingerprint, parse_command
from r1lit.messages import deliberate, user_message
from r1lit.modules import (
    EvaluationModule,
    PolicyModule,
    RewardModelModule,
    StageModule,
)
from r1lit.report import build
from r1lit.stage_folder import StageFolder, settle

STANDARD_CALLBACKS = {
    "metrics_file": MetricsFile,
    "samples": SamplesTable,
    "evolution": SelfEvolution,
    "reference_sync": ReferenceSync,
    "progress": RolloutProgress,
    "export": HFExport,
    "checkpoint": RolloutCheckpoint,
}
"""Every run has them; the key is where a configuration file sets their arguments. The checkpoint comes last."""
ALIASES = {
    "--model.init_from": ("--model.policy.init_from",),
    "--data.path": ("--data.train.path", "--data.val.path"),
    "--data.limit": ("--data.val_limit",),
}
"""Short flags, each for one or more long ones: a file of prompts is both trained on and, in other rows, measured on."""
SUBCOMMANDS = ("fit", "validate", "test", "predict")
COMMANDS = {"rescore": rescore.main, "report": build.main}
"""Words that run no Trainer."""


class R1LitCLI(LightningCLI):
    """LightningCLI with a stage folder: it resumes what was interrupted, and measures what was trained."""

    _folder: StageFolder | None = None

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the stage's flags and the standard callbacks."""
        parser.add_argument("--stage.dir", type=str, default="runs/run", help="Folder of the stage's results.")
        parser.add_argument("--stage.steps", type=int | None, default=None, help="Policy updates, not the config's.")
        parser.add_argument("--stage.placebo", type=bool, default=False, help="Shuffle the rewards: a control run.")
        parser.add_argument(
            "--stage.reward_models", type=dict[str, str], default={}, help="Models of rewards, by the reward's name."
        )
        parser.add_argument("--stage.title", type=str, default="", help="What the stage is, for its summary.")
        parser.add_argument("--stage.next", type=str, default="", help="Command to suggest at the end.")
        parser.link_arguments("stage.dir", "trainer.default_root_dir")
        for key, callback in STANDARD_CALLBACKS.items():
            parser.add_lightning_class_args(callback, key)

    def before_instantiate_classes(self) -> None:
        """Spreads the seed and the stage's settings to where they belong."""
        config = self.config[self.subcommand]
        seed = config.seed_everything if isinstance(config.seed_everything, int) else 0
        for part in (config.model, config.data):
            if part is not None and "seed" in part.init_args:
                part.init_args.seed = seed
        if self.subcommand == "test":
            config.verbose = False  # the stage's record prints the measures, with their intervals
        if config.stage.placebo:
            config.model.init_args.placebo = True
        set_reward_models(config.model.init_args.get("rewards") or [], config.stage.reward_models or {})
        if config.stage.steps is not None:
            set_length(config.model.init_args, config.stage.steps)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Adds the stage's record to the callbacks, and begins in the stage's folder once all is made and checked."""
        config = self.config[self.subcommand]
        if self.subcommand not in self.model.subcommands:
            words = " or ".join(word for word in self.model.subcommands if word != "validate")
            raise InputError(f"{type(self.model).__name__} does not {self.subcommand}; use `r1lit {words}`")
        if self.datamodule is not None:
            # Bad data must come out before an earlier result is moved aside; prompts stay loaded for the run.
            self.datamodule.setup(self.subcommand)
        folder = self._folder = self._stage_folder()
        config.stage.dir = config.trainer.default_root_dir = str(folder.path)
        plain = self.parser.dump(self.config, format="json", skip_link_targets=False)
        record = StageRecord(
            folder.path.name,
            folder,
            config=json.loads(plain)[self.subcommand],
            title=config.stage.title,
            next_command=config.stage.next or None,
        )
        self.trainer_defaults["callbacks"] = [record]
        trainer = super().instantiate_trainer(default_root_dir=str(folder.path), **kwargs)
        starts = self.subcommand in ("fit", "test", "predict") and is_first_process()
        if starts and (reason := folder.begin()):
            print(f"{folder.path}: starts again, as {reason}; what was there moves to {folder.moved}", flush=True)
        return trainer

    def _stage_folder(self) -> StageFolder:
        """The folder of the run; an evaluation's has a number where that of the configuration holds another one."""
        path = Path(self.config[self.subcommand].stage.dir)
        # Of the words as they were typed, since make's check of freshness sees no others.
        named = any(word.partition("=")[0] == DIR_FLAG for word in self._argv)
        current = fingerprint(parse_command(self._argv if named else [*self._argv, DIR_FLAG, str(path)]))
        if is_first_process():
            settle(path)  # else what a killed command moved aside would be back only after the folder is chosen
        evaluates = isinstance(self.model, EvaluationModule)
        own = evaluation_folder(path, current) if evaluates else path
        if own != path and is_first_process():
            print(
                f"{path} holds an evaluation of another model or with other settings; this one is in {own}", flush=True
            )
        return StageFolder(own, current, evaluates)

    def before_fit(self) -> None:
        """Resumes from the stage's checkpoint, if there is one."""
        # Another process than the first may look before that has moved an earlier run aside.
        folder = self._folder
        checkpoint = find_checkpoint(folder.path) if folder and folder.is_own() else None
        if checkpoint is not None and self.config_init[self.subcommand].get("ckpt_path") is None:
            if is_first_process():
                print(f"resuming from {checkpoint}", flush=True)
            self.config_init[self.subcommand].ckpt_path = str(checkpoint)

    def after_fit(self) -> None:
        """Measures the trained policy on the held-out prompts, which also writes ``stage.json``."""
        if isinstance(self.model, StageModule | RewardModelModule):
            if is_first_process():
                print("measuring on the held-out prompts", flush=True)
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses what ``main`` was given; the parent warns where ``sys.argv`` is not empty as well."""
        self.config = parser.parse_args(args)

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = list(argv)
        try:
            super().__init__(
                model_class=PolicyModule,
                datamodule_class=LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                trainer_defaults={
                    "logger": False,
                    "enable_progress_bar": False,
                    "enable_model_summary": False,
                    "use_distributed_sampler": False,
                    "inference_mode": False,
                    "max_epochs": -1,
                    "num_sanity_val_steps": 0,
                },
                parser_kwargs={name: {"exit_on_error": False} for name in SUBCOMMANDS} | {"exit_on_error": False},
                args=resolved(self._argv),
            )
        except BaseException:
            if self._folder is not None and self._folder.undo():
                print(f"{self._folder.path}: what was there is back, as the command could not start", flush=True)
            raise
        finally:
            if self._folder is not None:
                self._folder.release()


def set_reward_models(rewards: Sequence[Namespace], paths: Mapping[str, str]) -> None:
    """Names the models of rewards, which stand in a list that no flag reaches into.

    Raises:
        InputError: If no reward of a name has a scorer with a path.
    """
    for name, path in paths.items():
        found = [r.init_args for r in rewards if r.get("init_args") and r.init_args.get("name") == name]
        if not found or "path" not in (found[0].get("scorer.init_args") or {}):
            raise InputError(f"stage.reward_models.{name}: no reward of that name has a scorer with a path")
        found[0].scorer.init_args.path = path


def set_length(settings: Namespace, steps: int) -> None:
    """Has a module train for ``steps`` policy updates, whichever way it counts."""
    if "max_updates" in settings:
        if steps < 1:
            raise InputError(f"stage.steps is {steps}; give at least 1 policy update")
        settings.max_updates = steps
    else:
        settings.max_rollouts = rollouts_for(steps, settings)


def rollouts_for(steps: int, settings: Namespace) -> int:
    """How many whole rollouts make at least ``steps`` policy updates."""
    if steps < 1:
        raise InputError(f"stage.steps is {steps}; give at least 1 policy update")
    return math.ceil(steps / (settings.get("minibatches", 1) * settings.get("inner_epochs", 1)))


def is_first_process() -> bool:
    """Whether this process was started by the user rather than by Lightning's launcher."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def resolved(argv: Sequence[str]) -> list[str]:
    """Replaces short flags by long ones, and names of configurations by their files."""
    words: list[str] = []
    rest = iter(argv)
    # What is only measured has no training data.
    measures = "test" in argv[:1] or "validate" in argv[:1]
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag in CONFIG_FLAGS and (equals or (value := next(rest, ""))):
            words += [flag, str(find_config(value))]
            continue
        if flag not in ALIASES:
            words.append(word)
            continue
        given = [value] if equals else list(itertools.islice(rest, 1))
        for name in ALIASES[flag][-1:] if measures else ALIASES[flag]:
            words += [name, *given]
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; exits with 2 for bad input, 1 where a run had to stop, 143 after SIGTERM, each with a line."""
    _quiet()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in COMMANDS:
            return COMMANDS[words[0]](words[1:])
        R1LitCLI(words)
    except SIGTERMException:  # a SystemExit without a status, which make would take for success
        print(
            "r1lit: stopped by SIGTERM; the same command resumes from the last checkpoint", file=sys.stderr, flush=True
        )
        return 128 + signal.SIGTERM
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        print(f"r1lit: {message}", file=sys.stderr, flush=True)
        return 1 if isinstance(deliberate(error), TrainingError) else 2
    return 0


def _quiet() -> None:
    """Turns off what says nothing to a user: loading bars, devices, and warnings about loaders that are meant so."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    for part in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(part).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*self.log.*batch_size.*")
    warnings.filterwarnings("ignore", message=".*transfer_batch_to_device. in both.*")
    warnings.filterwarnings("ignore", message=".*treespec, LeafSpec.*")
    torch.set_float32_matmul_precision("high")


if __name__ == "__main__":
    sys.exit(main())
