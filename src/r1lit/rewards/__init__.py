"""Rewards: what makes a completion good, as Lightning callbacks that also work alone."""

from r1lit.grading.answers import AnswerTimeout, check_answer
from r1lit.grading.checkers import CHECKERS
from r1lit.grading.choice import choice_answer
from r1lit.grading.format import follows_format
from r1lit.grading.instructions import follow_instructions
from r1lit.grading.language import language_consistency
from r1lit.grading.parsing import last_boxed, parse_response, summary
from r1lit.grading.programs import extract_program
from r1lit.grading.refusal import is_refusal
from r1lit.grading.scripts import count_words
from r1lit.rewards.accuracy import AccuracyReward
from r1lit.rewards.base import UNSCORED, CompletionError, Reward, Score, check_names
from r1lit.rewards.choice import ChoiceReward
from r1lit.rewards.code import CodeReward
from r1lit.rewards.fact import FactReward
from r1lit.rewards.format import FormatReward
from r1lit.rewards.function import FunctionReward
from r1lit.rewards.http_scorer import HTTPScorer
from r1lit.rewards.instructions import InstructionReward
from r1lit.rewards.json_answer import JSONReward
from r1lit.rewards.language import LanguageConsistencyReward
from r1lit.rewards.refusal import RefusalReward
from r1lit.rewards.reward_model import RewardModelReward
from r1lit.rewards.scoring import score_completions
from r1lit.rewards.streaming import Scoring
from r1lit.rewards.tool_call import ToolCallReward

__all__ = [
    "CHECKERS",
    "UNSCORED",
    "AccuracyReward",
    "AnswerTimeout",
    "ChoiceReward",
    "CodeReward",
    "CompletionError",
    "FactReward",
    "FormatReward",
    "FunctionReward",
    "HTTPScorer",
    "InstructionReward",
    "JSONReward",
    "LanguageConsistencyReward",
    "RefusalReward",
    "Reward",
    "RewardModelReward",
    "Score",
    "Scoring",
    "ToolCallReward",
    "check_answer",
    "check_names",
    "choice_answer",
    "count_words",
    "extract_program",
    "follow_instructions",
    "follows_format",
    "is_refusal",
    "language_consistency",
    "last_boxed",
    "parse_response",
    "score_completions",
    "summary",
]
