"""Rewards: what makes a completion good, as Lightning callbacks that also work alone."""

from r1lit.rewards.accuracy import AccuracyReward
from r1lit.rewards.answers import AnswerTimeout, check_answer
from r1lit.rewards.base import UNSCORED, CompletionError, Reward, Score, check_names
from r1lit.rewards.checkers import CHECKERS
from r1lit.rewards.format import FormatReward, follows_format
from r1lit.rewards.function import FunctionReward
from r1lit.rewards.language import LanguageConsistencyReward, count_words, language_consistency
from r1lit.rewards.parsing import last_boxed, parse_response, summary
from r1lit.rewards.scoring import Scores, score_completions
from r1lit.rewards.streaming import Scoring

__all__ = [
    "CHECKERS",
    "UNSCORED",
    "AccuracyReward",
    "AnswerTimeout",
    "CompletionError",
    "FormatReward",
    "FunctionReward",
    "LanguageConsistencyReward",
    "Reward",
    "Score",
    "Scores",
    "Scoring",
    "check_answer",
    "check_names",
    "count_words",
    "follows_format",
    "language_consistency",
    "last_boxed",
    "parse_response",
    "score_completions",
    "summary",
]
