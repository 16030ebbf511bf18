import pytest
import torch

from r1lit.errors import InputError
from r1lit.functional import losses
from r1lit.modules import Objective

MASK = torch.tensor([[True, True, False], [True, True, True]])
LOGPROBS = torch.tensor([[-1.0, -0.5, 0.0], [-2.0, -0.1, -0.7]])
OLD = LOGPROBS - torch.tensor([[0.5, -0.6, 0.0], [0.0, 0.3, -0.2]])
REFERENCE = LOGPROBS + 0.25
ADVANTAGES = torch.tensor([-1.0, 1.0])


@pytest.mark.parametrize("aggregation", ["sequence", "token", "constant"])
def test_normalizer_is_that_of_the_losses(aggregation):
    mask = torch.arange(7)[None, :] < torch.tensor([3, 0, 7, 5])[:, None]
    wanted = losses.loss_normalizer(mask, aggregation, 9)
    assert Objective(aggregation=aggregation).normalizer([3, 0, 7, 5], 9) == float(wanted)


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo"])
def test_clip_range_is_the_losss_own_unless_given(name):
    function = {"grpo": losses.grpo_loss, "gspo": losses.gspo_loss, "cispo": losses.cispo_loss}[name]
    arguments = (LOGPROBS, OLD, ADVANTAGES, MASK)
    own = Objective(loss=name, beta=0.0)(*arguments, 2.0, None).loss
    assert own == function(*arguments, normalizer=2.0, aggregation="sequence").loss
    given = Objective(loss=name, beta=0.0, clip_low=0.01, clip_high=0.02)(*arguments, 2.0, None).loss
    wanted = function(*arguments, normalizer=2.0, aggregation="sequence", clip_low=0.01, clip_high=0.02).loss
    assert given == wanted
    assert given != own


def test_beta_and_aggregation_reach_the_loss():
    arguments = (LOGPROBS, OLD, ADVANTAGES, MASK)
    found = Objective(beta=0.5, aggregation="token")(*arguments, 5.0, REFERENCE).loss
    wanted = losses.grpo_loss(*arguments, normalizer=5.0, ref_logprobs=REFERENCE, beta=0.5, aggregation="token").loss
    assert found == wanted
    assert found != Objective(beta=0.0, aggregation="token")(*arguments, 5.0, REFERENCE).loss


def test_reinforce_has_no_clip_range():
    arguments = (LOGPROBS, OLD, ADVANTAGES, MASK)
    found = Objective(loss="reinforce", beta=0.0)(*arguments, 2.0, None).loss
    assert found == losses.reinforce_loss(*arguments, normalizer=2.0).loss


@pytest.mark.parametrize("setting", [{"beta": -0.1}, {"clip_low": -1.0}, {"clip_high": float("nan")}])
def test_settings_out_of_range_are_refused(setting):
    (name,) = setting
    with pytest.raises(InputError, match=f"objective.{name} is"):
        Objective(**setting)
