"""The LightningModules of the recipe's stages."""

from r1lit.modules.distill import DistillModule, Divergence
from r1lit.modules.evaluate import EvaluationModule
from r1lit.modules.grpo import GRPOModule
from r1lit.modules.judge import JudgeModule
from r1lit.modules.reject import RejectionModule
from r1lit.modules.reward_model import RewardModelModule
from r1lit.modules.sft import SFTModule
from r1lit.training.objective import Objective
from r1lit.training.policy_module import PolicyModule
from r1lit.training.schedules import CosineToTenth
from r1lit.training.stage import StageModule

__all__ = [
    "CosineToTenth",
    "DistillModule",
    "Divergence",
    "EvaluationModule",
    "GRPOModule",
    "JudgeModule",
    "Objective",
    "PolicyModule",
    "RejectionModule",
    "RewardModelModule",
    "SFTModule",
    "StageModule",
]
