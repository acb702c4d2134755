"""PGD of auditor, torchattacks, Foolbox and ART side by side: robust accuracy, passes, time.

All attack the same correctly classified images with l-infinity PGD from one random start, the same
step size, cross-entropy and batches of the same size. Peers return one point per image; whether it
is adversarial is decided for all by auditor's verifier, on the model, in box and ball.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from common import conditions, interleaved, options, ratios, record, table
from subjects import Counted, Subject, example, plain_loop, weights_hash

EPSILONS = {"8/255": 8 / 255, "0.1": 0.1}
#: Step sizes as fractions of epsilon; 2.5 / 40 is what auditor and Foolbox's authors use.
RATES = {"ε/10": 1 / 10, "2.5 ε/40": 2.5 / 40}
#: The requirement: robust accuracy on the adversarially trained model within one point.
LIMIT = 1.0


@dataclass(frozen=True)
class Setting:
    """One comparison; every contender gets exactly this."""

    subject: Subject
    epsilon: float
    rate: float
    steps: int
    batch_size: int

    @property
    def module(self) -> Counted:
        """The model, as peers are given it."""
        module = self.subject.victim.module
        assert isinstance(module, Counted)
        return module

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images and labels."""
        block = self.subject.block
        yield from zip(block.x.split(self.batch_size), block.y.split(self.batch_size), strict=True)


def _parameters(setting: Setting) -> dict[str, float]:
    return {"steps": setting.steps, "step_size": setting.rate}


def by_auditor(setting: Setting, seed: int) -> torch.Tensor:
    """Through the pool, verification included."""
    pool = setting.subject.pool(
        _parameters(setting), "linf", setting.epsilon, setting.batch_size, seed
    )
    return pool.run(setting.subject.block).adversarial


def by_plain_loop(setting: Setting, seed: int) -> torch.Tensor:
    """auditor's PGD without its engine: the final points alone."""
    pool = setting.subject.pool(
        _parameters(setting), "linf", setting.epsilon, setting.batch_size, seed
    )
    return plain_loop(pool, setting.subject.block)


def by_torchattacks(setting: Setting, seed: int) -> torch.Tensor:
    """torchattacks.PGD."""
    import torchattacks

    torch.manual_seed(seed)
    attack = torchattacks.PGD(
        setting.module, eps=setting.epsilon, alpha=setting.rate, steps=setting.steps
    )
    return torch.cat([attack(x, y) for x, y in setting.batches()])


def by_foolbox(setting: Setting, seed: int) -> torch.Tensor:
    """foolbox.attacks.LinfPGD."""
    import foolbox

    torch.manual_seed(seed)
    model = foolbox.PyTorchModel(setting.module, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=setting.rate, steps=setting.steps)
    return torch.cat(
        [attack(model, x, y, epsilons=setting.epsilon)[1] for x, y in setting.batches()]
    )


def by_art(setting: Setting, seed: int) -> torch.Tensor:
    """ART's ProjectedGradientDescent for PyTorch."""
    import numpy as np
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    torch.manual_seed(seed)
    np.random.seed(seed)
    block = setting.subject.block
    model = PyTorchClassifier(
        setting.module, torch.nn.CrossEntropyLoss(), tuple(block.x.shape[1:]), 10,
        clip_values=(0.0, 1.0), device_type="cpu",
    )  # fmt: skip
    attack = ProjectedGradientDescentPyTorch(
        model, norm=np.inf, eps=setting.epsilon, eps_step=setting.rate, max_iter=setting.steps,
        num_random_init=1, batch_size=setting.batch_size, verbose=False,
    )  # fmt: skip
    return torch.from_numpy(attack.generate(block.x.numpy(), block.y.numpy()))


CONTENDERS: dict[str, Callable[[Setting, int], torch.Tensor]] = {
    "auditor": by_auditor,
    "auditor, final point": by_plain_loop,
    "torchattacks": by_torchattacks,
    "Foolbox": by_foolbox,
    "ART": by_art,
}


@dataclass(frozen=True)
class Trial:
    """What one run of one contender came to."""

    robust: torch.Tensor
    forwards: int
    backwards: int


def compare(setting: Setting, repeats: int) -> list[list[str]]:
    """One row per contender: everything after model, epsilon and step."""

    def work(run: Callable[[Setting, int], torch.Tensor]) -> Callable[[int], object]:
        return lambda seed: (run(setting, seed), setting.module.passes())

    seconds, answers = interleaved({name: work(run) for name, run in CONTENDERS.items()}, repeats)
    trials = {name: [_trial(setting, *answer) for answer in answers[name]] for name in CONTENDERS}
    ours, total = trials["auditor"], setting.subject.total
    times = {name: ratios(seconds["auditor"], seconds[name]) for name in CONTENDERS}
    times["auditor"] = ""
    return [[*_row(name, trials[name], ours, total), times[name]] for name in CONTENDERS]


def _trial(setting: Setting, points: torch.Tensor, passes: tuple[int, int]) -> Trial:
    robust = setting.subject.robust(points, "linf", setting.epsilon)
    setting.module.passes()  # those of the check are nobody's
    return Trial(robust, *passes)


def _row(name: str, own: list[Trial], ours: list[Trial], total: int) -> list[str]:
    counts = [int(trial.robust.sum()) for trial in own]
    mean = sum(counts) / len(counts) / total
    difference = mean - sum(int(trial.robust.sum()) for trial in ours) / len(ours) / total
    pairs = list(zip(own, ours, strict=True))
    only_own = sum(int((~own.robust & our.robust).sum()) for own, our in pairs) / len(pairs)
    only_our = sum(int((own.robust & ~our.robust).sum()) for own, our in pairs) / len(pairs)
    same = 1 - (only_own + only_our) / total
    images = len(own[0].robust)
    return [
        name,
        f"{mean:.1%} ({min(counts) / total:.1%} to {max(counts) / total:.1%})",
        *(["", "", ""] if own is ours else
          [f"{100 * difference:+.2f}", f"{same:.2%}", f"{only_own:.1f} / {only_our:.1f}"]),
        f"{own[0].forwards / images:.1f} + {own[0].backwards / images:.1f}",
    ]  # fmt: skip


def main() -> None:
    """Compare, print, perhaps write."""
    parser = options(__doc__, repeats=5)
    parser.add_argument("--models", nargs="+", default=["pgd-trained", "baseline"])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.set_num_threads(1)
    rows = []
    for model in args.models:
        subject = example(model, args.images)
        for epsilon_text, epsilon in EPSILONS.items():
            for rate_text, rate in RATES.items():
                setting = Setting(subject, epsilon, rate * epsilon, args.steps, args.batch_size)
                found = compare(setting, args.repeats)
                rows += [[model, epsilon_text, rate_text, *row] for row in found]
    record("pgd_peers", _text(rows, args), write=args.write)


_HEADER = (
    "model", "epsilon", "step", "by", "robust accuracy (range over seeds)",
    "minus auditor, points", "same verdict", "only it / only auditor breaks",
    "passes per image", "time, auditor / it",
)  # fmt: skip


def _text(rows: list[list[str]], args: argparse.Namespace) -> str:
    trained = [abs(float(row[5])) for row in rows if row[0] == "pgd-trained" and row[5]]
    peers = ("robustness-auditor", "torch", "torchattacks", "foolbox",
             "adversarial-robustness-toolbox")  # fmt: skip
    return "\n\n".join(
        [
            f"## PGD-{args.steps} side by side with peers",
            conditions(peers, repeats=args.repeats)
            + f" {args.images} images, batches of {args.batch_size}. Weights: "
            + ", ".join(f"{name} {weights_hash(name)}" for name in args.models) + ".",
            table(_HEADER, rows),
            "Passes are forward + backward ones per attacked image. Time is a quotient of minima, "
            "in brackets of medians; auditor's includes the verification of every success, which "
            "is not part of the peers' time. Peers return one point per image, and it alone "
            "counts; auditor stops an image at the first iterate that fools the model, so it "
            "also breaks those that a later step would have let go. The row \"final point\" is "
            "auditor's PGD without that, for comparison.",
            *([f"Largest difference on pgd-trained: {max(trained):.2f} points; "
               f"required: at most {LIMIT:g}; "
               f"{'holds' if max(trained) <= LIMIT else 'DOES NOT HOLD'}."] if trained else []),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
