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
    patches = sum(record["origins"] for record in records.values())
    summary = f"{len(records)} images · {sum(counts.values())} channels · {patches:,} patches"
    pages = list(_pages(records))
    for number, names in enumerate(pages):
        parts = {
            "VERDICTS": "".join(_chip(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]),
            "PAGES": _links(number, len(pages)),
            "IMAGES": "\n".join(_image(records[name], out / "images" / folders[name]) for name in names),
            "SUMMARY": summary,
        }
        text = template
        for key, part in parts.items():
            text = text.replace(f"<!--{key}-->", part)
        replace(out / _file(number), text)
    # an earlier build may have had more pages
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
            names = []
            cards = 0
        names.append(name)
        cards += len(record["markers"])
    yield names


def _file(number: int) -> str:
    return PAGE if number == 0 else f"review-{number + 1}.html"


def _links(current: int, count: int) -> str:
    if count == 1:
        return ""
    links = [f'<a href="{_file(number)}">{number + 1}</a>' for number in range(count)]
    links[current] = f"<b>{current + 1}</b>"
    return f"<span class='pages'>page {' '.join(links)}</span>"


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
    scale = f"1 is {record['scale']:g}"
    facts = f"{height:,} × {width:,} px · {record['dtype']} · {scale} · {record['origins']:,} patches · {shares}"
    excluded = "".join(
        f"<li><b>{escape(name)}</b> {escape(reason)}</li>" for name, reason in record["excluded"].items()
    )
    if excluded:
        excluded = f"<ul class='excluded'><li class='lead'>excluded by the manifest:</li>{excluded}</ul>"
    unmatched = ", ".join(escape(name) for name in record["unmatched"])
    if unmatched:
        unmatched = f"<p class='unmatched'>without a marker: {unmatched}</p>"
    return f"""<section data-name="{escape(record["name"])}">
<header><h2>{escape(record["name"])}</h2><span class="subset">{escape(record["subset"])}</span>
<p>{facts}</p></header>
<div class="cards"><figure class="overview"><img src="{_data(folder / OVERVIEW)}" alt=""><figcaption><b>patches</b>
{_tints(record)}</figcaption></figure>
{"".join(_card(record, marker, folder) for marker in record["markers"])}</div>
{excluded}
{unmatched}</section>"""


def _tints(record: Mapping[str, Any]) -> str:
    """Return what the colours of the overview mean, as far as it has any."""
    legend = ", ".join(f'<i class="{color}">{color}</i>: {words}' for key, color, words in TINTS if record[key] > 0)
    return legend or "all of it"


def _card(record: Mapping[str, Any], marker: Mapping[str, Any], folder: Path) -> str:
    quality = marker["quality"]
    verdict = quality["verdict"]
    channel = escape(marker["channel"])
    title = escape(marker["marker"])
    if marker["channel"] != marker["marker"]:
        title += f" <small>{channel}</small>"
    rows = (
        ("range", f"{quality['low']:.4g} – {quality['high']:.4g}"),
        ("signal", _number(quality["signal"], ".1f")),
        ("zero", f"{quality['zero']:.1%}"),
        ("full scale", f"{quality['saturated']:.2%}"),
        ("detail", _number(quality["focus"], ".3f")),
    )
    table = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    low, high = marker["stretched"]
    state = "<em>left out</em>" if marker["plane"] is None else ""
    text = escape(f"{marker['marker']} {marker['channel']} {record['name']} {record['subset']}".lower())
    reason = escape(quality["reason"])
    hint = "raw values that are black and white in the picture"
    return f"""<figure class="card" data-verdict="{verdict}" data-text="{text}" data-marker="{channel}">
<img src="{_data(folder / marker["picture"])}" alt="{channel}" loading="lazy">
<figcaption><small class="stretch" title="{hint}">stretched {low:.4g} – {high:.4g}</small>
<h3>{title}</h3><span class="pill {verdict}">{verdict}</span>{state}
<p class="reason">{reason}</p><dl>{table}</dl><button class="exclude">exclude</button></figcaption></figure>"""


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _data(path: Path) -> str:
    return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}"
