import math

import pytest
from jsonargparse import ArgumentParser

from r1lit.errors import InputError, TrainingError
from r1lit.rewards import UNSCORED, FormatReward, Reward, RewardModelReward, Scoring, score_completions
from r1lit.rewards.reward_model import CalibratedScorer, PreparedScorer, RemoteScorer
from r1lit.types import Completion, Message, Prompt, Scorer


class Table:
    """A scorer that looks its scores up by text."""

    def __init__(self, **scores):
        self.scores, self.calls = scores, []

    def score(self, completions):
        self.calls.append(len(completions))
        return [self.scores[c.text] for c in completions]


class Calibrated(Table):
    mean, std = 2.0, 0.5

    def load(self):
        self.calls.append("load")


class Remote(Table):
    def try_score(self, completions):
        return self.score(completions)

    def close(self):
        self.calls.append("close")


def completion(text, kind="helpful", sample=0):
    return Completion(Prompt("p1", (Message("user", "q"),), kind=kind, task="chat"), sample, (), (), (), text, "stop")


def test_scales():
    texts = [completion("low"), completion("high")]
    scorer = Calibrated(low=1.5, high=2.5)
    assert RewardModelReward(scorer, scale="none").score(texts) == [1.5, 2.5]
    sigmoid = RewardModelReward(scorer).score(texts)
    assert sigmoid == pytest.approx([1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(-2.5))])
    standard = RewardModelReward(scorer, scale="standard").score(texts)
    assert standard == pytest.approx([1 / (1 + math.e), 1 / (1 + math.exp(-1))])
    given = RewardModelReward(scorer, scale="standard", mean=2.5, std=1.0).score(texts)
    assert given == pytest.approx([1 / (1 + math.e), 0.5])


def test_a_score_far_out_neither_overflows_nor_leaves_the_range():
    scores = RewardModelReward(Table(low=-1e6, high=1e6)).score([completion("low"), completion("high")])
    assert scores == [0.0, 1.0]


def test_standard_needs_its_figures_before_training_starts():
    reward = RewardModelReward(Table(a=1.0), scale="standard")
    with pytest.raises(InputError, match="mean and std"):
        reward.prepare()
    RewardModelReward(Table(a=1.0), scale="standard", mean=0, std=1).prepare()
    with pytest.raises(InputError, match="above 0"):
        RewardModelReward(Table(a=1.0), scale="standard", mean=0, std=0).prepare()
    with pytest.raises(InputError, match="for scale standard"):
        RewardModelReward(Table(a=1.0), mean=0)
    with pytest.raises(InputError, match="scale is 'rank'"):
        RewardModelReward(Table(a=1.0), scale="rank")


def test_the_model_is_read_before_training():
    scorer = Calibrated(a=1.0)
    reward = RewardModelReward(scorer, from_step=1300)
    reward.setup(None, None, "test")
    assert scorer.calls == []
    reward.setup(None, None, "fit")
    assert scorer.calls == ["load"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, "1.0", True])
@pytest.mark.parametrize("scale", ["none", "sigmoid"])
def test_what_is_no_finite_number_stops_the_run_and_names_the_completion(bad, scale):
    reward = RewardModelReward(Table(good=1.0, bad=bad), scale=scale)
    batch = [completion("good"), completion("bad", sample=3)]
    with pytest.raises(TrainingError, match=r"'reward_model'.*its scorer gave.*'p1', sample 3, text 'bad'"):
        score_completions([reward], batch, 0)
    assert reward.scorer.calls == [2]  # an expensive model is not asked again for the culprit


def test_a_wrong_number_of_scores_stops_the_run():
    class Short(Table):
        def score(self, completions):
            return [1.0]

    with pytest.raises(TrainingError, match=r"gave 1 scores for 2 completions.*'p1'"):
        score_completions([RewardModelReward(Short())], [completion("a"), completion("b")], 0)
    assert RewardModelReward(Short()).score([]) == []


def test_unscored_stays_unscored():
    reward = RewardModelReward(Remote(a=UNSCORED, b=0.0))
    scores = score_completions([reward, FormatReward("think")], [completion("a"), completion("b")], 0)
    assert tuple(s.scores["reward_model"] for s in scores) == (None, 0.5)
    assert tuple(s.total for s in scores) == (None, 0.5)


def test_a_model_here_is_asked_once_at_the_end_and_one_elsewhere_in_a_thread():
    here, elsewhere = Table(a=1.0, b=2.0), Remote(a=1.0, b=2.0)
    assert (RewardModelReward(here).concurrency, RewardModelReward(elsewhere).concurrency) == (0, 1)
    with Scoring([RewardModelReward(here, scale="none")], 0) as scoring:
        for text in "ab":
            scoring.add(completion(text))
        assert here.calls == []
        assert tuple(s.total for s in scoring.result()) == (1.0, 2.0)
    assert here.calls == [2]
    RewardModelReward(elsewhere).close()
    assert elsewhere.calls == ["close"]


def test_each_kind_gets_its_own_model():
    helpful = RewardModelReward(Table(x=1.0), "helpful", kinds=["helpful"], scale="none", from_step=3)
    safe = RewardModelReward(Table(x=0.0), "harmless", kinds=["harmless"], from_step=3)
    form = FormatReward("think")
    batch = [completion("x", "helpful"), completion("x", "harmless"), completion("x", "reasoning")]
    assert tuple(s.total for s in score_completions([helpful, safe, form], batch, 3)) == (1.0, 0.5, 0.0)
    assert tuple(s.total for s in score_completions([helpful, safe, form], batch, 2)) == (0.0, 0.0, 0.0)
    assert tuple(s.total for s in score_completions([helpful, safe], batch[:2], 2)) == (None, None)


def test_what_a_scorer_can_do_is_told_by_its_methods():
    assert isinstance(Table(), Scorer)
    assert not isinstance(Table(), PreparedScorer | CalibratedScorer | RemoteScorer)
    assert isinstance(Calibrated(), PreparedScorer)
    assert isinstance(Calibrated(), CalibratedScorer)
    assert isinstance(Remote(), RemoteScorer)


@pytest.mark.parametrize(
    ("scorer", "kind"),
    [
        ({"class_path": "r1lit.policy.scorer.ModelScorer", "init_args": {"path": "some/where"}}, "ModelScorer"),
        ({"class_path": "r1lit.rewards.HTTPScorer", "init_args": {"url": "http://h:1", "reads": "all"}}, "HTTPScorer"),
    ],
)
def test_a_configuration_names_the_scorer(scorer, kind):
    parser = ArgumentParser()
    parser.add_argument("--rewards", type=list[Reward])
    options = {"scorer": scorer, "kinds": ["harmless"], "from_step": 1300, "scale": "standard", "mean": 0, "std": 2.5}
    row = {"class_path": "r1lit.rewards.RewardModelReward", "init_args": options}
    (made,) = parser.instantiate(parser.parse_object({"rewards": [row]})).rewards
    assert type(made.scorer).__name__ == kind
    assert isinstance(made.scorer, PreparedScorer)
    assert (made.kinds, made.from_step, made.std) == (("harmless",), 1300, 2.5)
    assert made.concurrency == (1 if kind == "HTTPScorer" else 0)
