"""The command line: one file per command; nothing heavy is imported before a command runs."""

from __future__ import annotations

import typer

from kronos_sc._cli._demo import demo
from kronos_sc._cli._doctor import doctor
from kronos_sc._cli._embed import embed
from kronos_sc._cli._errors import reported

app = typer.Typer(
    name="kronos-sc",
    help="Foundation models of multiplexed tissue images: pixels of a SpatialData in, an embedding in AnnData out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, embed, doctor):
    app.command()(reported(command))

__all__ = ["app"]
