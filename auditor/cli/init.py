"""`auditor init`: a commented audit.toml for a model and data that it has looked at."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli.console import say
from auditor.errors import UsageError
from auditor.storage import StorageError, write_atomically

if TYPE_CHECKING:
    from auditor.draft.named import Named
    from auditor.draft.survey import Seen


def init(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.PY:CALLABLE",
            help="What returns the model; or a TorchScript, .pt2 or .onnx file, a folder of "
            "transformers, torchvision:NAME or timm:NAME.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Its weights: a .safetensors file, or a checkpoint."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="PATH", help="Images and labels, such as test.npz.")
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What reads them; by default the ending decides."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A further key of model or data, such as model.kwargs.width=32.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("audit.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite it if it exists.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing, on a terminal either.")] = False,
    no_look: Annotated[
        bool, typer.Option("--no-look", help="Load nothing; write a template to complete.")
    ] = False,
) -> None:
    """Write a commented audit.toml, asking for what is not given when run on a terminal.

    Model and data are loaded as an audit loads them. Where that fails, nothing is written.
    """
    from auditor.draft.named import from_options

    _check_output(output, force)
    overrides = set_ or []
    if not (yes or no_look) and sys.stdin.isatty():
        model, weights, data = _asked(model, weights, data, overrides)
    named = from_options(
        output, model=model, weights=weights, data=data, adapter=adapter, overrides=overrides
    )
    seen = None
    if not no_look:
        _check_complete(named)
        seen = _look(named)
    _write(output, named, seen, force)
    _say_what_next(output, named, seen)


def _check_output(output: Path, force: bool) -> None:
    if os.path.lexists(output) and (output.is_dir() or not force):
        raise UsageError(
            "This is a directory." if output.is_dir() else "The file exists, and is left as it is.",
            where=str(output),
            expected="a file that does not exist yet",
            remedy="name another with --output"
            + ("" if output.is_dir() else ", or overwrite it with --force"),
        )
    if not output.absolute().parent.is_dir():
        raise UsageError(
            "There is no directory to write the file into.",
            where=str(output),
            expected="an existing directory",
            remedy=f"mkdir -p {output.parent}",
        )


def _asked(
    model: str | None, weights: str | None, data: str | None, overrides: list[str]
) -> tuple[str | None, str | None, str | None]:
    """Ask for what no option says."""
    said = {text.partition("=")[0].strip() for text in overrides}
    if model is None and not said & {"model.factory", "model.loader"}:
        said_how = "Model (file.py:callable, a TorchScript, .pt2 or .onnx file, torchvision:NAME)"
        model = _ask(said_how, lambda text: text.rpartition(":")[0] or text)
        if weights is None and "model.weights" not in said:
            weights = _ask(
                "Weights, a .safetensors file or a checkpoint (empty: none)", str, optional=True
            )
    if data is None and not any(key.startswith("data.") for key in said):
        data = _ask("Images and labels, such as test.npz", str)
    return model, weights, data


def _ask(question: str, path_of: Callable[[str], str], *, optional: bool = False) -> str | None:
    """Ask until the answer names something that exists."""
    while True:
        text = str(typer.prompt(question, default="" if optional else None, show_default=False))
        path = path_of(text.strip())
        if optional and not path:
            return None
        # A module is found when it is imported.
        if path and (os.path.exists(path) or (":" in text and not path.endswith(".py"))):
            return text.strip()
        say(f"There is no {path or text!r} here.")


def _check_complete(named: Named) -> None:
    from auditor.draft.model_source import LIBRARIES

    missing = [
        option for option, table in (("--model", named.model), ("--data", named.data)) if not table
    ]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} are needed to look at model and data."
            if len(missing) > 1
            else f"{missing[0]} is needed to look at model and data.",
            where="the command line",
            expected="auditor init --model model.py:make --data test.npz",
            remedy="give them, run it on a terminal to be asked, or write a template with "
            "--no-look",
        )
    loader = named.model.get("loader")
    if loader in LIBRARIES and not {"weights", "checkpoint"} & named.model.keys():
        raise UsageError(
            f"{named.model.get('architecture')} of {loader} is an architecture without weights.",
            where="the command line",
            expected="--weights with a .safetensors file or a checkpoint",
            remedy=f"an audit downloads nothing: load the model with {loader} once, and save "
            "model.state_dict() with safetensors.torch.save_file",
        )


def _look(named: Named) -> Seen:
    config, registry = named.resolve()
    from auditor.draft.survey import survey

    return survey(config, registry)


def _write(output: Path, named: Named, seen: Seen | None, force: bool) -> None:
    from auditor.draft.text import template

    text = template(named, seen)
    _check_output(output, force)  # looking takes its time
    try:
        write_atomically(output, text.encode("utf-8"))
    except StorageError as error:
        raise UsageError(
            f"The file cannot be written: {error.what}",
            where=str(output),
            expected="a directory that can be written",
            remedy="name another place with --output",
        ) from error


def _say_what_next(output: Path, named: Named, seen: Seen | None) -> None:
    from auditor.draft.text import forecast, images_to_draw

    if seen is None:
        say(f"Wrote {output}, a template. Complete it, then: auditor validate {output}")
        return
    channels, height, width = seen.shape
    low, high = seen.clean.ci95
    say(
        f"model: {seen.parameters:,} parameters, {seen.classes} classes, returns {seen.outputs}; "
        f"on {seen.device}\n"
        f"data:  {seen.images} images, {channels} × {height} × {width} (channels, height, width)\n"
        f"clean accuracy on {seen.clean.total}: {seen.clean.accuracy:.1%} ({low:.1%} to {high:.1%})"
    )
    for note in seen.notes:
        say(f"note: {note}")
    for finding in seen.findings:
        if finding.severity != "info":
            say(f"warning: {finding.title} ({finding.code})\n  remedy: {finding.remedy}")
    if seen.stop:
        say(f"warning: an audit would stop here: {seen.stop}")
    warned = forecast(seen, images_to_draw(named.data, seen))
    if warned is not None:
        say(f"warning: {warned.what}\n  remedy: {warned.remedy}")
    say(f"Wrote {output}. Read it, then: auditor run {output}")
