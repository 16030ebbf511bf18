"""How long to go on asking."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import pytest

from r1lit.errors import TrainingError
from r1lit.rollout import retries as serving
from r1lit.rollout.retries import Failure, MalformedAnswer, RetryPolicy, failure_of

openai = pytest.importorskip("openai", reason="needs the package openai (extra openai)")
AWAY, BROKEN = Failure("no connection", unavailable=True), Failure("malformed answer")


def status_error(status, body=None, **headers):
    """As the client raises it; of a response it takes no more than these."""
    response = SimpleNamespace(status_code=status, headers=headers, request=None)
    return openai.APIStatusError("message", response=response, body=body)


def test_waits_grow_with_jitter_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(serving.random, "uniform", lambda low, high: high)
    patience = RetryPolicy(1e9, 100)
    waits = [patience.next_wait(BROKEN, "x", 0, 1) for _ in range(9)]
    assert waits[:4] == [0.5, 1, 2, 4]
    assert waits[-1] == serving.LONGEST_WAIT_S
    monkeypatch.undo()
    jittered = [RetryPolicy(1e9, 100).next_wait(BROKEN, "x", 0, 1) for _ in range(50)]
    assert 0.25 <= min(jittered) < max(jittered) <= 0.5


def test_a_server_may_be_away_for_so_long(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(serving.time, "monotonic", lambda: now[0])
    patience = RetryPolicy(10.0, 0)
    patience.next_wait(AWAY, "x", 0, 1)
    now[0] = 109.5
    assert patience.next_wait(AWAY, "x", 0, 1) <= 0.5
    now[0] = 110.0
    with pytest.raises(TrainingError, match=r"^x, for 10 s \(max_wait_s\); 3 of 8 completions were done$"):
        patience.next_wait(AWAY, "x", 3, 8)


def test_other_failures_are_counted_and_end_an_absence(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(serving.time, "monotonic", lambda: now[0])
    patience = RetryPolicy(10.0, 2)
    patience.next_wait(AWAY, "x", 0, 1)
    now[0] = 109.0
    patience.next_wait(BROKEN, "x", 0, 1)
    now[0] = 118.0
    patience.next_wait(AWAY, "x", 0, 1)  # away anew: counted from here
    patience.next_wait(BROKEN, "x", 0, 1)
    with pytest.raises(TrainingError, match=r"3 times \(max_retries\)"):
        patience.next_wait(BROKEN, "x", 0, 1)


@pytest.mark.parametrize(
    ("status", "away", "final"),
    [
        (400, False, True),
        (401, False, True),
        (404, False, True),
        (422, False, True),
        (408, False, False),
        (429, True, False),
        (500, False, False),
        (502, True, False),
        (503, True, False),
    ],
)
def test_what_a_status_means(status, away, final):
    failure = failure_of(status_error(status), None)
    assert (failure.status, failure.unavailable, failure.is_final) == (status, away, final)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("-1", 0),
        (timedelta(hours=1), 3600),
        (timedelta(hours=-1), 0),
        ("soon", None),
    ],
)
def test_retry_after(value, seconds):
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value)
    found = failure_of(status_error(503, **{"retry-after": value}), None).retry_after_s
    assert found is None if seconds is None else found == pytest.approx(seconds, abs=60)
    if seconds is not None:
        assert RetryPolicy(1e9, 1).next_wait(Failure("x", retry_after_s=found), "x", 0, 1) == found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "two\nlines"}}, "two lines"),
        ({"detail": "plain"}, "plain"),
        ({"message": "flat"}, "flat"),
        ({"error": "a text"}, "a text"),
        ("words", "words"),
        (None, "message"),
    ],
)
def test_what_servers_say(body, said):
    assert failure_of(status_error(500, body), None).text == f"status 500: {said}"


def test_the_key_is_blotted_out_and_long_texts_are_cut():
    assert failure_of(MalformedAnswer("got abc123 and\nmore"), "abc123").text == "malformed answer: got *** and more"
    assert len(failure_of(MalformedAnswer("x" * 5000), None).text) < 300
