"""The tests in their order; a failure of one never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from auditor.config import AuditConfig, load_config
from auditor.doctor.devices import AREA as DEVICES
from auditor.doctor.devices import devices
from auditor.doctor.pdf import AREA as PDF
from auditor.doctor.pdf import letters, pdf
from auditor.doctor.plugins import AREA as PLUGINS
from auditor.doctor.plugins import plugins
from auditor.doctor.proof import Proof, guarded
from auditor.doctor.storage import AREA as STORAGE
from auditor.doctor.storage import storage
from auditor.registry import Registry, load_registry

ENVIRONMENT, CONFIGURATION = "Environment", "Configuration"
_REPORT = "this is a defect of auditor doctor; please report it"
_REINSTALL = "install auditor again: pip install --force-reinstall robustness-auditor"
#: What runs by default, and where it writes to.
_OUTPUT = Path("audits")


def examine(path: Path | None) -> Iterator[Proof]:
    """Everything that an audit needs, tried one after another.

    Args:
        path: the audit.toml whose data and models are tried too.
    """
    held: list[tuple[AuditConfig, Registry]] = []
    if path is not None:
        yield from guarded(CONFIGURATION, lambda: _configuration(path, held), _REPORT)
    config, registry = held[0] if held else (None, None)
    broken = False
    for proof in guarded(ENVIRONMENT, _environment, _REINSTALL):
        broken = broken or proof.outcome == "failed"
        yield proof
    needed = config is None or "pdf" in config.report.formats
    output = _OUTPUT.absolute() if config is None else config.output
    rest: list[tuple[str, Callable[[], Iterable[Proof]]]] = [
        (DEVICES, devices),
        (PDF, lambda: pdf(needed=needed)),
        (PDF, lambda: letters(config) if config is not None and needed else ()),
        (STORAGE, lambda: storage(output)),
        (PLUGINS, lambda: plugins(registry or load_registry())),
    ]
    for area, test in rest:
        yield from guarded(area, test, _REPORT)
    if path is not None:
        yield from _subject(config, registry, broken)


def _environment() -> Iterator[Proof]:
    # What reads the versions of packages is a package itself.
    from auditor.doctor.environment import environment

    yield from environment()


def _configuration(path: Path, held: list[tuple[AuditConfig, Registry]]) -> Iterator[Proof]:
    """Read the configuration, and put it into `held` with the plugins it names."""
    config, registry = load_config(path)
    held.append((config, registry))
    names = ", ".join(model.name for model in config.models)
    threats = ", ".join(
        f"{threat.norm} {' '.join(epsilon.text for epsilon in threat.epsilons)}"
        for threat in config.threats
    )
    yield Proof(CONFIGURATION, "ok", f"{path} is valid: {names}; {threats}")


def _subject(
    config: AuditConfig | None, registry: Registry | None, broken: bool
) -> Iterator[Proof]:
    """Data and models, as far as there is anything to try them with."""
    if config is None or registry is None:
        yield Proof("Data and models", "not tried", "The configuration has to be right first.")
    elif broken:
        yield Proof("Data and models", "not tried", "The environment has to be mended first.")
    else:
        from auditor.doctor.inputs import subject

        yield from subject(config, registry)
