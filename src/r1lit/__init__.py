"""r1lit: reasoning models by the DeepSeek-R1 recipe on PyTorch Lightning.

Importing the package is cheap: each exported name loads its module, and with it torch, transformers and Lightning, when
it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r1lit import rewards
    from r1lit.data.chat import ChatDataModule
    from r1lit.data.prompts import PromptDataModule
    from r1lit.modules.distill import DistillModule
    from r1lit.modules.grpo import GRPOModule
    from r1lit.modules.sft import SFTModule
    from r1lit.policy.policy import Policy

__version__ = "0.1.0.dev0"
__all__ = [
    "ChatDataModule",
    "DistillModule",
    "GRPOModule",
    "Policy",
    "PromptDataModule",
    "SFTModule",
    "__version__",
    "rewards",
]

_MODULES = {
    "ChatDataModule": "r1lit.data.chat",
    "DistillModule": "r1lit.modules.distill",
    "GRPOModule": "r1lit.modules.grpo",
    "Policy": "r1lit.policy.policy",
    "PromptDataModule": "r1lit.data.prompts",
    "SFTModule": "r1lit.modules.sft",
}


def __getattr__(name: str) -> Any:
    if name == "rewards":
        return import_module("r1lit.rewards")
    if name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
