"""Which answers to one prompt are one vote: those that the judge calls equal (paper, section 3 and D.1: cons@k).

Judging equal is no equivalence: 5 equals 5 m and 5 kg, which differ. So answers are first gathered into clusters whose
members all equal each other. One that equals members of two clusters, such as the bare 5, joins the larger and never
merges the two. Nothing depends on the order of the samples.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from r1lit.grading.answers import TIMEOUT_S, compare
from r1lit.grading.normalize import normalize, unwrap
from r1lit.grading.options import read_option
from r1lit.grading.workers import Job, run_jobs
from r1lit.types import Task


def votes(answers: Sequence[str | None], task: Task = "math") -> list[Hashable | None]:
    """What each answer votes for: equal values are one vote, None is none.

    Args:
        answers: The final answers to one prompt, as they were written.
        task: Their kind. Options vote by their letter and mathematics as the judge compares it, all else by its words.
    """
    if task != "math":
        return [None if answer is None else _spelling(answer, task) for answer in answers]
    # The same spelling and the same value need no judge, and most samples agree.
    keys = [None if answer is None else _normal_form(answer) for answer in answers]
    texts = {key: answer for key, answer in sorted(zip(keys, answers, strict=True), key=repr) if key is not None}
    counts = Counter(key for key in keys if key is not None)
    equal = _equal_pairs({key: str(answer) for key, answer in texts.items()})
    cluster_of = clusters(counts, lambda a, b: frozenset((a, b)) in equal)
    return [None if key is None else cluster_of[key] for key in keys]


def clusters(counts: Counter[Hashable], equal: Callable[[Hashable, Hashable], bool]) -> dict[Hashable, Hashable]:
    """Gathers answers into clusters; see the module's text.

    Args:
        counts: How often each distinct answer was given.
        equal: Whether two answers are equal; symmetric.

    Returns:
        For each answer the one that its cluster is named by.
    """
    order = sorted(counts, key=lambda answer: (-counts[answer], repr(answer)))
    near = {a: [b for b in order if b != a and equal(a, b)] for a in order}
    bridges = {a for a in order if any(b != c and c not in near[b] for b in near[a] for c in near[a])}
    found: dict[Hashable, Hashable] = {}
    for answer in order:
        if answer not in bridges:  # all that it equals and that is no bridge equals each other
            found[answer] = next((found[other] for other in near[answer] if other in found), answer)
    sizes = Counter[Hashable]()
    for answer, name in found.items():
        sizes[name] += counts[answer]
    for answer in order:
        if answer in bridges:
            names = {found[other] for other in near[answer] if other not in bridges}
            found[answer] = min(names, key=lambda name: (-sizes[name], repr(name)), default=answer)
    return found


def _normal_form(answer: str) -> Hashable:
    """Equal only for answers that nobody would tell apart."""
    normal = normalize(answer)
    value = normal.text.casefold() if normal.words else normal.text
    return normal.value if normal.value is not None else value, normal.unit, normal.label, normal.base, normal.percent


def _spelling(answer: str, task: Task) -> Hashable:
    if task == "choice":
        return read_option(answer) or answer.strip()
    return " ".join(unwrap(answer).split()).casefold()


def _equal_pairs(texts: dict[Hashable, str]) -> set[frozenset[Hashable]]:
    """The pairs that the judge calls equal, either being the reference; what runs out of time is not equal."""
    names = list(texts)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[:i]]
    found: set[frozenset[Hashable]] = set()
    waiting: list[tuple[Job, frozenset[Hashable]]] = []
    for a, b in pairs:
        for verdict in (compare(texts[a], texts[b]), compare(texts[b], texts[a])):
            if isinstance(verdict, Job):
                waiting.append((verdict, frozenset((a, b))))
            elif verdict:
                found.add(frozenset((a, b)))
    verdicts = run_jobs([job for job, _ in waiting], TIMEOUT_S)
    return found | {pair for (_, pair), verdict in zip(waiting, verdicts, strict=True) if verdict}
