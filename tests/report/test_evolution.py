import pytest

from r1lit.report.evolution import evolve, has_rl, mixes_languages, tries_again
from r1lit.report.runs import find_runs

SHARES = [0.1, 0.1, 0.1, 0.2, 0.3, 0.6, 0.8, 0.9, 0.9, 0.9]


def zero_of(run):
    return find_runs(run).main.stages["zero"]


@pytest.mark.parametrize(
    ("reasoning", "again"),
    [
        ("1 + 2 = 3 , wait , 1 + 4 = 5", True),
        ("1 + 2 = 3 , 不对，再试 1 + 4 = 5", True),
        ("wait , 1 + 4 = 5", False),
        ("wait , 1 + 2 = 3 , but 1 + 4 = 5", True),
        ("1 + 2 = 3 , wait , no", False),
        ("1 + 2 = 3 and 1 + 4 = 5", False),
    ],
)
def test_trying_again_is_an_equation_a_reflection_and_another_equation(reasoning, again):
    assert tries_again(f"<think>{reasoning}</think><answer>x = 5</answer>") is again


@pytest.mark.parametrize("language", ["en", "zh"])
def test_mixing_is_having_both_languages(language):
    assert mixes_languages("<think>we try 再试一下</think> ok", language)
    assert not mixes_languages("<think>we try it again</think> 好的好的好的", language)
    assert not mixes_languages("<think>再试一下，还是不对</think> so be it", language)
    assert not mixes_languages(f"<think>{'we try it again ' * 9}好</think>", language)
    assert not mixes_languages("<think>1 + 2</think>", language)


def test_the_sample_is_where_half_the_way_is_passed(make_run, sketch):
    stage = zero_of(make_run("tiny", zero=sketch(rollouts=SHARES)))
    found = evolve(stage)
    assert found.aha.first == pytest.approx(0.1)
    assert found.aha.last == pytest.approx(0.9)
    # Running means over 5: ..., (.1+.2+.3+.6+.8)/5 = .4 at update 5, (.2+.3+.6+.8+.9)/5 = .56 at update 6
    assert found.aha.step == 6
    assert found.aha.share == pytest.approx(0.6)
    assert tries_again(found.aha.sample["text"])
    assert found.aha.sample["prompt_id"] == "t0"
    assert [y for _, y in found.curves["retry"]] == pytest.approx(SHARES)
    assert found.curves["mean_length"][0] == (1.0, 10.0)
    assert has_rl(stage)


def test_no_sample_where_trying_again_does_not_become_more_common(make_run, sketch):
    found = evolve(zero_of(make_run("tiny", zero=sketch(rollouts=[0.5, 0.4, 0.3]))))
    assert found.aha is None
    assert "hardly more common at the end (0.30) than at the beginning (0.50)" in found.missing
    noise = evolve(zero_of(make_run("other", zero=sketch(rollouts=[0.5, 0.8, 0.5]))))
    assert noise.aha is None
    assert "hardly more common at the end (0.50) than at the beginning (0.50)" in noise.missing


def test_a_stage_without_training_samples_has_no_curves(make_run, sketch):
    stage = zero_of(make_run("tiny", zero=sketch()))
    assert not has_rl(stage)
    assert evolve(stage).curves == {}
