"""The pieces of HTML that the report is put together from."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from r1lit.report.style import STYLE

Figure = Mapping[str, Any]


def digits_of(value: float) -> int:
    """Decimals that a figure is shown with."""
    return 3 if abs(value) < 10 else 1


def interval_text(figure: Figure | None) -> str:
    """A figure with its interval as plain text; a dash where there is none."""
    if figure is None or figure.get("value") is None:
        return "-"
    digits = digits_of(figure["value"])
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def figure_cell(figure: Figure | None, best: bool = False) -> str:
    """A figure above its interval; n and the number of completions show under the pointer."""
    if figure is None or figure.get("value") is None:
        return '<td><span class="soft">–</span></td>'
    digits = digits_of(figure["value"])
    counts = f"{figure['n']} prompts"
    if figure.get("samples") is not None:
        counts += f", {figure['samples']:,} completions"
    mark = ' class="best"' if best else ""
    return (
        f'<td title="{counts}"><span{mark}>{figure["value"]:.{digits}f}</span>'
        f'<span class="bounds">{figure["low"]:.{digits}f}–{figure["high"]:.{digits}f}</span></td>'
    )


def table(caption: str, heads: Sequence[str], rows: Sequence[str], css: str = "figures") -> str:
    """A table that scrolls by itself on a narrow page.

    Args:
        caption: Above it; HTML.
        heads: Names of the columns; plain text.
        rows: HTML, from :func:`row`.
        css: Its class.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    name = escape(_plain(caption))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table class="{css}">'
        f"<caption><span>{caption}</span></caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(name: str, cells: Sequence[str]) -> str:
    """A table's row; the name is HTML, and the cells are whole ``td`` elements."""
    return f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>'


def cell(text: str, title: str = "") -> str:
    """A cell of plain text."""
    hint = f' title="{escape(title)}"' if title else ""
    return f"<td{hint}>{escape(text)}</td>"


def chart(heading: str, unit: str, names: Sequence[str], svg: str, wide: bool = False) -> str:
    """A chart under its heading and legend."""
    keys = "".join(f'<span class="key s{i}">{escape(name)}</span>' for i, name in enumerate(names, start=1))
    css = ' class="wide"' if wide else ""
    legend = f"<br>{keys}" if keys else ""
    return f"<figure{css}><figcaption><b>{escape(heading)}</b>, {escape(unit)}{legend}</figcaption>{svg}</figure>"


def section(identifier: str, heading: str, body: str) -> str:
    """A section that the table of contents can name."""
    return f'<section id="{identifier}"><h2>{escape(heading)}</h2>{body}</section>'


def page(title: str, header: str, sections: Sequence[tuple[str, str, str]], footer: str) -> str:
    """The whole page, which needs nothing but itself.

    Args:
        title: Of the browser's window.
        header: HTML above the table of contents.
        sections: Identifier, heading and HTML of each.
        footer: HTML.
    """
    links = " ".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in sections)
    body = "".join(section(*parts) for parts in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body><main>'
        f'<header>{header}</header><nav aria-label="Contents">{links}</nav>{body}<footer>{footer}</footer>'
        "</main></body></html>\n"
    )


def _plain(text: str) -> str:
    """A text without its tags."""
    return "".join(part.partition(">")[2] if i else part for i, part in enumerate(text.split("<")))
