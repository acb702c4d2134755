"""Watches an attack at work: what it proposes, draws, and changes that is not its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from auditor.maths.randomness import generator_states
from auditor.protocols.attack import AttackSpec, Observation, State, Task, spec_of, wishes_of
from auditor.protocols.composite import Brief, Stage, Standing
from auditor.surrogate import Surrogate
from auditor.testing.property import Violation
from auditor.testing.proposals import look_at

#: A composite that has not ended by then never will.
MOST_STAGES = 1000
_OWN = "compute new tensors instead (no in-place operation: x + d, not x += d or x.clamp_())"


@dataclass(frozen=True)
class Call:
    """What one call of `start` or `step` proposed: ids, restarts, steps (B,), and points."""

    image: torch.Tensor
    restart: torch.Tensor
    step: torch.Tensor
    x: torch.Tensor


@dataclass
class Record:
    """What was seen of an attack in one run."""

    violations: dict[str, Violation] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    #: Whether it asked for random numbers.
    draws: bool = False
    #: The largest distance of any proposed pixel from the clean image.
    moved: float = 0.0

    def note(self, violation: Violation) -> None:
        """Keep the first violation of each property."""
        self.violations.setdefault(violation.property, violation)

    def by_lane(self) -> dict[tuple[int, int, int], torch.Tensor]:
        """The proposed points by (image, restart, step); of a plain, untargeted attack."""
        found = {}
        for call in self.calls:
            columns = (call.image.tolist(), call.restart.tolist(), call.step.tolist(), call.x)
            for image, restart, step, x in zip(*columns, strict=True):
                found[image, restart, step] = x
        return found


@dataclass(frozen=True)
class _WatchedTask(Task):
    record: Record | None = None

    def noise(self, purpose: str) -> Any:
        """As in `Task`; that it was asked for is noted."""
        assert self.record is not None
        self.record.draws = True
        return super().noise(purpose)


def watched(attack: Any, record: Record, limit: int | None = None) -> Any:
    """The attack, cut off after `limit` steps, every call of it noted in `record`.

    Raises:
        TypeError: it was not decorated.
    """
    spec = spec_of(type(attack))
    kinds = {"steps": _Plain, "stages": _Composite, "own loop": _OwnLoop}
    kind: type[_Watched] = kinds[spec.kind]
    return type(kind.__name__, (kind,), {"attack_spec": spec})(attack, record, limit)


class _Watched:
    attack_spec: AttackSpec

    def __init__(self, attack: Any, record: Record, limit: int | None) -> None:
        self._attack, self._record, self._limit = attack, record, limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attack, name)

    def _note_changes(self, before: dict[str, torch.Tensor], now: dict[str, torch.Tensor]) -> None:
        for name, tensor in before.items():
            if not torch.equal(tensor, now[name]) and not tensor.isnan().any():
                shown = "task.ball.x0" if name == "task.ball" else name
                self._record.note(
                    Violation(
                        "inputs",
                        f"`{shown}` was changed in place",
                        "everything that the attack is given is as before after each call",
                        f"`{shown}`, or a tensor that shares its memory such as `State(x=task.x)`, "
                        f"was written to: {_OWN}",
                    )
                )

    def _keep(self, new: Any, task: Task, calls: int) -> None:
        x = getattr(new, "x", None)
        if not isinstance(x, torch.Tensor) or x.shape[:1] != task.x.shape[:1]:
            return
        restart = torch.zeros_like(task.y) if task.restart is None else task.restart
        image = task._noise.image
        self._record.calls.append(Call(image, restart, task.step + calls, x.detach().clone()))


class _Plain(_Watched):
    """A plain attack; without `limit` only its budget is watched, which costs nothing."""

    def __init__(self, attack: Any, record: Record, limit: int | None) -> None:
        super().__init__(attack, record, limit)
        self._declared = attack.steps
        self._layout: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}

    @property
    def steps(self) -> int:
        """What the attack said at first, or less."""
        now = self._attack.steps
        if now != self._declared:
            self._record.note(
                Violation(
                    "budget",
                    f"`steps` was {self._declared} at first and is {now} later",
                    "the same number at every look: it is the budget that the report prints",
                    "make `steps` a parameter, or a property of the parameters alone",
                )
            )
        return int(self._declared if self._limit is None else min(self._declared, self._limit))

    def start(self, task: Task) -> State:
        return self._call(task, None, None)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        return self._call(task, state, seen)

    def _call(self, task: Task, state: State | None, seen: Observation | None) -> State:
        fields = {one.name: getattr(task, one.name) for one in dataclasses.fields(task)}
        given = _WatchedTask(**fields, record=self._record)
        if self._limit is None:
            new = self._new(given, state, seen)
            self._note_move(new, task)
            return new
        before, world = _copies(task, seen), World.now()
        new = self._new(given, state, seen)
        self._note_changes(before, _tensors(task, seen))
        if change := world.change():
            self._record.note(change)
        clean = replace(task, x=before["task.x"], ball=replace(task.ball, x0=before["task.ball"]))
        when = "start" if state is None else "step"
        for violation in look_at(new, clean, wishes_of(self._attack), when, self._layout):
            self._record.note(violation)
        self._keep(new, clean, 0 if state is None else 1)
        return new

    def _new(self, task: Task, state: State | None, seen: Observation | None) -> State:
        attack = self._attack
        new: State = attack.start(task) if state is None else attack.step(task, state, seen)
        return new

    def _note_move(self, new: State, task: Task) -> None:
        """How far the points are from the clean images."""
        clean = task.x if new.x.dim() == task.x.dim() else task.x[:, None]
        self._record.moved = max(self._record.moved, (new.x - clean).abs().amax().item())


class _OwnLoop(_Watched):
    """An attack that keeps its own loop: what it is given and what it returns is looked at.

    It may use the global generators, which the engine seeds; torch's switches it may not leave.
    """

    def perturb(self, surrogate: Surrogate, task: Task) -> Any:
        before, modes = _copies(task, None), World.now().modes
        given = {one.name: getattr(task, one.name) for one in dataclasses.fields(task)}
        new = self._attack.perturb(surrogate, _WatchedTask(**given, record=self._record))
        self._note_changes(before, _tensors(task, None))
        world = World.now()
        if change := replace(world, modes=modes).change():
            self._record.note(change)
        clean = replace(task, x=before["task.x"], ball=replace(task.ball, x0=before["task.ball"]))
        state = State(x=new)
        for violation in look_at(state, clean, wishes_of(self._attack), "perturb", {}):
            self._record.note(violation)
        self._keep(state, clean, 0)
        if isinstance(new, torch.Tensor) and new.shape == clean.x.shape and len(new):
            self._record.moved = max(self._record.moved, (new - clean.x).abs().amax().item())
        return new


class _Composite(_Watched):
    """A composite: its stages are counted, and the attacks in them watched."""

    def stages(self, brief: Brief) -> Generator[Any, Standing, Any]:
        inner, standing = self._attack.stages(brief), None
        x = brief.x.clone()
        for _ in range(MOST_STAGES):
            world = World.now()
            try:
                stage = next(inner) if standing is None else inner.send(standing)
            except StopIteration as stop:
                return stop.value
            finally:
                if change := world.change():
                    self._record.note(change)
            if not torch.equal(x, brief.x):
                self._record.note(
                    Violation(
                        "inputs",
                        "`brief.x` was changed in place",
                        "everything that the attack is given is as before after each stage",
                        f"a tensor that shares its memory was written to: {_OWN}",
                    )
                )
            standing = yield self._with_watched_attack(stage)
        self._record.note(
            Violation(
                "budget",
                f"it had not ended after {MOST_STAGES} stages",
                "an end, whatever comes of the stages",
                "a loop without a limit: count the rounds, and stop where nothing falls any more",
            )
        )
        return None

    def _with_watched_attack(self, stage: Any) -> Any:
        if not isinstance(stage, Stage) or not hasattr(type(stage.attack), "attack_spec"):
            return stage  # the engine says what is wrong with it
        return replace(stage, attack=watched(stage.attack, self._record, self._limit))


def _tensors(task: Task, seen: Observation | None) -> dict[str, torch.Tensor]:
    """What the attack is given, by the name it knows it by."""
    given = {f"task.{name}": getattr(task, name) for name in ("x", "y", "step", "target", "origin")}
    given["task.ball"] = task.ball.x0
    if seen is not None:
        names = ("logits", "loss", "gradient")
        given |= {f"seen.{name}": getattr(seen, name) for name in names}
    return {name: tensor for name, tensor in given.items() if tensor is not None}


def _copies(task: Task, seen: Observation | None) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in _tensors(task, seen).items()}


@dataclass(frozen=True)
class World:
    """The state that a whole program shares."""

    numbers: dict[str, object]
    modes: tuple[Any, ...]

    @classmethod
    def now(cls) -> World:
        """As it is."""
        modes = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads())
        return cls(generator_states(), modes)

    def change(self) -> Violation | None:
        """What has changed since; switches are put back."""
        now = World.now()
        expected = "nothing outside the attack's own state changes, and nothing outside it is read"
        for name, call in (
            ("torch", "torch.rand, torch.randn or the like"),
            ("NumPy", "np.random"),
            ("Python", "the module random"),
        ):
            if self.numbers[name.lower()] != now.numbers[name.lower()]:
                return Violation(
                    "global-state",
                    f"{name}'s global random numbers were used or seeded",
                    expected,
                    f"it reads {name}'s global generator ({call}): draw from "
                    'task.noise("a purpose") instead (a check: probe.noise), which depends on '
                    "seed, image, restart and step alone",
                )
        if self.modes == now.modes:
            return None
        torch.set_grad_enabled(self.modes[0])
        torch.set_default_dtype(self.modes[1])
        torch.set_num_threads(self.modes[2])
        return Violation(
            "global-state",
            f"torch's switches (grad mode, default dtype, threads) went from {self.modes} "
            f"to {now.modes}",
            expected,
            "use the switch as a context manager (with torch.no_grad(): ...), or not at all",
        )
