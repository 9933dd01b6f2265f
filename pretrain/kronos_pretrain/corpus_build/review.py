"""The page for manual review: every marker of every image with its verdict, and the manifest lines that exclude it."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from kronos_pretrain.corpus_build.index import Records, replace
from kronos_pretrain.corpus_build.manifest import VERDICTS
from kronos_pretrain.corpus_build.pictures import OVERVIEW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PAGE = "review.html"
CARDS = 600  # per page: more make a browser slow
TINTS = (("outside", "blue", "in no patch"), ("saturated", "red", "saturated"), ("blurred", "yellow", "out of focus"))


def write_review(out: Path, records: Records, folders: Mapping[str, str]) -> None:
    """Write `review.html`, and `review-2.html`, … where there are many markers.

    Parameters
    ----------
    out
        Folder of the corpus.
    records
        By name of the image.
    folders
        Of each image, within `images`.
    """
    template = files("kronos_pretrain.corpus_build").joinpath(PAGE).read_text(encoding="utf-8")
    counts = Counter(marker["quality"]["verdict"] for record in records.values() for marker in record["markers"])
    pages = list(_pages(records))
    for number, names in enumerate(pages):
        parts = {
            "VERDICTS": "".join(_chip(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]),
            "PAGES": _links(number, len(pages)),
            "IMAGES": "\n".join(_image(records[name], out / "images" / folders[name]) for name in names),
            "SUMMARY": f"{len(records)} images · {sum(counts.values())} channels · {sum(r['origins'] for r in records.values()):,} patches",
        }
        text = template
        for key, part in parts.items():
            text = text.replace(f"<!--{key}-->", part)
        replace(out / _file(number), text)
    for old in out.glob("review-*.html"):
        if old.name not in {_file(number) for number in range(len(pages))}:
            old.unlink()


def _pages(records: Records) -> Iterator[list[str]]:
    """Yield names of images, as many as fit on one page."""
    names: list[str] = []
    cards = 0
    for name, record in records.items():
        if names and cards + len(record["markers"]) > CARDS:
            yield names
            names, cards = [], 0
        names.append(name)
        cards += len(record["markers"])
    yield names


def _file(number: int) -> str:
    return PAGE if number == 0 else f"review-{number + 1}.html"


def _links(current: int, count: int) -> str:
    if count == 1:
        return ""
    each = (f"<b>{n + 1}</b>" if n == current else f'<a href="{_file(n)}">{n + 1}</a>' for n in range(count))
    return f"<span class='pages'>page {' '.join(each)}</span>"


def _chip(verdict: str, count: int) -> str:
    return (
        f"<button class='chip {verdict}' data-verdict='{verdict}' aria-pressed='true'>{verdict} <b>{count}</b></button>"
    )


def _image(record: Mapping[str, Any], folder: Path) -> str:
    height, width = record["shape"]
    shares = " · ".join(
        f"{record[key]:.0%} {words}"
        for key, words in (("tissue", "tissue"), ("saturated", "saturated"), ("blurred", "out of focus"))
    )
    excluded = "".join(
        f"<li><b>{escape(name)}</b> {escape(reason)}</li>" for name, reason in record["excluded"].items()
    )
    unmatched = ", ".join(escape(name) for name in record["unmatched"])
    return f"""<section data-name="{escape(record["name"])}">
<header><h2>{escape(record["name"])}</h2><span class="subset">{escape(record["subset"])}</span>
<p>{height:,} × {width:,} px · {record["dtype"]} · 1 is {record["scale"]:g} · {record["origins"]:,} patches · {shares}</p></header>
<div class="cards"><figure class="overview"><img src="{_data(folder / OVERVIEW)}" alt=""><figcaption><b>patches</b>
{_tints(record)}</figcaption></figure>
{"".join(_card(record, marker, folder) for marker in record["markers"])}</div>
{f"<ul class='excluded'><li class='lead'>excluded by the manifest:</li>{excluded}</ul>" if excluded else ""}
{f"<p class='unmatched'>without a marker: {unmatched}</p>" if unmatched else ""}</section>"""


def _tints(record: Mapping[str, Any]) -> str:
    """Return what the colours of the overview mean, as far as it has any."""
    found = ", ".join(f'<i class="{colour}">{colour}</i>: {words}' for key, colour, words in TINTS if record[key] > 0)
    return found or "all of it"


def _card(record: Mapping[str, Any], marker: Mapping[str, Any], folder: Path) -> str:
    quality, used = marker["quality"], marker["plane"] is not None
    title = escape(marker["marker"]) + (
        f" <small>{escape(marker['channel'])}</small>" if marker["channel"] != marker["marker"] else ""
    )
    rows = (
        ("range", f"{quality['low']:.4g} – {quality['high']:.4g}"),
        ("signal", _number(quality["signal"], ".1f")),
        ("zero", f"{quality['zero']:.1%}"),
        ("full scale", f"{quality['saturated']:.2%}"),
        ("detail", _number(quality["focus"], ".3f")),
    )
    table = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows)
    low, high = marker["stretched"]
    state = "" if used else "<em>left out</em>"
    names = escape(f"{marker['marker']} {marker['channel']} {record['name']} {record['subset']}".lower())
    return f"""<figure class="card" data-verdict="{quality["verdict"]}" data-text="{names}" data-marker="{escape(marker["channel"])}">
<img src="{_data(folder / marker["picture"])}" alt="{escape(marker["channel"])}" loading="lazy">
<figcaption><small class="stretch" title="raw values that are black and white in the picture">stretched {low:.4g} – {high:.4g}</small>
<h3>{title}</h3><span class="pill {quality["verdict"]}">{quality["verdict"]}</span>{state}
<p class="reason">{escape(quality["reason"])}</p><dl>{table}</dl><button class="exclude">exclude</button></figcaption></figure>"""


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _data(path: Path) -> str:
    return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
