"""The libraries that set the PDF report, and the fonts it is set in."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.config import AuditConfig
from auditor.doctor.proof import Proof
from auditor.doctor.trial import Tried, run_trial
from auditor.language import letters_of
from auditor.report.letters import in_english, named, remedy, uncommon

AREA = "PDF"
_TIMEOUT = 300.0
#: Of those that report.css asks for, the ones that look as intended on paper.
_FONTS = ("Helvetica", "Liberation", "Arial", "DejaVu")
_INSTALL_FONTS = (
    "install a font of the reports: on Debian or Ubuntu `apt install fonts-liberation`, on Fedora "
    "`dnf install liberation-sans-fonts`, on Alpine `apk add font-liberation`; macOS and Windows "
    "bring theirs"
)


def pdf(*, needed: bool) -> Iterator[Proof]:
    """One page is set and read back.

    Args:
        needed: whether the audit writes a PDF; else what is missing is a warning.
    """
    for tried in run_trial("trial_pdf.py", timeout=_TIMEOUT):
        if tried.error:
            yield _failed(tried, needed)
        else:
            yield from _seen(tried)


def letters(config: AuditConfig) -> Iterator[Proof]:
    """A warning where no installed font has the letters of what the configuration names."""
    texts = [config.title, *config.report.reviewers]
    texts += [text for model in config.models for text in (model.name, model.factory or "")]
    texts += [threat.rationale for threat in config.threats]
    texts += [attack.label for attack in config.attacks]
    texts += [check.label for check in config.checks]
    words = letters_of(config.report.language)
    asked = uncommon([*texts, "".join(words)])
    if not asked:
        return
    for tried in run_trial("trial_pdf.py", f"--letters={asked!a}", timeout=_TIMEOUT):
        missing = frozenset(tried.said.get("lacking") or ())
        if missing & words:
            yield Proof(
                AREA,
                "warning",
                in_english(config.report.language, missing & words),
                where="language in [report]",
                expected="a font with the letters of that language",
                remedy=f"install a font: {remedy(missing & words)}",
            )
        if lacking := missing - words:
            yield Proof(
                AREA,
                "warning",
                f"No font that is installed here has these letters: {named(lacking)}. report.pdf "
                "will have them written out.",
                where="titles and names in audit.toml",
                expected="a font with all letters of the report",
                remedy=f"install a font: {remedy(lacking)}",
            )


def _failed(tried: Tried, needed: bool) -> Proof:
    remedy = str(tried.said.get("remedy", "install it again: pip install -U weasyprint pypdf"))
    if tried.killed:  # as Pango does where there is no font at all
        remedy = f"{_INSTALL_FONTS}; if there are fonts, install Pango and HarfBuzz again"
    return Proof(
        AREA,
        "failed" if needed else "warning",
        f"No page can be set: {' '.join(tried.error.split())}",
        expected="WeasyPrint with Pango, HarfBuzz and a font; HTML reports need none of them",
        remedy=remedy,
    )


def _seen(tried: Tried) -> Iterator[Proof]:
    fonts = ", ".join(dict.fromkeys(tried.said["fonts"]))
    if not tried.said["readable"]:
        yield Proof(
            AREA,
            "warning",
            f"A page was set in {fonts or 'no font'}, and its text does not come back from it.",
            expected="a font with letters, digits and mathematical signs",
            remedy=_INSTALL_FONTS,
        )
    elif not any(name in fonts for name in _FONTS):
        yield Proof(
            AREA,
            "warning",
            f"A page was set in {fonts}, since none of the fonts of the reports is installed.",
            expected=f"one of: {', '.join(_FONTS)}",
            remedy=_INSTALL_FONTS,
        )
    else:
        yield Proof(AREA, "ok", f"a page was set in {fonts} and read back")
    if tried.said["complaints"]:
        yield Proof(
            AREA,
            "warning",
            str(tried.said["complaints"][0]),
            expected="a page that is set without complaints",
            remedy="on Debian or Ubuntu `apt install libharfbuzz-subset0`, on Alpine `apk add "
            "harfbuzz-subset`; elsewhere it comes with HarfBuzz",
        )
