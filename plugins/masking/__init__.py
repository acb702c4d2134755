"""Checks for masked gradients: signs of one, and attacks that do not trust it."""

from __future__ import annotations

from auditor.api import hookimpl

from .answers import OperationTrace, OutputKind, Staircase
from .binarization import Binarization
from .black_box import BlackBoxGap
from .comparisons import Convergence, EpsilonMonotone, OneStep, Unbounded
from .contract import BatchDependence, Determinism, TrainMode
from .curvature import SecondOrder
from .expected import ExpectationGap
from .gaps import BPDAGap, EOTGap, NoiseAveragedGap
from .gradient import RankTest, ZeroGradients
from .half_precision import HalfPrecision
from .loss import LossRepair
from .planted import PlantedMask
from .second_look import SecondLook
from .slopes import FiniteDifferences, LossDirections, NoiseGradient
from .transfer import TransferGap


@hookimpl
def auditor_checks() -> list[type]:
    """In the order in which they build on one another."""
    return [
        # What the model is.
        Determinism,
        BatchDependence,
        TrainMode,
        OutputKind,
        OperationTrace,
        Staircase,
        HalfPrecision,
        # What its gradient says.
        ZeroGradients,
        RankTest,
        FiniteDifferences,
        NoiseGradient,
        SecondOrder,
        LossDirections,
        # What attacks that do not trust it break.
        LossRepair,
        Unbounded,
        ExpectationGap,
        BPDAGap,
        EOTGap,
        NoiseAveragedGap,
        TransferGap,
        BlackBoxGap,
        OneStep,
        EpsilonMonotone,
        Convergence,
        Binarization,
        # What that amounts to.
        PlantedMask,
        SecondLook,
    ]
