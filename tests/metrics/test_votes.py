"""Which answers are one vote: as the judge compares them, and whatever the order of the samples."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1lit.metrics import ConsAtK, votes
from r1lit.metrics.measures import prompt_values
from r1lit.metrics.votes import clusters
from r1lit.rewards import check_answer


def parts(answers, task="math"):
    """The answers of each vote, as sorted tuples."""
    found = {}
    for answer, vote in zip(answers, votes(answers, task), strict=True):
        if vote is not None:
            found.setdefault(vote, []).append(answer)
    return sorted(tuple(sorted(group)) for group in found.values())


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        (["1/2", "0.5", r"\frac12", "2"], [("0.5", "1/2", r"\frac12"), ("2",)]),
        (["x+1", "1+x", "x + 1", "x-1"], [("1+x", "x + 1", "x+1"), ("x-1",)]),  # by computer algebra
        (["x = 5", "5", "y = 6"], [("5", "x = 5"), ("y = 6",)]),
        # The bare 5 joins the larger cluster, and merges none.
        (["5 m", "5 kg", "5 kg", "5"], [("5", "5 kg", "5 kg"), ("5 m",)]),
        (["5", "5", "5 m", "5 m", "5 m", "5 kg"], [("5", "5", "5 m", "5 m", "5 m"), ("5 kg",)]),
        # A third equals both of its roundings, which differ.
        (["0.333333", "1/3", "0.3333333", "0.3333333"], [("0.333333",), ("0.3333333", "0.3333333", "1/3")]),
        (["50%", "0.5", "50", "50"], [("0.5",), ("50", "50", "50%")]),
        (["Evelyn", "evelyn", "Bob", None], [("Bob",), ("Evelyn", "evelyn")]),
        ([None, None], []),
        ([], []),
    ],
)  # fmt: skip
def test_mathematics(answers, wanted):
    assert parts(answers) == wanted


def test_other_tasks():
    assert parts(["(B)", "B.", "the answer is b", "C"], "choice") == [("(B)", "B.", "the answer is b"), ("C",)]
    assert parts(["A is a knight,  B a knave.", "a is a knight, b a knave", "no"], "logic") == [
        ("A is a knight,  B a knave.", "a is a knight, b a knave"),
        ("no",),
    ]
    assert len(parts(["5", "5.0"], "logic")) == 2


SPELLINGS = ["5", "5 m", "5 kg", "500 cm", "x=5", "y=5", "50%", "0.5", "50", "1/2", "1/3", "0.333333", "0.3333333"]
SPELLINGS += ["x+1", "1+x", "101_2", "101", "(1,2)", "Bob", None]


@given(st.lists(st.sampled_from(SPELLINGS), max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_samples_does_not_matter(answers, random):
    before = parts(answers)
    shuffled = list(answers)
    random.shuffle(shuffled)
    assert parts(shuffled) == before
    for group in before:
        distinct = sorted(set(group))
        assert all(any(equal(a, b) for b in distinct if b != a) for a in distinct) or len(distinct) == 1


def equal(a, b):
    return check_answer(a, b) or check_answer(b, a)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16), st.lists(st.integers(1, 4), min_size=8))
@settings(max_examples=100, deadline=None)
def test_clusters_of_any_judge(edges, sizes):
    """Two answers that no bridge is needed for are together exactly where the judge calls them equal."""
    pairs = {frozenset(edge) for edge in edges}
    counts = Counter(dict(enumerate(sizes[:8])))
    found = clusters(counts, lambda a, b: frozenset((a, b)) in pairs)
    near = {a: {b for b in range(8) if b != a and frozenset((a, b)) in pairs} for a in range(8)}
    cores = [a for a in range(8) if all(frozenset((b, c)) in pairs for b in near[a] for c in near[a] if b != c)]
    for a in cores:
        for b in cores:
            assert (found[a] == found[b]) == (a == b or b in near[a])
    for guest in set(range(8)) - set(cores):
        members = [core for core in cores if found[core] == found[guest]]
        assert found[guest] == guest or near[guest] & set(members)


def test_both_ways_to_measure_agree():
    answers, marks = ["1/2", "0.5", "3", "3.0", r"\frac12", None], [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    metric = ConsAtK()
    metric.update([0], [answers], [marks])
    row = {
        "prompt_id": "p",
        "kind": "reasoning",
        "task": "math",
        "tokens": 1,
        "figure/words": 0,
        "figure/reflections": 0,
    }
    rows = [
        row | {"sample": i, "answer": answer, "reward/accuracy": mark}
        for i, (answer, mark) in enumerate(zip(answers, marks, strict=True))
    ]
    assert prompt_values(rows)["cons@6"] == {"p": 1.0}
    assert metric.compute()["value"] == 1.0
