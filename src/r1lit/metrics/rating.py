"""A Codeforces rating from judged groups (see ``functional.ratings``)."""

import math
from collections.abc import Iterable, Sequence

from r1lit.functional.estimators import Interval
from r1lit.functional.ratings import estimate_rating
from r1lit.types import Prompt


def codeforces_rating(results: Iterable[tuple[Prompt, Sequence[float]]]) -> dict[str, Interval]:
    """``{"rating": interval}`` over the programming problems that have a rating; empty where none has.

    Args:
        results: Each prompt with its samples' grades, 1 or 0, NaN where a sample could not be judged.
    """
    solved, ratings = [], []
    for prompt, grades in results:
        rating, judged = prompt.meta.get("rating"), [grade for grade in grades if not math.isnan(grade)]
        if prompt.task != "code" or not judged:
            continue
        if isinstance(rating, int | float) and not isinstance(rating, bool) and math.isfinite(rating):
            solved.append(sum(judged) / len(judged))
            ratings.append(float(rating))
    if not solved:
        return {}
    found = estimate_rating(solved, ratings)
    return {"rating": Interval(value=found.value, low=found.low, high=found.high, n=found.problems)}
