"""Japanese, French and German as targets: reasoning about school problems, as those of MGSM, written for this test."""

import pytest

from r1lit.rewards import LanguageConsistencyReward, language_consistency
from r1lit.types import Completion, Message, Prompt

REASONING = {
    "en": "First I look at how many apples Anna has. She buys 12 apples and gives 5 of them to her brother, so 7 "
    "remain. Wait, she also eats one. Therefore 7 - 1 = 6 apples are left.",
    "de": "Zuerst schaue ich, wie viele Äpfel Anna hat. Sie kauft 12 Äpfel und gibt ihrem Bruder 5 davon, also bleiben "
    "7 übrig. Moment, einen isst sie noch. Damit sind es 7 - 1 = 6 Äpfel.",
    "fr": "D'abord, je regarde combien de pommes Anna possède. Elle achète 12 pommes et en donne 5 à son frère, il en "
    "reste donc 7. Attends, elle en mange aussi une. Il lui reste alors $7 - 1 = 6$ pommes.",
    "ja": "まず、アンナさんがりんごを何個持っているかを考えます。12個買って弟に5個あげたので、残りは7個です。"
    "待って、1個食べました。したがって、残りは 7 - 1 = 6 個です。",
    "zh": "首先看安娜有多少个苹果。她买了12个苹果，给了弟弟5个，所以还剩7个。"
    "等等，她还吃了一个。因此剩下 7 - 1 = 6 个。",
}
TARGETS = ("de", "fr", "ja")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("written", REASONING)
def test_only_the_target_counts(target, written):
    share = language_consistency(REASONING[written], target, identify=True)
    assert share == (1.0 if written == target else 0.0)


@pytest.mark.parametrize("target", TARGETS)
def test_sliding_into_english_costs_its_share(target):
    own, english = REASONING[target], REASONING["en"]
    mixed = language_consistency(f"{own}\n{english}", target, identify=True)
    assert 0.3 < mixed < 0.8
    assert language_consistency(f"{own}\n{own}\n{english}", target, identify=True) > mixed


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Un kilo de pommes coûte 3 €. Pour 4 kilos, on paie donc \\(4 \\times 3 = 12\\) euros.", "fr"),
        ("Die Straße ist 12 km lang; nach 3/4 davon sind es \\frac{3}{4} \\cdot 12 = 9 Kilometer.", "de"),
        ("`total = 3 * 4` liefert zwölf, also kostet die ganze Kiste zwölf Euro.", "de"),
        ("速さは時速60kmなので、2時間で 60 × 2 = 120 km 進みます。", "ja"),
        ("x + y = 10 を満たす整数の組は11通りあります。", "ja"),
    ],
)
def test_units_formulas_and_code_belong_to_no_language(text, target):
    assert language_consistency(text, target, identify=True) >= 0.85


@pytest.mark.parametrize(
    ("text", "target"),
    [("Antwort: 6", "de"), ("Donc 6.", "fr"), ("答えは6です。", "ja"), ("合計６個", "ja"), ("Also 7 - 1 = 6.", "de")],
)
def test_short_remarks_are_given_the_benefit_of_the_doubt(text, target):
    assert language_consistency(text, target, identify=True) == 1.0


def test_by_script_alone_french_and_german_cannot_be_told_from_english():
    assert language_consistency(REASONING["en"], "de") == 1.0
    assert language_consistency(REASONING["en"], "ja") == 0.0


def test_the_reward_follows_each_prompts_target_and_region():
    def completion(target, written):
        prompt = Prompt("p", (Message("user", "q"),), language=target)
        return Completion(prompt, 0, (), (), (), "", "stop", reasoning=REASONING[written])

    batch = [completion(*pair) for pair in (("de-AT", "de"), ("fr_CA", "fr"), ("ja", "ja"), ("ja", "zh"), ("fr", "de"))]
    assert LanguageConsistencyReward().score(batch) == [1.0, 1.0, 1.0, 0.0, 0.0]
