"""`python -m kronos_pretrain CONFIG.toml a.b=c …`, or one of the commands beside it.

Torchrun starts the same line many times.
"""

from __future__ import annotations

import sys

from kronos_pretrain.cli import COMMANDS, app


def main() -> None:
    """Run the command line; without the name of a command, train."""
    words = sys.argv[1:]
    if words and words[0] not in COMMANDS and not words[0].startswith("-"):
        words = ["train", *words]
    app(words, prog_name="python -m kronos_pretrain")


if __name__ == "__main__":
    main()
