from pathlib import Path

import pytest

from r1lit.report.claims import CLAIMS, Claim, Contrast
from r1lit.report.recount import Recount
from r1lit.report.runs import Run
from r1lit.report.verdicts import judge_claim

BY_ID = {claim.id: claim for claim in CLAIMS}
GAIN = Claim("gain", "gain", "-", (Contrast("pass@1", "zero", "base", above=0.05),))


def counted(name="pass@1", **levels):
    """Stages whose 40 problems have values around a level."""
    return {stage: of(**{name: level}) for stage, level in levels.items()}


def of(**levels):
    names = {"pass1": "pass@1", "cons": "cons@16", "language": "language_consistency", "length": "mean_length"}
    values = {}
    for name, level in levels.items():
        figure = names.get(name, name)
        values[figure] = {f"p{i}": level + (i % 5 - 2) * 0.01 for i in range(40)}
        if "@" in figure:
            values[f"{figure}_hard"] = {f"h{i}": value for i, value in enumerate(values[figure].values())}
    return Recount({}, values)


def judged(claim, *runs):
    return judge_claim(claim, [(Run(Path(f"run{i}"), {}), counts) for i, counts in enumerate(runs)])


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (0.3, 0.6, "reproduced"),
        (0.3, 0.36, "reproduced"),
        (0.3, 0.34, "not reproduced"),
        (0.3, 0.2, "not reproduced"),
        (0.97, 0.98, "not measurable here"),
        (0.97, 0.5, "not reproduced"),
    ],
)
def test_a_gain_must_clear_its_threshold(before, after, verdict):
    found = judged(GAIN, counted(base=before, zero=after))
    assert found.verdict == verdict
    assert found.findings[0].estimate.value == pytest.approx(after - before)
    assert found.runs == ("run0",)


def test_seeds_count_together():
    good, bad = counted(base=0.3, zero=0.6), counted(base=0.3, zero=0.3)
    assert judged(GAIN, good, good).verdict == "reproduced"
    assert judged(GAIN, good, bad).verdict == "not reproduced", "one of two seeds did not gain"
    only = judged(GAIN, good, counted(base=0.3))
    assert (only.verdict, only.runs) == ("reproduced", ("run0",)), "a run without the stage does not take part"


def test_what_is_missing_is_named():
    found = judged(GAIN, counted(base=0.3))
    assert (found.verdict, found.why) == ("not measured", "no stage zero")
    assert judged(GAIN).verdict == "not measured"
    empty = judged(GAIN, {"base": of(other=0.5), "zero": of(pass1=0.5)})
    assert empty.verdict == "not measurable here"
    assert "no problem has pass@1" in empty.why


FULL = {
    "base": of(pass1=0.3, cons=0.5, reflections=1.0, length=30.0),
    "zero": of(pass1=0.7, cons=0.9, reflections=6.0, length=90.0, language=0.6),
    "coldstart": of(pass1=0.5, language=0.97),
    "rl1": of(pass1=0.7, language=0.98),
    "rl1-no-language": of(pass1=0.72, language=0.8),
    "sft2": of(pass1=0.75, helpful=0.5, refusal_harmful=0.5),
    "rl2": of(pass1=0.8, helpful=0.8, refusal_harmful=0.9),
    "distill": of(pass1=0.6),
    "distill-zero": of(pass1=0.4),
    "distill-zero-time": of(pass1=0.5),
    "distill-rl": of(pass1=0.7),
    "few-shot": of(pass1=0.7),
    "attempts-prm": of(pass1=0.7),
    "attempts-search": of(pass1=0.65),
}
"""Runs as the paper has them."""
UNLIKE = {
    "rl-lifts-accuracy": {"zero": of(pass1=0.31)},
    "length-grows": {"zero": of(length=31.0)},
    "reflection-multiplies": {"zero": of(reflections=1.5)},
    "reflection-5-to-7-fold": {"zero": of(reflections=3.6)},
    "majority-vote": {"zero": of(pass1=0.3, cons=0.5)},
    "zero-mixes-languages": {"coldstart": of(language=0.5)},
    "language-reward": {"rl1": of(pass1=0.6, language=0.98)},
    "stages-improve-in-order": {"sft2": of(pass1=0.6)},
    "second-rl-preferences": {"rl2": of(pass1=0.7, helpful=0.8, refusal_harmful=0.9)},
    "distillation-beats-rl": {"distill-zero-time": of(pass1=0.65)},
    "rl-after-distillation": {"distill-rl": of(pass1=0.5)},
    "few-shot-hurts": {"few-shot": of(pass1=0.85)},
    "prm-does-not-pay": {"attempts-prm": of(pass1=0.8)},
    "tree-search-does-not-pay": {"attempts-search": of(pass1=0.8)},
}
"""For each claim a run that contradicts it."""


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_can_hold_and_can_fail(claim):
    assert judged(claim, FULL).verdict == "reproduced"
    assert judged(claim, FULL | UNLIKE[claim.id]).verdict == "not reproduced"
    assert judged(claim, {"base": FULL["base"]}).verdict == "not measured"


def test_a_model_that_cannot_read_examples_says_nothing_of_them():
    found = judged(BY_ID["few-shot-hurts"], FULL | {"few-shot": of(pass1=0.02)})
    assert found.verdict == "not measurable here"
    assert "few-shot is at 0.020" in found.why


@pytest.mark.parametrize(
    ("before", "after", "why"), [(0.99, 0.99, "leaves no room"), (0.6, 0.0, "below 0.05"), (0.0, 0.0, "below 0.05")]
)
def test_what_cannot_gain_or_has_collapsed_does_not_show_that_an_attempt_does_not_pay(before, after, why):
    found = judged(BY_ID["prm-does-not-pay"], {"rl1": of(pass1=before), "attempts-prm": of(pass1=after)})
    assert found.verdict == "not measurable here"
    assert why in found.why


def test_ids_are_unique_and_tests_are_told_in_words():
    assert len(BY_ID) == len(CLAIMS)
    assert BY_ID["rl-lifts-accuracy"].contrasts[0].test == "lower bound of (zero pass@1 - base pass@1) > 0.05"
    assert BY_ID["few-shot-hurts"].contrasts[0].test == "upper bound of (few-shot pass@1_hard - rl2 pass@1_hard) < 0"
    assert "zero cons_hard - zero pass@1_hard" in BY_ID["majority-vote"].contrasts[0].test


def test_a_run_that_is_its_own_base_reproduces_nothing_that_the_placebo_is_asked():
    same = FULL | {"zero": FULL["base"]}
    asked = [claim for claim in CLAIMS if claim.asks_placebo]
    assert len(asked) >= 4
    assert {judged(claim, same).verdict for claim in asked} == {"not reproduced"}
