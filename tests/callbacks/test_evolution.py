import pytest

from r1lit.callbacks.evolution import PANELS, draw, evolution, running_mean
from r1lit.types import Completion, Message, Prompt


def completion(reasoning, tokens, language="en"):
    prompt = Prompt("p", (Message("user", "?"),), "5", language=language)
    text = f"<think>{reasoning}</think><answer>5</answer>"
    return Completion(prompt, 0, (1,), (0,) * tokens, (0.0,) * tokens, text, "stop", reasoning, "5")


def test_figures_of_a_rollout():
    found = evolution(
        [completion("2 + 3 = 5 , wait no", 10), completion("2 + 2 = 4 , 不对 。", 30, "zh"), completion("", 2)]
    )
    assert found == pytest.approx(
        {
            "stepwise": 2 / 3,
            "mean_length_stepwise": 20.0,
            "language_consistency": 1.0,
            "reflection_per_1k_words": 1000 * 2 / 4,
            "reflection_per_completion": 2 / 3,
        }
    )


def test_stepwise_figures_are_left_out_where_nothing_is_stepwise():
    found = evolution([completion("", 2)])
    assert "mean_length_stepwise" not in found
    assert "language_consistency" not in found
    assert found["reflection_per_1k_words"] == 0.0


def test_running_mean_is_centred_and_shorter_at_the_ends():
    assert running_mean((1.0, 2.0, 6.0, 3.0), 3) == pytest.approx([1.5, 3.0, 11 / 3, 4.5])
    assert running_mean((4.0,), 9) == [4.0]


def test_curves_are_drawn_with_gaps_and_missing_columns(tmp_path):
    names = [name for _, group in PANELS for name in group]
    rows = [{"step": str(step), **{name: str(step / 10) for name in names}} for step in range(5)]
    rows[2]["mean_length_stepwise"] = ""
    for row in rows:
        del row["entropy"]
    path = tmp_path / "evolution.png"
    draw(rows, path, title="zero")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["evolution.png"], "no draft is left behind"
    draw([], path)
    assert path.read_bytes().startswith(b"\x89PNG")
