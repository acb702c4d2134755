"""Intervals for counts of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from auditor.results import Accuracy


def clopper_pearson(count: float, total: float, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval for a proportion (Clopper & Pearson 1934).

    Args:
        count: successes, 0 <= count <= total.
        total: trials, in whole numbers or effective ones; with none the interval is everything.
    """
    if total == 0:
        return 0.0, 1.0
    count = min(max(count, 0), total)
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, count, total - count + 1)) if count > 0 else 0.0
    high = float(beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return low, high


def accuracy(correct: int, total: int) -> Accuracy:
    """A count of correctly classified images with its 95 % interval."""
    fraction = correct / total if total else 0.0
    return Accuracy(correct, total, fraction, clopper_pearson(correct, total))


def stratified(
    strata: Sequence[tuple[int, int, int]], level: float = 0.95
) -> tuple[float, tuple[float, float]]:
    """A population's proportion from a sample of each of its strata, with an interval.

    The interval is Korn and Graubard's (1998): that of Clopper and Pearson at the effective number
    of trials, at which a plain sample would have the variance of this estimate. The variance is the
    larger of two: that of the estimate, and that which it had if every stratum had the same
    proportion; the first alone is 0 where nothing or everything was found in each stratum.

    Args:
        strata: (size in the population, found, sampled). Of a stratum that was not sampled
            nothing is known: the interval takes it for none and for all.

    Returns:
        The estimate over the sampled strata, and (low, high) for the population.
    """
    size = sum(members for members, _, _ in strata)
    seen = [one for one in strata if one[2]]
    known = sum(members for members, _, _ in seen)
    shares = [(members / known, found / drawn, drawn) for members, found, drawn in seen]
    estimate = sum(weight * share for weight, share, _ in shares)
    alike = estimate * (1 - estimate) * sum(w * w / drawn for w, _, drawn in shares)
    own = sum(w * w * share * (1 - share) / drawn for w, share, drawn in shares)
    if alike > 0:
        trials = estimate * (1 - estimate) / max(alike, own)
    else:
        trials = 1 / sum(w * w / drawn for w, _, drawn in shares)
    low, high = clopper_pearson(estimate * trials, trials, level)
    return estimate, (low * known / size, 1 - (1 - high) * known / size)


def most_in_population(found: int, drawn: int, population: int, level: float = 0.95) -> int:
    """The exact one-sided upper limit for how many of a finite population have a property.

    Of `drawn` members, drawn at random without putting back, `found` have it. The largest number of
    the whole for which so few would not be too rare: P(X <= found) > 1 - level, X hypergeometric.
    """
    from scipy.stats import hypergeom

    low, high = found, population - drawn + found
    while low < high:  # the probability falls as the number grows
        middle = (low + high + 1) // 2
        if hypergeom.cdf(found, population, middle, drawn) > 1 - level:
            low = middle
        else:
            high = middle - 1
    return low


def detectable(
    survivors: int, challenges: Sequence[tuple[int, int]], hidden: int, level: float = 0.95
) -> int:
    """How many hidden examples among `survivors` images would have been seen.

    Some of the survivors were attacked without trust in the gradient, and none fell. What such an
    attack finds where there is something is known from a control with `hidden` examples.

    Let c_i survivors have been attacked in way i, of which the true chance to find an example is
    s_i, and let H examples be hidden among the S survivors. If they are as frequent among those
    attacked as among all, and as easy to find as the control's, each is found with the chance
    r = sum_i s_i c_i / S, and none at all with at most (1 - r)^H (they are drawn without
    replacement, so that one missed makes it no likelier that another is). Half of the error goes to
    the k numbers s_i, in equal parts; the lower ends of their exact (Clopper-Pearson) one-sided
    intervals stand for them. The other half goes to the search: H is the smallest number with
    (1 - r)^H <= (1 - level) / 2.

    Args:
        challenges: (c_i, how many of the control's hidden examples this way found).

    Returns:
        H; `survivors` where it would be larger, for no more can be hidden.
    """
    if not survivors:
        return 0
    error = (1 - level) / 2
    # Both ends together: the lower one alone has half of that error.
    each = 1 - 2 * error / max(1, len(challenges))
    chances = (images * clopper_pearson(found, hidden, each)[0] for images, found in challenges)
    rate = sum(chances) / survivors
    if rate <= 0:
        return survivors
    return min(survivors, math.ceil(math.log(error) / math.log1p(-min(rate, 1 - 1e-12))))
