"""The deployed model: loaded, frozen, counted, asked, never trusted.

The victim is the model exactly as it is deployed, precision and normalisation included, and the
only judge of what is adversarial. Its weights keep the types that they were made in. Images come in
as (B, C, H, W) pixels in [0, 1] of the compute type (float64 for a float64 model, else float32);
logits leave in the same type.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from auditor.maths.objectives import margin
from auditor.maths.randomness import derive_key, generator_states, generators_seeded
from auditor.subject.copies import duplicate, put_back
from auditor.subject.differentiation import Differentiation
from auditor.subject.memory import Pieces
from auditor.subject.outputs import Key, Outputs, scores_in
from auditor.subject.precision import cast, names_of, size_of, types_in, weight_types

#: How often a model whose answers vary is asked, at most, before one answer is believed.
STOCHASTIC_DRAWS = 20
#: After so many right answers and no wrong one an image is taken to be classified correctly. That
#: more than half of all 20 draws would have been wrong has then a chance of at most 1 in 1,800,
#: whatever the model; that an image is misclassified is never said before it is certain.
UNANIMOUS = 6
#: Where no model that seeds a generator by itself would start it.
_UNLIKELY_SEED = 0x5EED_0A0D


@dataclass(frozen=True)
class Normalize:
    """Per-channel (x - mean) / std, applied inside the victim."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """`x` (B, C, H, W), normalised."""
        shape = (-1, 1, 1)
        mean = torch.tensor(self.mean, dtype=x.dtype, device=x.device).view(shape)
        std = torch.tensor(self.std, dtype=x.dtype, device=x.device).view(shape)
        return (x - mean) / std


@dataclass
class Passes:
    """Passes of single images through the model."""

    forwards: int = 0
    backwards: int = 0


@dataclass(frozen=True)
class Judgement:
    """What the victim says of a batch of images, (B,) each."""

    #: Misclassified; for a random model, in more than half of `STOCHASTIC_DRAWS`.
    wrong: torch.Tensor
    #: The most frequent answer.
    prediction: torch.Tensor
    #: Mean over the draws of max_{i != y} z_i - z_y.
    margin: torch.Tensor
    #: Mean over the draws of the softmax probability of each draw's answer.
    confidence: torch.Tensor
    #: (B,) int64, how often each image was asked: no more than it took to settle `wrong`.
    asked: torch.Tensor


class Victim:
    """A model under audit.

    Args:
        name: from the configuration.
        module: the user's model; it is put into evaluation mode and its parameters are frozen.
        precision: the type it is deployed in. Weights that are all of one other type are cast to
            it; where it is not given, or there are several types, nothing is.
        outputs: what it returns; probabilities are turned into logits by log.
        output_key: where the scores are in what it returns, if it does not return them alone.
        normalize: applied to the pixels first, if given.
        device: where it runs.
    """

    def __init__(
        self,
        name: str,
        module: torch.nn.Module,
        *,
        precision: torch.dtype | None = None,
        outputs: Outputs = "logits",
        output_key: Key | None = None,
        normalize: Normalize | None = None,
        device: torch.device | str = "cpu",
        fingerprint: str = "",
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.outputs: Outputs = outputs
        self.output_key = output_key
        self.normalize = normalize
        self.device = torch.device(device)
        #: What is frozen: modules that were in training mode, parameters that wanted gradients.
        self._trained = [part for part in module.modules() if part.training]
        self._learned = [one for one in module.parameters() if one.requires_grad]
        self.module = module.to(device=self.device).eval()
        #: The floating types of its weights as they were made, the coarsest first, and as they are.
        self.made_in = types_in(self.module)
        made_alike = len(weight_types(self.module)) == 1
        if precision is not None and made_alike and weight_types(self.module) != (precision,):
            cast(self.module, precision)
        self.types = types_in(self.module) or (precision or torch.float32,)
        #: What the configuration says that they are, if it says.
        self.declared = precision
        #: The type of the images that the model is given. Pre-flight tries whether it takes them.
        self.takes = self.types[0] if len(self.types) == 1 else torch.float32
        for parameter in self.module.parameters():  # scripted and lazy ones lack requires_grad_
            parameter.requires_grad = False
        self.passes = Passes()
        #: How many images fit into memory at once.
        self.pieces = Pieces()
        #: The smallest batch that it takes; smaller ones are filled up. Set by pre-flight.
        self.least = 1
        #: It takes multiples of so many images; others are filled up. Set by pre-flight.
        self.multiple = 1
        #: A number of images that it does not take at once, and what it raises; empty if none.
        self.refuses = ""
        #: What differentiating it takes.
        self.differentiation = Differentiation()
        #: 1 for a model that answers the same every time; set by pre-flight.
        self.draws = 1
        #: Whether the model sees random numbers of its own, kept apart from the program's;
        #: pre-flight saves the cost for models that use none.
        self.seeded = True
        self._stream = ""
        self._calls = 0

    @property
    def precision(self) -> torch.dtype:
        """The coarsest type of its weights."""
        return self.types[0]

    @property
    def precisions(self) -> str:
        """The types of its weights in words, such as "float16 and float32"."""
        return names_of(self.types)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of images and logits outside the model."""
        return torch.float64 if self.precision == torch.float64 else torch.float32

    @property
    def parameters(self) -> int:
        """How many parameters the model has."""
        return size_of(self.module)

    def in_precision(self, precision: torch.dtype) -> Victim:
        """A copy of the model with all its weights and its input in another type; for surrogates.

        Raises:
            Exception: whatever `copy.deepcopy` raises on a module that cannot be copied.
        """
        module = duplicate(self.module)
        cast(module, precision)
        clone = self.with_module(module)
        clone.types, clone.takes = types_in(module) or (precision,), precision
        return clone

    def copied(self) -> Victim:
        """A copy of the model; for surrogates that run it in a way that it may remember.

        Raises:
            Exception: as above.
        """
        return self.with_module(duplicate(self.module))

    def with_module(self, module: torch.nn.Module) -> Victim:
        """The same with another module in its place; for surrogates."""
        clone = Victim(
            self.name,
            module,
            outputs=self.outputs,
            output_key=self.output_key,
            normalize=self.normalize,
            device=self.device,
            fingerprint=self.fingerprint,
        )
        if types_in(module) in ((), self.types):
            clone.types, clone.takes = self.types, self.takes
        clone.passes, clone.pieces = self.passes, self.pieces
        clone.differentiation = self.differentiation
        clone.least, clone.multiple = self.least, self.multiple
        clone.draws, clone.seeded = self.draws, self.seeded
        return clone

    @contextlib.contextmanager
    def as_made(self, *, mode: bool) -> Iterator[None]:
        """The parameters, and with `mode` the modules' modes, are as in the factory's model."""
        for parameter in self._learned:
            parameter.requires_grad = True
        for part in self._trained if mode else ():
            part.training = True
        try:
            yield
        finally:
            for parameter in self._learned:
                parameter.requires_grad = False
            for part in self._trained if mode else ():
                part.training = False

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[tuple[str, ...]]:
        """What stays in training mode after eval() is meanwhile not; the names of these modules."""
        still = {name: part for name, part in self.module.named_modules() if part.training}
        for part in still.values():
            part.training = False
        try:
            yield tuple(still)
        finally:
            for part in still.values():
                part.training = True

    def put_back(self) -> contextlib.AbstractContextManager[list[str]]:
        """What passes change of the model is put back; the list names it afterwards."""
        return put_back(self.module)

    def begin(self, stream: str) -> None:
        """Restart the random numbers that a random model sees, under the name `stream`."""
        self._stream, self._calls = stream, 0

    def generators_used(self, x: torch.Tensor) -> tuple[str, ...]:
        """Whose global random numbers a pass on images `x` uses, such as "torch" or "numpy"."""
        bare = self.with_module(self.module)
        bare.seeded = False
        with generators_seeded(_UNLIKELY_SEED, self.device), torch.no_grad():
            before = generator_states()
            bare.raw(x)
            after = generator_states()
        return tuple(name for name in before if before[name] != after[name])

    def raw(self, x: torch.Tensor) -> object:
        """The user's model's scores of pixels `x`, or what it returns in their place.

        Differentiable, and counted. The model is given images of its own, which it may write to,
        and what it returns is not touched when it writes to that again.
        """
        count = len(x)
        lacking = max(self.least - count, -count % self.multiple) if count else 0
        if lacking:
            x = torch.cat([x, x[-1:].expand(lacking, *x.shape[1:])])
        if self.normalize is not None:
            x = self.normalize(x)
        given = x.to(self.takes)
        given = given.clone() if given is x else given
        with contextlib.ExitStack() as stack:
            if self.seeded:
                stack.enter_context(self._seeded())
            if torch.is_grad_enabled():
                stack.enter_context(self.differentiation.recording(self.module))
            answer: object = self.module(given)
        self.passes.forwards += count
        found = scores_in(answer, self.output_key, len(given), self.outputs)
        if not isinstance(found, torch.Tensor):
            return found
        return (found[:count] if count < len(given) else found).clone()

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K) logits of the compute type; differentiable."""
        z = self.raw(x)
        assert isinstance(z, torch.Tensor)  # pre-flight refuses other outputs
        return self.logits_of(z)

    def logits_of(self, raw: torch.Tensor) -> torch.Tensor:
        """The logits (B, K) of the compute type that are made of the module's answer."""
        z = raw.to(self.compute_dtype)
        if self.outputs == "probabilities":
            return z.clamp(min=torch.finfo(z.dtype).tiny).log()
        return z

    def judge(self, x: torch.Tensor, y: torch.Tensor) -> Judgement:
        """What the victim says of images `x` with labels `y` (B,)."""
        with torch.no_grad():
            if not len(x):
                return self._judge(x, y)
            parts = self.pieces.run(lambda part: self._judge(x[part], y[part]), len(x))
        if len(parts) == 1:
            return parts[0]
        names = [one.name for one in fields(Judgement)]
        return Judgement(*(torch.cat([getattr(one, name) for one in parts]) for name in names))

    def _judge(self, x: torch.Tensor, y: torch.Tensor) -> Judgement:
        first = _judge_once(self.logits(x), y)
        if self.draws == 1 or not len(x):
            return first
        poll = _Poll.opened(first, self.draws)
        while len(rows := poll.unsettled()):
            z = self.logits(x[rows])
            poll.count(rows, _judge_once(z, y[rows]))
        return poll.result()

    def _seeded(self) -> contextlib.AbstractContextManager[None]:
        """Random numbers that depend on stream and call alone."""
        self._calls += 1
        return generators_seeded(derive_key(self._calls, self._stream)[0], self.device)


def _judge_once(z: torch.Tensor, y: torch.Tensor) -> Judgement:
    prediction = z.argmax(1)
    confidence = z.softmax(1).gather(1, prediction[:, None])[:, 0]
    # Scores without a softmax (NaN, infinity) are no answer, whatever argmax makes of them.
    wrong = (prediction != y) | confidence.isnan()
    return Judgement(wrong, prediction, margin(z, y), confidence, torch.ones_like(prediction))


@dataclass
class _Poll:
    """The majority of a random model's draws, image by image, closed as soon as it is settled.

    Attributes:
        draws: how many there are at most.
        asked: (B,) int64, how many of them each image has had, and `wrong` of these went wrong.
        answers: the predictions of each draw, with the rows they are of.
        margin: (B,), sums over the draws, as is `confidence`.
    """

    draws: int
    asked: torch.Tensor
    wrong: torch.Tensor
    answers: list[tuple[torch.Tensor, torch.Tensor]]
    margin: torch.Tensor
    confidence: torch.Tensor

    @classmethod
    def opened(cls, first: Judgement, draws: int) -> _Poll:
        """After the first draw of every image."""
        rows = torch.arange(len(first.asked), device=first.asked.device)
        answers = [(rows, first.prediction)]
        sums = first.margin.clone(), first.confidence.clone()
        return cls(draws, first.asked.clone(), first.wrong.long(), answers, *sums)

    def unsettled(self) -> torch.Tensor:
        """(m,) rows whose majority further draws may turn."""
        left = self.draws - self.asked
        lost = 2 * self.wrong > self.draws
        held = 2 * (self.wrong + left) <= self.draws
        held |= (self.asked >= UNANIMOUS) & (self.wrong == 0)
        return (~lost & ~held).nonzero().flatten()

    def count(self, rows: torch.Tensor, drawn: Judgement) -> None:
        """Take in one more draw of the images `rows`."""
        self.asked[rows] += 1
        self.wrong[rows] += drawn.wrong.long()
        self.answers.append((rows, drawn.prediction))
        self.margin[rows] += drawn.margin
        self.confidence[rows] += drawn.confidence

    def result(self) -> Judgement:
        """What came of it."""
        return Judgement(
            2 * self.wrong > self.draws,
            self._most_frequent(),
            self.margin / self.asked,
            self.confidence / self.asked,
            self.asked,
        )

    def _most_frequent(self) -> torch.Tensor:
        """(B,) the answer that came most often; of several the smallest."""
        rows, answers = (torch.cat(one) for one in zip(*self.answers, strict=True))
        votes = torch.zeros(len(self.asked), int(answers.amax()) + 1, device=rows.device)
        votes.index_put_((rows, answers), torch.ones_like(rows, dtype=votes.dtype), accumulate=True)
        return votes.argmax(1)
