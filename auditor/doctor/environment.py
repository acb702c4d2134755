"""Python and the packages: versions that are supported, and packages that import together."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from auditor.doctor.proof import Proof
from auditor.doctor.trial import Tried, run_trial
from auditor.registry.plugin_sources import DISTRIBUTION, auditor_version

AREA = "Environment"
#: A cold disk, or a network one, takes minutes for torch.
_TIMEOUT = 600.0
#: Modules that are not called as their package is.
_MODULES = {"pillow": "PIL"}
#: What `auditor.doctor.pdf` proves, native libraries and all.
_PROVEN_ELSEWHERE = ("weasyprint",)
#: Compiled for each other, so that mending one alone mends neither.
_PAIR = ("torch", "torchvision")


def environment() -> Iterator[Proof]:
    """Python, the versions of the packages, and importing them."""
    yield _python()
    requirements = [
        requirement
        for requirement in map(Requirement, metadata.requires(DISTRIBUTION) or ())
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]
    missing = []
    for requirement in requirements:
        proof = _version(requirement)
        if proof is not None:
            yield proof
        if proof is not None and proof.outcome == "failed":
            missing.append(requirement.name)
    there = [requirement for requirement in requirements if requirement.name not in missing]
    yield from _imports(there)


def _python() -> Proof:
    """The running Python against what the package asks for."""
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    version = platform.python_version()
    what = f"auditor {auditor_version()} on Python {version}, {platform.platform(terse=True)}"
    if wanted in (None, "") or SpecifierSet(wanted).contains(version, prereleases=True):
        return Proof(AREA, "ok", what)
    return Proof(
        AREA,
        "failed",
        f"Python {version} is not supported.",
        expected=f"Python {wanted}",
        remedy="make a virtual environment with a Python of that range, and install auditor there",
    )


def _version(requirement: Requirement) -> Proof | None:
    """What is wrong with the installed version of a package, if anything is."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Proof(
            AREA,
            "failed",
            f"The package {requirement.name} is not installed.",
            expected=str(requirement),
            remedy=f"pip install '{requirement}'",
        )
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return Proof(
        AREA,
        "warning",
        f"{requirement.name} {version} is not among the versions that are supported.",
        expected=str(requirement),
        remedy=f"pip install --upgrade '{requirement}'",
    )


def _imports(requirements: Iterable[Requirement]) -> Iterator[Proof]:
    """Whether all of them can be imported into one process."""
    by_module = {
        _module_of(requirement.name): requirement
        for requirement in requirements
        if requirement.name not in _PROVEN_ELSEWHERE
    }
    tried = list(run_trial("trial_imports.py", *by_module, timeout=_TIMEOUT))
    for one in tried:
        if one.error:
            yield _broken(one, by_module.get(one.name))
    good = {one.name: str(one.said.get("version", "")) for one in tried if not one.error}
    if good.keys() >= set(_PAIR):
        versions = " and ".join(f"{name} {good[name]}" for name in _PAIR)
        yield Proof(AREA, "ok", f"{versions} work together")
    others = [name for name in good if name not in _PAIR]
    if others:
        yield Proof(AREA, "ok", f"{len(others)} other packages import")


def _module_of(package: str) -> str:
    return _MODULES.get(package, package.replace("-", "_"))


def _broken(tried: Tried, requirement: Requirement | None) -> Proof:
    """A package that is installed and cannot be imported."""
    name = requirement.name if requirement else "what auditor needs"
    error = " ".join(tried.error.split())
    again = f"'{requirement}'" if requirement else f"'{DISTRIBUTION}'"
    remedy = f"install it again: pip install --force-reinstall --no-deps {again}"
    if name in _PAIR:
        remedy = (
            "install the two of one release together: pip install --force-reinstall torch "
            "torchvision; pytorch.org says which builds fit the devices of this machine"
        )
    return Proof(
        AREA,
        "failed",
        f"Importing {name} fails: {error}",
        expected="a package that was installed whole, for this machine and this Python",
        remedy=remedy,
    )
