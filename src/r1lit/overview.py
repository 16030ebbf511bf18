"""What ``r1lit``, ``r1lit --help`` and ``r1lit --version`` say: the commands, a line each. Standard library only."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from r1lit import __version__

COMMANDS = {
    "fit": "trains a stage: R1-Zero, SFT, reasoning RL, distillation, a reward model",
    "predict": "samples completions: rejection sampling, pairs for a reward model",
    "test": "evaluates a model on a benchmark or on prompts of your own",
    "validate": "measures a model on the held-out prompts of a configuration",
    "rescore": "judges the stored samples of an evaluation again, without the model",
    "report": "sets what a run measured beside the paper's claims, as a page",
}
_TEXT = """r1lit {version}: the DeepSeek-R1 training recipe on PyTorch Lightning

  r1lit COMMAND [-c CONFIGURATION] [--FLAG VALUE]...

{commands}

  r1lit fit -c zero --model.init_from Qwen/Qwen2.5-1.5B --data.path train.jsonl
  r1lit fit -c zero --print_config      all settings with their values
  r1lit fit --help                      the flags of a command
"""


def asked(words: Sequence[str]) -> str | None:
    """What to print for a command line that asks for help or the version; None for any other."""
    if not words or words[0] in ("-h", "--help"):
        rows = "\n".join(f"  {name:9} {told}" for name, told in COMMANDS.items())
        return _TEXT.format(version=__version__, commands=rows)
    if words[0] in ("-V", "--version"):
        return f"r1lit {__version__} ({', '.join(_installed())})\n"
    return None


def _installed() -> list[str]:
    found = []
    for name in ("torch", "lightning", "transformers"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
