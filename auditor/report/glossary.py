"""The terms of the report, each explained once, where it occurs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from auditor.language import N_, _

_TAG = re.compile(r"<style>.*?</style>|<table class=\"plugins\">.*?</table>|<[^>]*>", re.DOTALL)


class Term(NamedTuple):
    """A term, what it means, and the words by which a page is known to use it."""

    name: str
    meaning: str
    #: Separated by "|"; a word counts where it begins, whatever its ending.
    words: str


#: In no order: they are sorted by their names in the language of the report.
_TERMS = (
    Term(
        N_("Adversarial example"),
        N_("an image within the threat around a correctly classified one that the model as "
           "deployed classifies wrongly."),
        N_("adversarial example"),
    ),
    Term(
        "APGD",
        N_("PGD whose step size adapts: it is halved where the loss no longer rises "
           "(arXiv:2003.01690)."),
        "apgd",
    ),
    Term(
        "AutoAttack",
        N_("a fixed series of APGD on two losses, FAB and Square, by which published models are "
           "compared (arXiv:2003.01690)."),
        "autoattack",
    ),
    Term(
        N_("BPDA"),
        N_("a gradient through an operation that has none, taken from a similar operation that has "
           "one."),
        "bpda",
    ),
    Term(
        "Cascade",
        N_("this tool's own composite attack: cheap attacks on every image, longer ones on what "
           "came close, and at last everything on a random sample of the survivors."),
        "cascade",
    ),
    Term(
        N_("Certified accuracy"),
        N_("the share of images for which a proof excludes any adversarial example within the "
           "threat: a lower bound."),
        N_("certified"),
    ),
    Term(
        N_("Clean accuracy"),
        N_("the share of unchanged images that are classified correctly."),
        N_("clean accuracy"),
    ),
    Term(
        N_("Clopper–Pearson interval"),
        N_("the exact interval of a share: it contains the true share in at least 95 % of draws, "
           "however few the images are."),
        "Clopper",
    ),
    Term(
        N_("Composite attack"),
        N_("several attacks in stages, each run on images that the stages before it left "
           "standing."),
        N_("composite attack|stage"),
    ),
    Term(
        N_("Cross-entropy"),
        N_("the loss that classifiers are trained on; its slope vanishes where a model is sure."),
        N_("cross-entropy"),
    ),
    Term(
        "DDN",
        N_("an attack that looks for the smallest change in l2 (arXiv:1811.09600); in l1 this "
           "tool's own variant of it."),
        "ddn",
    ),
    Term(
        "DLR",
        N_("the difference of logits ratio, a loss that no scaling of the scores changes "
           "(arXiv:2003.01690)."),
        "dlr",
    ),
    Term(
        "EOT",
        N_("a gradient averaged over the randomness of a model or of its inputs."),
        "eot",
    ),
    Term(
        N_("ε (epsilon)"),
        N_("the largest change that the threat allows, as measured by its norm."),
        "ε",
    ),
    Term(
        "FAB",
        N_("an attack that looks for the smallest change by stepping onto decision boundaries "
           "(arXiv:1907.02044)."),
        "fab",
    ),
    Term(
        "FGSM",
        N_("one step along the sign of the gradient, as long as the threat allows "
           "(arXiv:1412.6572)."),
        "fgsm",
    ),
    Term(
        N_("Gate"),
        N_("a condition that the configuration puts on a number; a broken one fails the audit."),
        N_("gate"),
    ),
    Term(
        N_("Gradient masking"),
        N_("a property of a model that keeps gradient attacks from finding adversarial examples "
           "that exist."),
        N_("masking"),
    ),
    Term(
        N_("Hidden adversarial example"),
        N_("one that the gradient attacks missed and an attack that distrusts the gradient found."),
        N_("hidden"),
    ),
    Term(
        N_("Logits"),
        N_("the scores of a model, one per class, before they are made probabilities."),
        N_("logit"),
    ),
    Term(
        N_("Loss-level masking"),
        N_("the loss of the attack hides the gradient, not the network: another loss finds the "
           "examples."),
        N_("loss-level"),
    ),
    Term(
        N_("Margin"),
        N_("the best wrong score less the true one's: above 0 an image is classified wrongly. As a "
           "loss it does not vanish where a model is sure."),
        N_("margin"),
    ),
    Term(
        "naive",
        N_("a surrogate that is the model itself with the gradient that its own code gives."),
        "naive",
    ),
    Term(
        N_("Norm"),
        N_("how a change is measured: L∞ by its largest value, L2 by its Euclidean length, L1 by "
           "the sum of its values."),
        "L∞|L2|L1",
    ),
    Term(
        N_("Output-level masking"),
        N_("the model's answers are too coarse to carry a gradient, such as certainties or votes."),
        N_("output-level"),
    ),
    Term(
        "PGD",
        N_("steps along the gradient of the loss, each followed by a projection back into the "
           "threat (arXiv:1706.06083)."),
        "pgd",
    ),
    Term(
        N_("Planted mask"),
        N_("a mask put before the audited model on purpose, as a control: the checks should find "
           "it."),
        N_("planted|put before it on purpose"),
    ),
    Term(
        N_("Query"),
        N_("a question to the model that uses its answer alone and no gradient."),
        N_("queries|query"),
    ),
    Term(
        N_("Restart"),
        N_("a further search from another starting point, on the images that withstood so far."),
        N_("restart"),
    ),
    Term(
        N_("Robust accuracy"),
        N_("the share of images that are classified correctly and that no attack here broke: an "
           "upper bound."),
        N_("robust accuracy"),
    ),
    Term(
        N_("Shattered gradient"),
        N_("one that an operation cuts off or destroys, such as rounding."),
        N_("shattered"),
    ),
    Term(
        "Square",
        N_("a random search over squares of pixels that asks for scores alone (arXiv:1912.00049)."),
        "square",
    ),
    Term(
        N_("Stochastic gradient masking"),
        N_("randomness in the model makes each gradient another, so that single ones mislead."),
        N_("stochastic"),
    ),
    Term(
        N_("Surrogate"),
        N_("the differentiable model on which an attack searches; the deployed model is the only "
           "judge."),
        N_("surrogate"),
    ),
    Term(
        N_("Survivor"),
        N_("an image that withstood all attacks so far."),
        N_("survivor"),
    ),
    Term(
        N_("Transfer"),
        N_("examples made for one model, tried on another."),
        N_("transfer"),
    ),
    Term(
        N_("Vanishing gradient"),
        N_("one that shrinks or rounds to zero before it reaches the image."),
        N_("vanishing"),
    ),
)  # fmt: skip


def glossary(page: str) -> Iterator[tuple[str, str]]:
    """The terms that occur on a page, with their meanings, in order.

    Args:
        page: HTML; what it says counts, not what it is made of.
    """
    text = html.unescape(_TAG.sub(" ", page))
    found = [(_(one.name), _(one.meaning)) for one in _TERMS if _occurs(_(one.words), text)]
    yield from sorted(found, key=lambda term: term[0].casefold())


def _occurs(words: str, text: str) -> bool:
    begins = "|".join(re.escape(word) for word in words.split("|"))
    return re.search(rf"(?<![A-Za-z])(?:{begins})", text, re.IGNORECASE) is not None
