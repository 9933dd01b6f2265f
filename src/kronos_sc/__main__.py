"""`python -m kronos_sc`: demo, embed, doctor."""

from __future__ import annotations

from kronos_sc._cli import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
