"""Each defense's hand-made adaptive attack: a differentiable stand-in, and one strong attack.

A stand-in is a function from the defended model to a module of the same images and scores, as
`bpda` in audit.toml is. All are attacked alike, by APGD on the margin, first untargeted and then
aimed at the likeliest wrong classes; Square, on the defended model itself, gets what is left of
those that are not random. Every success is verified on the defended model, by majority of 20 draws
where it is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from subjects import EXAMPLE, Subject
from third_adaptive import ALSO as THIRD_ALSO
from third_adaptive import ANSWERS as THIRD_ANSWERS
from third_adaptive import EXACT as THIRD_EXACT
from torch import Tensor, nn
from zoo import Entry

from auditor.attacking.outcome import Block
from auditor.attacking.setup import Setup
from auditor.attacking.stages import attack_block
from auditor.attacking.verify import Verifier
from auditor.preflight import read_batch
from auditor.subject.loading import Factory, Weights, load_module
from auditor.subject.samples import Images, choose_samples
from auditor.subject.victim import STOCHASTIC_DRAWS, Victim
from auditor.surrogate import NoGradientError, Surrogate, naive

__all__ = ["EXAMPLE", "STAND_INS", "Result", "attack", "build", "plain", "robust_under", "subject"]


def with_value(slope: Tensor, value: Tensor) -> Tensor:
    """`value` with the gradient of `slope`: the straight-through estimator."""
    return slope + (value - slope).detach()


class _StandIn(nn.Module):
    """Calls a function of the defended model and the image."""

    def __init__(self, model: nn.Module, answer: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the stand-in."""
        return self.answer(self.model, x)


def _straight(model: Any, x: Tensor) -> Tensor:
    """The change of the image counts, its gradient is the identity's (BPDA, arXiv:1802.00420)."""
    return model.net(with_value(x, model.change(x)))  # type: ignore[no-any-return]


def _straight_features(model: Any, x: Tensor) -> Tensor:
    """Features are rounded, their gradient is that of features that are not."""
    layers = list(model.net.children())
    for layer in layers[: model.cut]:
        x = layer(x)
    x = with_value(x, torch.round(x / model.step) * model.step)
    for layer in layers[model.cut :]:
        x = layer(x)
    return x


def _straight_activations(model: Any, x: Tensor) -> Tensor:
    """Activations come in steps, their gradient is the ReLU's."""
    for layer in model.net.children():
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            x = with_value(x, model.steps(x))
    return x


def _straight_sparse(model: Any, x: Tensor) -> Tensor:
    """Features are sparsified, their gradient is that of features that are not."""
    for layer in model.net.children():
        x = layer(x)
        if isinstance(layer, nn.BatchNorm2d):
            x = with_value(x, model.sparse(x, layer))
    return x


def _soft_contrast(model: Any, x: Tensor) -> Tensor:
    """The contrast curve counts, its gradient is that of a curve a quarter as steep."""
    slope = torch.sigmoid(model.steepness / 4 * (x - model.middle))
    return model.net(with_value(slope, model.change(x)))  # type: ignore[no-any-return]


def _smoothed(model: Any, x: Tensor) -> Tensor:
    """The model in the neighbourhood of the image, for slopes that jump (arXiv:2002.08347, 5)."""
    return model(x + 0.02 * torch.randn_like(x))  # type: ignore[no-any-return]


def _members(model: Any, x: Tensor) -> Tensor:
    """The members' mean logarithms of probabilities in the place of their votes."""
    return torch.log_softmax(model.members(x), 2).mean(0)


def _unrounded(model: Any, x: Tensor) -> Tensor:
    """Probabilities of the network's logits on a scale on which none of them is 0 or 1."""
    z = model.net(x)
    reach = (z.amax(1, keepdim=True) - z.amin(1, keepdim=True)).detach()
    return (6 * z / reach).softmax(1)  # type: ignore[no-any-return]


#: By the names in `zoo.py`.
STAND_INS: dict[str, Callable[[Any], nn.Module]] = {
    "itself": lambda model: model,
    # What the defense is put around: the network alone.
    "bypass": lambda model: model.net,
    # The same for defenses that return probabilities.
    "unrounded": lambda model: _StandIn(model, _unrounded),
    "straight": lambda model: _StandIn(model, _straight),
    "straight_features": lambda model: _StandIn(model, _straight_features),
    "straight_activations": lambda model: _StandIn(model, _straight_activations),
    "straight_sparse": lambda model: _StandIn(model, _straight_sparse),
    "soft_contrast": lambda model: _StandIn(model, _soft_contrast),
    "smoothed": lambda model: _StandIn(model, _smoothed),
    "members": lambda model: _StandIn(model, _members),
    # The same average with its gradient.
    "average": lambda model: _StandIn(model, lambda model, x: model.average(x)),
    **{name: partial(_StandIn, answer=answer) for name, answer in THIRD_ANSWERS.items()},
}
#: Stand-ins whose scores are the defended model's own, whatever their gradient; the others only
#: resemble it.
EXACT = {"itself", "straight", "straight_features", "straight_activations", "straight_sparse",
         "soft_contrast", "average"} | THIRD_EXACT  # fmt: skip
#: Points that Square tries.
QUERIES = 1000
#: A few defenses are attacked along more than one stand-in.
_ALSO = {"bypass_then_straight": ("bypass", "straight"), **THIRD_ALSO}


def stand_ins(entry: Entry) -> tuple[str, ...]:
    """The names of the stand-ins that the entry's adaptive attack follows, one after another."""
    return _ALSO.get(entry.adaptive, (entry.adaptive,))


def build(entry: Entry) -> nn.Module:
    """The defended model, by the loader that an audit uses."""
    name = entry.factory.partition(":")[2]
    factory = Factory(entry.factory, entry.source, name)
    module, _ = load_module(entry.name, factory, entry.arguments, Weights())
    return module


def subject(entry: Entry, images: Images, count: int, seed: int) -> Subject:
    """The victim and the first `count` images, drawn as an audit draws them, that it gets right."""
    samples = choose_samples(images, count, seed, "balanced")
    victim = Victim(
        entry.name,
        build(entry),
        precision=getattr(torch, entry.precision),
        outputs=entry.outputs,  # type: ignore[arg-type]
    )
    victim.draws = STOCHASTIC_DRAWS if entry.random else 1
    victim.seeded = True
    x, y = read_batch(victim, samples, slice(0, count)), torch.from_numpy(samples.labels)
    correct = ~victim.judge(x, y).wrong
    index = torch.from_numpy(samples.index)
    return Subject(victim, Block(x[correct], y[correct], index[correct]), count)


@dataclass(frozen=True)
class Result:
    """Which images of a block withstand, (n,) bool, and why an attack could not run."""

    robust: Tensor
    note: str = ""


def attack(
    subject: Subject, entry: Entry, surrogate: Surrogate, use: str, parameters: dict[str, Any],
    seed: int, rows: Tensor | None = None,
) -> Result:  # fmt: skip
    """Run one attack of auditor on a surrogate, on the images `rows` (all of them)."""
    block = subject.block
    if rows is not None:
        block = Block(block.x[rows], block.y[rows], block.image[rows])
    if not len(block):
        return Result(torch.zeros(0, dtype=torch.bool))
    epsilon = float(Fraction(entry.epsilon))
    spec = subject.registry.attacks[use]
    setup = Setup(
        spec=spec,
        attack=spec.build(parameters),
        surrogate=surrogate,
        verifier=Verifier(subject.victim, subject.registry.norms[entry.norm], epsilon),
        classes=10,
        seed=seed,
        key=f"{use} {sorted(parameters.items())}",
        batch_size=128,
    )
    try:
        outcome, _ = attack_block(setup, block, lambda finished, broken: None)
    except NoGradientError:
        return Result(torch.ones(len(block), dtype=torch.bool), "no gradient")
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        return Result(torch.ones(len(block), dtype=torch.bool), "no gradient")
    return Result(~outcome.broken)


def plain(subject: Subject, entry: Entry, loss: str, seed: int) -> Result:
    """PGD-40 on the model's own autograd, in float32 where it is deployed in less."""
    surrogate = naive(subject.victim)
    if entry.precision != "float32":
        surrogate = surrogate.in_precision(torch.float32)
    return attack(subject, entry, surrogate, "pgd", {"steps": 40, "loss": loss}, seed)


def robust_under(subject: Subject, entry: Entry, seed: int, steps: int) -> Tensor:
    """(n,) bool: what withstands the entry's hand-made adaptive attack."""
    robust = torch.ones(len(subject.block), dtype=torch.bool)
    for use, surrogate, parameters in _adaptive(subject, entry, steps):
        rows = robust.nonzero().flatten()
        found = attack(subject, entry, surrogate, use, parameters, seed, rows)
        robust[rows] = found.robust
    return robust


def _adaptive(
    subject: Subject, entry: Entry, steps: int
) -> Iterator[tuple[str, Surrogate, dict[str, Any]]]:
    for name in stand_ins(entry):
        victim = subject.victim.with_module(STAND_INS[name](subject.victim.module))
        surrogate = Surrogate(f"stand-in {name}", victim)
        if entry.precision != "float32":
            surrogate = surrogate.in_precision(torch.float32)
        surrogate = surrogate.averaged(entry.draws)
        if entry.draws > 1:
            steps = min(steps, 40)
        yield "apgd", surrogate, {"steps": steps, "loss": "margin", "restarts": 2}
        yield "apgd", surrogate, {"steps": steps, "loss": "margin", "targets": 3}
    if not entry.random:
        yield "square", naive(subject.victim), {"queries": QUERIES}
