"""Errors as people read them: one message, no traceback."""

from __future__ import annotations

import warnings
from functools import wraps
from typing import TYPE_CHECKING, Annotated

import typer

from kronos_sc._cli._words import in_options

if TYPE_CHECKING:
    from collections.abc import Callable

# What the package raises for a user to act on; anything else is a bug and shows its traceback.
EXPECTED = (ValueError, KeyError, TypeError, OSError, ImportError)

Debug = Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")]


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that prints expected errors to standard error and ends with 1; `--debug` lets them through."""

    @wraps(command)
    def run(**arguments: object) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                command(**arguments)
        except EXPECTED as error:
            if arguments.get("debug"):
                raise
            typer.echo(f"error: {in_options(message(error))}", err=True)
            raise typer.Exit(1) from None

    return run


def _warn(text: Warning | str, *location: object) -> None:
    """Print a warning without the line of code that it points at: there is none of the user's."""
    typer.echo(f"warning: {in_options(str(text))}", err=True)


def message(error: BaseException) -> str:
    """Return the text of an error; a KeyError would put quotes around it, and some errors have none."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error) or type(error).__name__
