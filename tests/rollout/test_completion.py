from r1lit.rollout.completion import Request, chunks
from r1lit.types import Message, Prompt


def requests(*counts):
    prompt = Prompt("p", (Message("user", "?"),))
    return [Request(prompt, (i,), range(n)) for i, n in enumerate(counts)]


def shape(parts):
    return [[(r.prompt_ids[0], r.samples) for r in part] for part in parts]


def test_groups_stay_together_where_they_fit():
    assert shape(chunks(requests(2, 2, 2), 5)) == [[(0, range(2)), (1, range(2))], [(2, range(2))]]
    assert shape(chunks(requests(4, 4), 4)) == [[(0, range(4))], [(1, range(4))]]
    assert shape(chunks([], 4)) == []


def test_a_group_that_is_too_large_is_split():
    assert shape(chunks(requests(5), 2)) == [[(0, range(2))], [(0, range(2, 4))], [(0, range(4, 5))]]
    assert shape(chunks(requests(4), 2)) == [[(0, range(2))], [(0, range(2, 4))]]


def test_no_part_exceeds_the_rows_and_no_sample_is_lost():
    for max_rows in range(1, 9):
        for n in range(1, 9):
            parts = list(chunks(requests(n, n, n), max_rows))
            assert all(0 < sum(len(r.samples) for r in part) <= max_rows for part in parts)
            rows = [(r.prompt_ids[0], sample) for part in parts for r in part for sample in r.samples]
            assert rows == [(i, sample) for i in range(3) for sample in range(n)]
