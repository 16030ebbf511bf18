"""The command line: ``r1lit fit | validate | test | predict`` through LightningCLI, with stages that resume.

Other words, such as ``rescore``, are functions with a parser of their own.

Importing the package's parts here makes their short class names known to configuration files.
"""

import difflib
import json
import logging
import math
import os
import re
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import Callback, LightningDataModule
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
from r1lit.configuration import class_name, get, read_configuration, resolve_names
from r1lit.data.resumable import ResumableDataModule
from r1lit.errors import InputError, TrainingError
from r1lit.freshness import (
    CONFIG_FLAGS,
    DIR_FLAG,
    config_files,
    evaluation_folder,
    find_config,
    fingerprint,
    flag_pairs,
    parse_command,
    shipped_configs,
    size_of,
)
from r1lit.messages import deliberate, user_message
from r1lit.modules import (
    EvaluationModule,
    PolicyModule,
    StageModule,
)
from r1lit.own_run import VALUES, OwnRun, fit
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
ALIASES = {"--model.init_from": "--model.policy.init_from", "--data.limit": "--data.val_limit"}
"""Short flags for long ones."""
DATA_PATH = "--data.path"
"""The file, folder or hub id of a run's own data, whatever kind of data module reads it."""
SUBCOMMANDS = ("fit", "validate", "test", "predict")
_PARSING: dict[str, Any] = {"exit_on_error": False, "allow_abbrev": False}
COMMANDS = {"rescore": rescore.main, "report": build.main}
"""Words that run no Trainer."""


class R1LitCLI(LightningCLI):
    """LightningCLI with a stage folder: it resumes what was interrupted, and measures what was trained."""

    _folder: StageFolder | None = None
    _record: StageRecord
    _notes: Sequence[str] = ()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the stage's flags and the standard callbacks."""
        parser.add_argument("--stage.dir", type=str, default="runs/run", help="Folder of the stage's results.")
        parser.add_argument("--stage.steps", type=int | None, default=None, help="Policy updates, not the config's.")
        parser.add_argument("--stage.placebo", type=bool, default=False, help="Shuffle the rewards: a control run.")
        parser.add_argument(
            "--stage.reward_models", type=dict[str, str], default={}, help="Models of rewards, by the reward's name."
        )
        parser.add_argument(
            "--stage.size",
            type=Literal["large", "small"] | None,
            default=None,
            help="Of a run on your own model: small gives a first result on a CPU.",
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
        self._notes = fit(config) if config.stage.size else []

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
        record = self._record = StageRecord(
            folder.path.name,
            folder,
            config=json.loads(plain)[self.subcommand],
            title=config.stage.title,
            next_command=config.stage.next or None,
        )
        self.trainer_defaults["callbacks"] = [record]
        if config.stage.size and (name := own_configuration(self._argv)):
            self.trainer_defaults["callbacks"].append(OwnRun(name, record.config or {}, self._notes))
        trainer = super().instantiate_trainer(default_root_dir=str(folder.path), **kwargs)
        # What is said of a run comes first, so that no clock counts the time it takes.
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined] # set without a declaration
        callbacks.sort(key=lambda callback: not isinstance(callback, OwnRun))
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
        if isinstance(self.model, StageModule):
            if isinstance(self.datamodule, ResumableDataModule) and not self.datamodule.measures:
                self._record.complete(self.trainer, self.model)
                return
            if is_first_process():
                print("measuring on the held-out prompts", flush=True)
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses what ``main`` was given; the parent warns where ``sys.argv`` is not empty as well."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            if (told := unknown_flag(str(error), known_flags(parser, self._argv))) is None:
                raise
            raise InputError(told) from error

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
                # A beginning of a flag is a typo: --stage.step 5 would be taken for --stage.steps.
                parser_kwargs={name: dict(_PARSING) for name in SUBCOMMANDS} | _PARSING,
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
    updates: int = settings.get("minibatches", 1) * settings.get("inner_epochs", 1)
    return math.ceil(steps / updates)


def is_first_process() -> bool:
    """Whether this process was started by the user rather than by Lightning's launcher."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def resolved(argv: Sequence[str]) -> list[str]:
    """Replaces short flags by long ones, and all configuration files by what they say together."""
    files: list[Path] = []
    words: list[str] = []
    place = 1
    for flag, value in flag_pairs(argv):
        if flag in CONFIG_FLAGS and value is not None:
            place = place if files else len(words)
            files.append(find_config(value))
        else:
            words.append(joined(ALIASES.get(flag, flag), value))
    size = size_of(argv)
    if size == "small" and all(config_files(file, size) == config_files(file) for file in files):
        raise InputError("stage.size is small, and none of the configurations has such a size; -c zero has, for one")
    configuration = read_configuration(files, size)
    spread = [
        joined(name, value)
        for flag, value in flag_pairs(words[place:])
        for name in (data_flags(configuration, argv[:1]) if flag == DATA_PATH else [flag])
    ]
    if not files:
        return [*words[:place], *spread]
    configuration, flags = resolve_names(configuration, spread)
    return [*words[:place], CONFIG_FLAGS[-1], json.dumps(configuration), *flags]


def own_configuration(argv: Sequence[str]) -> str | None:
    """The shipped configuration for one's own model that a command is based on, such as ``zero``."""
    shipped = shipped_configs().resolve()
    for flag, value in flag_pairs(argv):
        if flag in CONFIG_FLAGS and value is not None:
            for file in reversed(config_files(find_config(value))):
                if file.resolve().parent == shipped and file.stem in VALUES:
                    return file.stem
    return None


def joined(flag: str, value: str | None) -> str:
    """A flag and its value as one word, so that no value is taken for a flag, and no hash in it for a comment."""
    if value is None:
        return flag
    return f"{flag}={json.dumps(value) if value.startswith('#') or ' #' in value else value}"


def known_flags(parser: LightningArgumentParser, argv: Sequence[str]) -> list[str]:
    """All flags of a command."""
    commands = getattr(getattr(parser, "_subcommands_action", None), "choices", None) or {}
    chosen = commands.get(argv[0], parser) if argv else parser
    return [flag for flag in chosen._option_string_actions if flag.startswith("--")] + [*ALIASES, DATA_PATH]


def unknown_flag(message: str, flags: Sequence[str]) -> str | None:
    """What to tell of a flag that there is not, with the nearest that there are; None for another message."""
    if not (found := re.match(r"[Uu]nrecognized arguments: (--[^\s=]+)", message)):
        return None
    near = " or ".join(difflib.get_close_matches(found.group(1), flags, n=2))
    return f"there is no flag {found.group(1)}; {f'did you mean {near}?' if near else 'see --help'}"


def data_flags(configuration: Mapping[str, Any], subcommand: Sequence[str]) -> list[str]:
    """What ``--data.path`` stands for: prompts are both trained on and, in other rows, measured on."""
    module = class_name(configuration.get("data"))
    if module == "ChatDataModule":
        return ["--data.sources.mine.path"]
    if module == "PreferenceDataModule":
        return ["--data.sources.path"]
    mixed = get(configuration, "data", "train", "parts") is not None
    train = "--data.train.parts.reasoning.source.path" if mixed else "--data.train.path"
    if any(word in subcommand for word in ("test", "validate")):  # what is only measured has no training data
        return ["--data.val.path"]
    return [train] if "predict" in subcommand else [train, "--data.val.path"]


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
