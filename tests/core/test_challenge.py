"""Who counts as challenged, and whether checks that were left out could have mattered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from auditor_plugins.noise import Noise
from auditor_plugins.pgd import PGD
from auditor_plugins.rays import RayS
from auditor_plugins.square import Square
from core_models import NORM

from auditor.attacking.setup import Setup
from auditor.attacking.verify import Verifier
from auditor.config import AuditConfig, load_config
from auditor.masking.challenge import challenges, shortage, shortened
from auditor.protocols.attack import spec_of
from auditor.registry import Registry
from auditor.results import ChallengeCount, ControlTrial, PlantedControl
from auditor.surrogate import Surrogate

TRIALS = (
    ControlTrial("repaired", 21, 15),
    ControlTrial("queries", 200, 8),
    ControlTrial("queries", 2000, 14),
)
CONTROL = PlantedControl(True, "found", 19, TRIALS)


def test_each_survivor_counts_once_for_the_longest_search() -> None:
    queries = np.array([0, 199, 200, 1999, 5000, 5000, 0, 0])
    repaired = np.array([0, 0, 61, 0, 61, 0, 21, 20])
    survivors = np.array([True, True, True, True, True, False, True, True])
    assert challenges(queries, repaired, survivors, CONTROL) == (
        ChallengeCount("queries", 2000, 1, 14),
        ChallengeCount("queries", 200, 2, 8),
        ChallengeCount("repaired", 21, 1, 15),
    )


@pytest.mark.parametrize("control", [None, PlantedControl(True, "a plugin's own"),
                                     replace(CONTROL, hidden=0)])  # fmt: skip
def test_without_counts_of_a_control_nobody_is_challenged(control: PlantedControl | None) -> None:
    many = np.full(3, 5000)
    assert challenges(many, many, np.ones(3, bool), control) == ()


def test_what_distrusts_the_gradient_and_looks() -> None:
    own = Surrogate("naive", None)  # type: ignore[arg-type]
    for attack, surrogate, itself, expected in (
        (Square(), own, True, "queries"),
        (RayS(), own.repaired(), True, "queries"),
        (Noise(), own, True, None),
        (PGD(), own, True, None),
        (PGD(), own.averaged(8), True, None),
        (PGD(), own.rescaled(), True, None),
        (PGD(), own.repaired(), True, "repaired"),
        (PGD(), own.repaired(), False, None),
        (Square(), own, False, None),
    ):
        setup = Setup(
            spec=spec_of(type(attack)),
            attack=attack,
            surrogate=surrogate,
            verifier=Verifier(None, NORM["linf"], 0.1),  # type: ignore[arg-type]
            classes=4,
            seed=0,
            key="key",
            batch_size=1,
            itself=itself,
        )
        assert setup.challenge == expected


@pytest.fixture
def whole(tmp_path: Path) -> tuple[AuditConfig, Registry]:
    (tmp_path / "model.py").write_text("def make(): ...\n")
    np.savez(tmp_path / "data.npz", x=np.zeros((1, 2, 2), np.uint8), y=np.zeros(1, int))
    (tmp_path / "audit.toml").write_text(
        'schema = 1\nprofile = "quick"\n[model]\nfactory = "model.py:make"\n[data]\n'
        'adapter = "npz"\npath = "data.npz"\n[threat]\nnorm = "linf"\nepsilon = 0.1\n'
    )
    return load_config(tmp_path / "audit.toml")


@pytest.mark.parametrize(
    ("left_out", "random", "matters"),
    [
        ((), False, False),
        (("eot-gap",), False, False),
        (("eot-gap",), True, True),
        (("second-look", "loss-directions"), True, False),
        (("bpda-gap",), False, True),
        (("eot-gap", "planted-mask"), False, True),
    ],
)
def test_what_is_left_out_matters_where_it_could_cast_a_doubt(
    whole: tuple[AuditConfig, Registry], left_out: tuple[str, ...], random: bool, matters: bool
) -> None:
    config, registry = whole
    asked = tuple(check for check in config.checks if check.use not in left_out)
    short = config.model_copy(update={"checks": asked})
    count = len(config.checks)
    sentence = f"Only {count - len(left_out)} of {count} checks of the profile quick were run."
    assert shortened(short, registry, random=random) == (sentence if matters else "")
    missing = shortage(short, registry)
    assert (missing.left_out if missing else ()) == left_out  # told in any case
