import threading
import time

import pytest

from r1lit.errors import InputError, TrainingError
from r1lit.rewards import UNSCORED, AccuracyReward, FunctionReward, Reward, Scoring, score_completions
from r1lit.rewards import streaming as streaming_module
from r1lit.types import Completion, Message, Prompt


def completion(prompt_id="p", sample=0, kind="reasoning", answer=None, gold="5"):
    prompt = Prompt(prompt_id, (Message("user", "q"),), answer=gold, kind=kind)
    return Completion(prompt, sample, (), (), (), f"{prompt_id}{sample}", "stop", answer=answer)


class Recording(Reward):
    """Scores by sample and remembers its calls; each takes a while."""

    def __init__(self, name="recording", delay=0.0, **options):
        super().__init__(name, **options)
        self.delay, self.calls, self.threads, self.closed = delay, [], set(), threading.Event()

    def score(self, completions):
        self.calls.append([c.text for c in completions])
        self.threads.add(threading.current_thread())
        self.closed.wait(self.delay * len(completions))
        return [UNSCORED if c.sample == 9 else float(c.sample) for c in completions]

    def close(self):
        self.closed.set()


def stream(rewards, batch, pause=0.0, step=0, group_size=1):
    with Scoring(rewards, step, group_size) as scoring:
        for c in batch:
            time.sleep(pause)
            scoring.add(c)
            scoring.check()
        return scoring.result()


def own_threads():
    return [t for t in threading.enumerate() if t.name.startswith("r1lit-reward")]


@pytest.fixture(autouse=True)
def _no_threads_left():
    yield
    assert own_threads() == []


@pytest.mark.parametrize("concurrency", [0, 1, 3])
@pytest.mark.parametrize("groupwise", [False, True])
def test_the_same_scores_however_they_come(concurrency, groupwise):
    reward, other = Recording(kinds=("reasoning",)), Recording("other", from_step=1, weight=0.5)
    reward.concurrency, reward.groupwise = concurrency, groupwise
    batch = [completion(p, s) for s in (1, 0, 9) for p in "abc"]
    for step in (0, 1):
        assert stream([reward, other], batch, step=step, group_size=3) == score_completions(
            [reward, other], batch, step
        )


def test_nothing_to_score():
    assert tuple(s.total for s in stream([Recording()], [])) == ()
    with pytest.raises(InputError, match="no reward applies to prompt 'p'"):
        stream([Recording(kinds=("helpful",))], [completion()])


def test_groups_come_whole_and_in_order():
    reward = Recording()
    reward.groupwise = True
    stream([reward], [completion(p, s) for s in (1, 2, 0) for p in "ab"], pause=0.01, group_size=3)
    flat = [text for call in reward.calls for text in call]
    assert flat == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert all(len(call) % 3 == 0 for call in reward.calls)


def test_one_thread_takes_all_that_waits_and_several_one_each():
    quick, slow = Recording("quick", delay=0.05), Recording("slow", delay=0.05)
    slow.concurrency = 4
    stream([quick, slow], [completion("p", s) for s in range(8)])
    assert len(quick.threads) == 1
    assert len(quick.calls) < 8
    assert 1 < len(slow.threads) <= 4
    assert all(len(call) == 1 for call in slow.calls)


def test_concurrency_0_scores_in_the_main_thread():
    reward = Recording()
    reward.concurrency = 0
    stream([reward], [completion("p", s) for s in range(4)])
    assert reward.threads == {threading.main_thread()}
    assert len(reward.calls) == 1


@pytest.mark.parametrize(("concurrency", "pause"), [(1, 0.25), (16, 0.1)])
def test_scoring_overlaps_generation(concurrency, pause):
    """16 staggered completions, 0.2 s of scoring each: all but the last are scored while others come."""
    batch = [completion(p, s) for p in "pq" for s in range(8)]
    start = time.monotonic()
    for _ in batch:
        time.sleep(pause)
    generation = time.monotonic() - start
    reward = Recording(delay=0.2)
    reward.concurrency = concurrency
    start = time.monotonic()
    stream([reward], batch, pause=pause)
    assert time.monotonic() - start < 1.3 * generation


@pytest.mark.parametrize("concurrency", [0, 1, 4])
def test_an_exception_stops_with_the_completion_named(concurrency):
    def fails(batch):
        if any(c.sample == 2 for c in batch):
            raise ValueError("no")
        return [0.0] * len(batch)

    reward = FunctionReward(fails, concurrency=concurrency)
    with pytest.raises(TrainingError, match=r"reward 'fails' raised ValueError: no: prompt 'p', sample 2"):
        stream([Recording(delay=0.01), reward], [completion("p", s) for s in range(6)], pause=0.01)


def test_an_exception_is_told_before_generation_ends():
    def fails(batch):
        raise ValueError("no")

    added = 0
    with pytest.raises(TrainingError), Scoring([FunctionReward(fails)], 0) as scoring:  # noqa: PT012
        for added in range(100):
            scoring.add(completion("p", added))
            time.sleep(0.02)
            scoring.check()
    assert added < 50


def test_a_reward_that_needs_the_main_thread_is_told_how_to_get_it():
    import signal

    def alarming(batch):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return [1.0] * len(batch)

    with pytest.raises(TrainingError, match="concurrency 0 scores in the main thread"):
        stream([FunctionReward(alarming)], [completion()])
    assert tuple(s.total for s in stream([FunctionReward(alarming, concurrency=0)], [completion()])) == (1.0,)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_broken_off_run_leaves_no_thread_and_does_not_wait(error):
    reward = Recording(delay=60.0)
    start = time.monotonic()
    with pytest.raises(error), Scoring([reward], 0) as scoring:  # noqa: PT012
        scoring.add(completion())
        while not reward.calls:
            time.sleep(0.01)
        raise error
    assert reward.closed.is_set()
    assert time.monotonic() - start < 5


def test_a_broken_off_comparison_leaves_no_process():
    from r1lit.grading import workers

    reward = AccuracyReward(timeout_s=60.0)
    reward.score([completion(answer="x+x", gold="2x")])
    processes = [w._process for w in workers._pools["math"]._workers if w._process]
    with pytest.raises(KeyboardInterrupt), Scoring([reward], 0) as scoring:  # noqa: PT012
        scoring.add(completion(answer="9^{9^{9^9}}", gold="5"))
        time.sleep(0.5)
        raise KeyboardInterrupt
    assert all(process.returncode is not None for process in processes)
    assert all(w._process is None for w in workers._pools["math"]._workers)


def test_waiting_is_told_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(streaming_module, "NOTICE_S", 0.05)
    stream([Recording(delay=0.3)], [completion("p7", 3)])
    assert "reward 'recording': waiting for 1 completions" in caplog.text
    assert "'p7', sample 3" in caplog.text
