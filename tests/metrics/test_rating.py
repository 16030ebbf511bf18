import math

import pytest

from r1lit.metrics.rating import codeforces_rating
from r1lit.types import Prompt


def problem(task="code", **meta):
    return Prompt("p", (), task=task, meta=meta)


def test_rated_problems_make_a_rating():
    results = [
        (problem(rating=1500.0), [1.0, 0.0]),
        (problem(rating=1500), [0.0, 1.0, math.nan]),
        (problem(), [1.0]),
        (problem(rating=3000), [math.nan]),
        (problem(task="math", rating=5), [1.0]),
    ]
    found = codeforces_rating(results)["rating"]
    assert found["value"] == pytest.approx(1500, abs=1e-6)
    assert found["n"] == 2


def test_none_without_rated_problems():
    assert codeforces_rating([(problem(), [1.0])]) == {}
