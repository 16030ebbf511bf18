"""The recipe: the stages of the paper, what each reads, and the command that runs it. Standard library only.

Make, the report, the stage table and the tests read this list. ::

    python -m r1lit.recipe run rl1 --profile tiny --seed 1      # what make rl1 SEED=1 does
    python -m r1lit.recipe check r1 --profile smollm2 --show    # only prints the commands

A stage runs after those it reads from; one that is up to date is skipped, an interrupted one resumes.
"""

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from r1lit import freshness
from r1lit.errors import InputError

WHOLE = "r1"
"""The target that runs the whole recipe."""
EVAL = "eval"
"""The target that measures a model on a benchmark."""


@dataclass(frozen=True)
class Stage:
    """A stage, and the command that runs it."""

    name: str
    """Its folder below the run's; what stands before a slash is its target in make."""
    title: str
    """Under the paper's name."""
    subcommand: str
    """Of ``r1lit``."""
    summary: str
    """For make's list of targets; empty where the stage is only a part of another."""
    reads: Mapping[str, str] = field(default_factory=dict)
    """By flag: what it reads of other stages, such as ``zero/model``."""
    config: str = ""
    """Its file in the profile's folder; its name with dashes if empty."""
    changes: str = ""
    """A second file, which changes the first: an ablation, say."""
    budget: tuple[str, str, tuple[str, ...]] | None = None
    """A limit on its effort: the flag, the key of ``stage.json``, and the stages it is added up of."""
    steps: bool = False
    """Whether it trains for a number of policy updates that the user may set."""
    prompts: bool = False
    """Whether it may take a file of prompts instead of its own."""
    placebo: bool = False
    """Whether it may run on shuffled rewards."""
    seeded: bool = True
    """Whether it differs by seed."""
    whole: bool = True
    """Whether the whole recipe has it; the others are run by name."""
    on_path: bool = False
    """Whether its model is on the way from the base to R1, as the columns of the paper's Table 3."""
    student: bool = False
    """Whether its model is the small student."""
    template: str = "chat"
    """What its model's prompts look like: plain text until the cold start."""

    @property
    def target(self) -> str:
        """What make calls it."""
        return self.name.partition("/")[0]

    @property
    def configs(self) -> tuple[str, ...]:
        """Its files in the profile's folder, without their endings."""
        first = self.config or self.name.replace("/", "-")
        return (first, self.changes) if self.changes else (first,)

    @property
    def needs(self) -> tuple[str, ...]:
        """The stages it reads from."""
        read = [_owner(path) for path in self.reads.values()]
        return tuple(dict.fromkeys([*read, *(self.budget[2] if self.budget else ())]))


STAGES = (
    # The base as it is, exported and measured; of seed 0 always, so that all runs start from and compare with the same.
    Stage(
        "base", "Base", "test", "",
        seeded=False, prompts=True, on_path=True, template="plain",
    ),
    Stage(
        "zero", "R1-Zero", "fit", "R1-Zero: pure RL on the base model",
        {"--model.init_from": "base/model"},
        steps=True, prompts=True, placebo=True, on_path=True, template="plain",
    ),
    # The cold start's texts are samples of R1-Zero, but what is trained on them is the base again (paper, 2.3.1).
    Stage(
        "coldstart-data", "Cold-start data", "predict", "",
        {"--model.init_from": "zero/model", "--model.store_for.init_from": "base/model"},
    ),
    Stage(
        "coldstart", "Dev1", "fit", "Dev1: SFT of the base on readable traces",
        {"--model.init_from": "base/model", "--data.sources.coldstart.path": "coldstart-data/data"},
        on_path=True,
    ),
    Stage(
        "rl1", "Dev2", "fit", "Dev2: reasoning RL with a language-consistency reward",
        {"--model.init_from": "coldstart/model"},
        steps=True, on_path=True,
    ),
    Stage(
        "rl1-no-language", "Dev2 without language reward", "fit",
        "ablation: rl1 without the language-consistency reward",
        {"--model.init_from": "coldstart/model"},
        config="rl1", changes="rl1-no-language", steps=True,
    ),
    Stage(
        "reject", "Rejection sampling", "predict", "rejection sampling: Dev2's correct traces and general data",
        {"--model.init_from": "rl1/model"},
    ),
    Stage(
        "sft2", "Dev3", "fit", "Dev3: SFT of the base again, on those",
        {"--model.init_from": "base/model", "--data.sources.reject.path": "reject/data"},
        on_path=True,
    ),
    Stage(
        "rewards/helpful", "Reward model of helpfulness", "fit", "the reward models of helpfulness and of safety",
        {"--model.init_from": "sft2/model"},
    ),
    Stage(
        "rewards/safety", "Reward model of safety", "fit", "",
        {"--model.init_from": "sft2/model"},
    ),
    Stage(
        "rl2", "R1", "fit", "R1: RL for all scenarios, rules and both reward models",
        {
            "--model.init_from": "sft2/model",
            "--stage.reward_models.helpful": "rewards/helpful/model",
            "--stage.reward_models.safe": "rewards/safety/model",
        },
        steps=True, on_path=True,
    ),
    Stage(
        "rl2-hacked", "R1, helpfulness over-optimized", "fit",
        "ablation: rl2 with the helpfulness model over-optimized",
        {"--model.init_from": "sft2/model", "--stage.reward_models.helpful": "rewards/helpful/model"},
        config="rl2", changes="rl2-hacked", steps=True, whole=False,
    ),
    Stage(
        "few-shot", "R1 with examples in the prompt", "test", "R1 with worked examples in its prompt",
        {"--model.init_from": "rl2/model"},
    ),
    # A student may have a tokenizer of its own, so it reads the kept chats as text, not the teacher's tokens.
    Stage(
        "distill", "Distilled", "fit", "distillation: SFT of a small student on the kept traces",
        {"--data.sources.reject.path": "reject/chats.parquet"},
        student=True,
    ),
    Stage(
        "distill-on-policy", "Distilled on its own samples", "fit",
        "the student's own samples, the teacher's distributions",
        {"--model.teacher.init_from": "rl1/model"},
        steps=True, whole=False, student=True,
    ),
    Stage(
        "distill-zero", "Student, RL alone", "fit",
        "comparison: the student by RL alone, at the tokens that its teacher sampled for it",
        budget=("--model.limits.tokens_sampled", "tokens_sampled", ("reject",)), steps=True, student=True,
    ),
    Stage(
        "distill-zero-time", "Student, RL alone, in equal time", "fit",
        "comparison: the same in the time that the teacher's sampling and the distillation took",
        config="distill-zero", changes="distill-zero-time",
        budget=("--model.limits.wall_s", "wall_s", ("reject", "distill")), steps=True, student=True,
    ),
    Stage(
        "distill-rl", "Distilled, then RL", "fit", "RL after distillation",
        {"--model.init_from": "distill/model"},
        steps=True, student=True,
    ),
)  # fmt: skip
"""In the order in which they run."""
BY_NAME = {stage.name: stage for stage in STAGES}
TARGETS = tuple(dict.fromkeys(stage.target for stage in STAGES))
"""What make calls the stages."""
_PAPER = {"rewards": "Reward models"}


def stage_title(name: str) -> str:
    """A stage's name in the paper, or the name itself where it is none of the recipe's."""
    return BY_NAME[name].title if name in BY_NAME else _PAPER.get(name, name)


def place(name: str) -> int:
    """Where a stage stands in the recipe; unknown ones come last."""
    return next((index for index, stage in enumerate(STAGES) if stage.name == name), len(STAGES))


@dataclass(frozen=True)
class Run:
    """Where the stages of one run lie, and what the user sets for all of them."""

    profile: str = "tiny"
    seed: int = 0
    placebo: bool = False
    steps: int | None = None
    prompts: str = ""
    """A file of prompts for the stages that take one."""
    runs: str = "runs"
    configs: str = freshness.CONFIGS

    @property
    def folder(self) -> str:
        """Runs of other seeds, and the placebo, lie beside the main run."""
        suffix = (f"-seed{self.seed}" if self.seed else "") + ("-placebo" if self.placebo else "")
        return f"{self.runs}/{self.profile}{suffix}"

    def path(self, inside: str) -> str:
        """A path within a run; the base is the same for all."""
        of_all = not BY_NAME[_owner(inside)].seeded
        return f"{self.runs}/{self.profile}/{inside}" if of_all else f"{self.folder}/{inside}"

    def config(self, name: str) -> str:
        """A file of the profile."""
        return f"{self.configs}/{self.profile}/{name}.yaml"

    def command(self, stage: Stage) -> list[str]:
        """What follows ``r1lit`` on a stage's command line.

        Raises:
            InputError: If its effort is that of stages which have not run yet.
        """
        words = [stage.subcommand]
        for name in stage.configs:
            words += ["-c", self.config(name)]
        words += ["--stage.dir", self.path(stage.name)]
        for flag, inside in stage.reads.items():
            words += [flag, self.path(inside)]
        if stage.budget:
            flag, key, stages = stage.budget
            words += [flag, str(sum(self._effort(name, key) for name in stages))]
        words += ["--seed_everything", str(self.seed if stage.seeded else 0)]
        if stage.steps and self.steps is not None:
            words += ["--stage.steps", str(self.steps)]
        if stage.placebo and self.placebo:
            words += ["--stage.placebo", "true"]
        if stage.prompts and self.prompts:
            words += ["-c", self.config("data"), "--data.path", self.prompts]
        return words

    def _effort(self, name: str, key: str) -> float:
        path = Path(self.path(name)) / freshness.STAGE_FILE
        record = freshness.read_json(path)
        if record is None:
            raise InputError(f"{path}: no such record yet; run {name} first")
        value: float = record[key]
        return value


def _owner(inside: str) -> str:
    """The stage whose folder a path within a run lies in."""
    return next(name for name in sorted(BY_NAME, key=len, reverse=True) if f"{inside}/".startswith(f"{name}/"))


def plan(target: str) -> list[Stage]:
    """The stages that a target runs, those it reads from first.

    Raises:
        InputError: If the recipe has no such stage.
    """
    if target == WHOLE:
        wanted = [stage.name for stage in STAGES if stage.whole]
    else:
        wanted = [stage.name for stage in STAGES if stage.target == target]
    if not wanted:
        raise InputError(f"no target {target!r}; there are {', '.join((WHOLE, *TARGETS, EVAL))}")
    needed: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in needed:
            needed.add(name)
            wanted += BY_NAME[name].needs
    return [stage for stage in STAGES if stage.name in needed]


def check(target: str, run: Run) -> None:
    """Tells before hours of training, not after them, what a run lacks.

    Raises:
        InputError: If there is no such target or profile, a stage has no configuration, or data are given to one that
            takes none.
    """
    stages = plan(target)
    folder = Path(run.configs) / run.profile
    if not folder.is_dir():
        profiles = sorted({path.parent.name for path in Path(run.configs).glob("*/base.yaml")})
        raise InputError(f"there is no {folder}; PROFILE is one of: {' '.join(profiles)}")
    missing = [name for stage in stages for name in stage.configs if not Path(run.config(name)).is_file()]
    if missing:
        raise InputError(f"{folder} has no configuration of: {' '.join(dict.fromkeys(missing))}")
    if run.prompts and not (target in BY_NAME and BY_NAME[target].prompts):
        raise InputError("DATA is for zero and eval; name the data of other stages in a copy of CONFIGS/PROFILE")
    if run.prompts and not Path(run.config("data")).is_file():
        raise InputError(f"there is no {run.config('data')}, so PROFILE={run.profile} takes no DATA")


def run_command(words: Sequence[str]) -> int:
    """Runs a stage's command, unless the stage is up to date; its status."""
    status = freshness.main(words)
    return _call([sys.executable, "-m", "r1lit", *words]) if status == 1 else status


def _call(words: Sequence[str]) -> int:
    """Runs a command to its end, passing SIGTERM on; Ctrl-C reaches it by itself, and it knows how to stop."""
    process = subprocess.Popen(words)
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number)),
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
    }
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def model_folders(run: Run) -> list[tuple[Stage, Path]]:
    """The models on the way from the base to R1 that are there, the last first."""
    found = [(stage, Path(run.path(f"{stage.name}/model"))) for stage in reversed(STAGES) if stage.on_path]
    return [(stage, path) for stage, path in found if path.is_dir()]


def evaluation(run: Run, bench: str, model: str = "") -> list[str]:
    """What follows ``r1lit`` to measure a model on a benchmark.

    Args:
        run: The run; its prompts take the place of the benchmark's.
        bench: A file of ``configs/eval``.
        model: A folder or hub id; that of the last stage that has run if empty.

    Raises:
        InputError: If there is no such benchmark, or no model.
    """
    config = Path(run.configs) / "eval" / f"{bench}.yaml"
    if not config.is_file():
        names = sorted(path.stem for path in config.parent.glob("*.yaml") if path.stem not in ("common", "smollm2"))
        raise InputError(f"there is no {config}; BENCH is one of: {' '.join(names)}")
    if not model:
        models = model_folders(run)
        if not models:
            raise InputError(f"no stage below {run.folder} has a model yet; give MODEL")
        model = str(models[0][1])
    origin = model.removesuffix("/model").removeprefix(f"{run.runs}/")
    folder = f"{run.runs}/eval/{bench}/{origin.replace(':', '-').replace('/', '-')}"
    words = ["test", "-c", str(config), "--stage.dir", folder, "--model.init_from", model]
    words += ["--seed_everything", str(run.seed)]
    if run.prompts:
        words += ["--data.path", run.prompts]
    stage = BY_NAME.get(origin.rpartition("/")[2])
    if bench == "tiny" and (stage is None or stage.template == "chat"):
        words += ["--model.policy.template", "chat"]
    return words


def summaries() -> str:
    """The targets and what they are, a line each."""
    lines = {WHOLE: "the whole paper: all stages, the comparisons, the placebo, the report"}
    for stage in STAGES:
        if stage.summary:
            lines.setdefault(stage.target, stage.summary)
    return "\n".join(f"  {name:17} {summary}" for name, summary in lines.items())


def show(commands: Iterable[Sequence[str]]) -> None:
    """Prints commands as one could type them."""
    for words in commands:
        print(shlex.join(["r1lit", *words]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m r1lit.recipe", description="Runs the stages of the recipe.")
    parser.add_argument("action", choices=("run", "check", "list"))
    parser.add_argument("target", nargs="?", default=WHOLE, help="a stage, r1 for all, or eval")
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", default="", help="policy updates, instead of the configuration's")
    parser.add_argument("--placebo", action="store_true", help="shuffle the rewards")
    parser.add_argument("--prompts", default="", help="a file of prompts")
    parser.add_argument("--bench", default="tiny", help="of eval: the benchmark")
    parser.add_argument("--model", default="", help="of eval: a folder or hub id")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--configs", default=freshness.CONFIGS)
    parser.add_argument("--show", action="store_true", help="print the commands")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs an action; 2 for bad input, else the status of the stage that failed."""
    options = _parser().parse_args(argv)
    try:
        if options.steps and not options.steps.isdigit():
            raise InputError(f"STEPS is {options.steps!r}; give a number of policy updates")
        steps = int(options.steps) if options.steps else None
        run = Run(options.profile, options.seed, options.placebo, steps, options.prompts, options.runs, options.configs)
        return _act(options, run)
    except InputError as error:
        print(f"make: {error}", file=sys.stderr)
        return 2


def _act(options: argparse.Namespace, run: Run) -> int:
    if options.action == "list":
        print(summaries())
        return 0
    if options.target == EVAL:
        words = evaluation(run, options.bench, options.model)
        if options.show:
            show([words])
        return run_command(words) if options.action == "run" else 0
    check(options.target, run)
    if options.show:
        show(_shown(stage, run) for stage in plan(options.target))
    if options.action == "run":
        for stage in plan(options.target):
            if status := run_command(run.command(stage)):
                return status
    return 0


def _shown(stage: Stage, run: Run) -> list[str]:
    """A stage's command; an effort that is not known yet is named."""
    try:
        return run.command(stage)
    except InputError:
        assert stage.budget is not None
        flag, key, stages = stage.budget
        return [*run.command(replace(stage, budget=None)), flag, f"<{key} of {' and '.join(stages)}>"]


if __name__ == "__main__":
    sys.exit(main())
