"""Write reference/pretrain-settings.md from the dataclasses of the trainer: `python docs/make_settings.py`.

A test compares the two.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

from kronos_pretrain.config.limits import CHOICES, RANGES
from kronos_pretrain.config.schema import Config, Model
from kronos_sc.models import ViTConfig

PAGE = Path(__file__).parent / "reference/pretrain-settings.md"
HEAD = """# Settings of a training run

<!-- Written by docs/make_settings.py from kronos_pretrain/config/schema.py; change it there. -->

A run is described by one TOML file, a section per heading below, and changed on the command line by \
`section.key=value`:

```bash
python -m kronos_pretrain debug run.folder=runs/try optim.batch=16 "data.markers=[3, 5]"
```

A name stands for a file that comes with the package (`vits16`, `vits16_cell`, `vitti16_cpu`, `debug`), a path for \
your own.
What a file does not write has the default, which is that of the paper, or DINOv2's where the paper is silent.
An unknown key is refused with the nearest one, a value outside its range with the range, and settings that \
contradict each other
all at once, before anything is read.

Settings marked ↻ may differ when a run is resumed. The others decide what is computed: a change is refused, naming \
the key, unless
`--override` is given.
"""


def settings() -> dict[str, object]:
    """Return the default of every setting by its key."""
    defaults: dict[str, object] = {}

    def walk(section: object, prefix: str) -> None:
        for field in fields(section):
            value = getattr(section, field.name)
            if is_dataclass(value):
                walk(value, f"{prefix}{field.name}.")
            else:
                defaults[prefix + field.name] = value

    walk(Config(), "")
    return defaults


def render() -> str:
    """Return the page."""
    return HEAD + "".join(_section(getattr(Config(), field.name), field.name) for field in fields(Config))


def _section(section: object, name: str) -> str:
    intro, _, rest = inspect.getdoc(type(section)).partition("\n\nParameters\n----------\n")
    if type(section) is Model:  # most of its fields are those of the model, and described there
        rest = inspect.getdoc(ViTConfig).partition("\n\nParameters\n----------\n")[2] + "\n" + rest
    rows = [
        row
        for keys, text in _described(rest)
        for row in _rows(section, name, keys, text)
        if not is_dataclass(getattr(section, keys[0]))
    ]
    table = "| setting | default | allowed | |\n|---|---|---|---|\n" + "".join(rows)
    nested = "".join(
        _section(getattr(section, field.name), f"{name}.{field.name}")
        for field in fields(section)
        if is_dataclass(getattr(section, field.name))
    )
    return f"\n## `[{name}]`\n\n{_markdown(intro)}\n\n{table}{nested}"


def _described(text: str) -> list[tuple[list[str], str]]:
    """Return (names, description) of a numpydoc section without types."""
    entries = re.findall(r"^(\w[\w, ]*)\n((?:    .*\n?)+)", text, re.M)
    return [(names.split(", "), " ".join(body.split())) for names, body in entries]


def _rows(section: object, name: str, keys: list[str], text: str) -> list[str]:
    """Return one row for settings that are described together; their defaults and ranges stand in the same order."""
    free = {field.name: field.metadata.get("free") for field in fields(section)}
    named = "<br>".join(f"`{name}.{key}`{' ↻' if free[key] else ''}" for key in keys)
    defaults = "<br>".join(_value(getattr(section, key)) for key in keys)
    ranges = [_allowed(f"{name}.{key}", getattr(section, key)) for key in keys]
    if len(set(ranges)) == 1:  # one range for all is written once
        ranges = ranges[:1]
    allowed = "<br>".join(ranges)
    return [f"| {named} | {defaults} | {allowed} | {_markdown(text)} |\n"]


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{item:.4g}' for item in value)}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value!r}`"


def _allowed(key: str, default: object) -> str:
    if key in CHOICES:
        return ", ".join(f"`{choice}`" for choice in CHOICES[key])
    if isinstance(default, bool):
        return "`true`, `false`"
    if key not in RANGES:
        return "text"
    pair = "both " if isinstance(default, tuple) else ""
    return f"{pair}{RANGES[key]}".replace(f"{2**63:g}", "2⁶³")


def _markdown(text: str) -> str:
    return re.sub(r":(\w+):`([^`]+)`", r"{\1}`\2`", " ".join(text.split())).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
