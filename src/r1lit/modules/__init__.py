"""The LightningModules of the recipe's stages."""

from r1lit.modules.base import BaseModule
from r1lit.modules.grpo import GRPOModule
from r1lit.modules.objective import Objective
from r1lit.modules.policy_module import PolicyModule

__all__ = ["BaseModule", "GRPOModule", "Objective", "PolicyModule"]
