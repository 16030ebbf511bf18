"""The cosine schedule: its ends, its shape, and a resumed run."""

import math

import pytest
import torch

from r1lit.callbacks import MetricsFile
from r1lit.callbacks.metrics_file import read_rows
from r1lit.errors import InputError
from r1lit.training.schedules import CosineToTenth


def made(total, lr=5e-5, **settings):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = CosineToTenth(optimizer, **settings)
    schedule.plan(total)
    return optimizer, schedule


def rates(optimizer, schedule, count):
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_from_the_peak_to_a_tenth():
    found = rates(*made(101), 101)
    assert found[0] == 5e-5
    assert found[-1] == pytest.approx(5e-6)
    assert found[50] == pytest.approx(2.75e-5)
    assert found[25] == pytest.approx(5e-6 + 4.5e-5 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert found == sorted(found, reverse=True)


def test_warmup_rises_to_the_peak():
    found = rates(*made(20, lr=1.0, warmup=0.2), 20)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[-1] == pytest.approx(0.1)


def test_it_stays_at_the_end_and_a_single_update_takes_the_peak():
    assert rates(*made(3, lr=1.0), 5)[2:] == pytest.approx([0.1] * 3)
    assert rates(*made(1, lr=1.0), 1) == [1.0]


def test_a_resumed_schedule_goes_on_and_a_longer_one_follows_the_longer_curve():
    straight = rates(*made(30), 30)
    optimizer, schedule = made(30)
    rates(optimizer, schedule, 12)
    again, resumed = made(30)
    resumed.load_state_dict(schedule.state_dict())
    assert rates(again, resumed, 18) == straight[12:]
    longer = rates(*made(60), 60)
    again, resumed = made(60)
    resumed.load_state_dict(schedule.state_dict())
    assert rates(again, resumed, 48) == longer[12:]


@pytest.mark.parametrize("settings", [{"warmup": 1.0}, {"floor": -0.1}, {"floor": 1.1}])
def test_shares_out_of_range(settings):
    with pytest.raises(InputError, match="CosineToTenth"):
        made(3, **settings)


def test_reinforcement_learning_plans_by_its_rollouts(run, tmp_path):
    run(rollouts=3, scheduler=CosineToTenth, callbacks=[MetricsFile()], learning_rate=1e-2)
    found = [float(row["learning_rate"]) for row in read_rows(tmp_path / "metrics.csv")]
    assert found == pytest.approx([1e-2, 5.5e-3, 1e-3])
    with pytest.raises(InputError, match=r"CosineToTenth must know how long training is: set model\.max_rollouts"):
        run(rollouts=None, scheduler=CosineToTenth)
