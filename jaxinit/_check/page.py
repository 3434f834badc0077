"""Writes a report as one HTML page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .. import _text
from .findings import Finding

_LISTED = 40  # paths that are listed of one finding

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #222; background: #fff }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem }
.counts span { display: inline-block; padding: .1rem .7rem; margin-right: .5rem; color: #fff;
  border-radius: 1rem; font-size: .9rem }
span.error { background: #c44e52 } span.warning { background: #b9622b }
span.note { background: #3f7d50 } span.fine { background: #3f7d50 }
.findings td { vertical-align: top; white-space: normal; overflow-wrap: anywhere;
  font-family: system-ui, sans-serif; font-size: .9rem }
.findings td.kind { white-space: nowrap; width: 1% }
.findings td.where { font-family: ui-monospace, monospace; font-size: .82rem; width: 24% }
@media (max-width: 40rem) {
  .findings td { display: block; border: 0 } .findings td.where { width: auto }
  .findings tr { display: block; border-bottom: 1px solid #eee; padding: .3rem 0 }
  tr.error { box-shadow: inset 4px 0 #c44e52 } tr.warning { box-shadow: inset 4px 0 #dd8452 }
}
.evidence, .remedy { color: #555; display: block }
img { width: 100%; max-width: 58rem; display: block; margin: .5rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .82rem; font-family: ui-monospace, monospace }
th, td { padding: .2rem .7rem; text-align: left; white-space: nowrap }
td { border-bottom: 1px solid #eee }
th { border-bottom: 2px solid #888; position: sticky; top: 0; background: #fff }
td.number, th.number { text-align: right }
tr.error td:first-child { box-shadow: inset 4px 0 #c44e52 }
tr.warning td:first-child { box-shadow: inset 4px 0 #dd8452 }
tr.note td:first-child { box-shadow: inset 4px 0 #55a868 }
""".strip()


class Content(NamedTuple):
    """What a page shows: ``table`` is in HTML, ``image`` a PNG file in base64, if there is one."""

    title: str
    counts: Mapping[str, int]
    findings: Sequence[Finding]
    notes: Sequence[str]
    table: str
    image: str | None


def page(report: Content) -> str:
    """The page; everything that comes from outside is escaped."""
    notes = "".join(f"<p>{_escaped(note)}</p>" for note in report.notes)
    title = _escaped(report.title)
    figure = "<p>There is no figure, as Matplotlib is not installed.</p>"
    if report.image:
        figure = f'<img alt="{title}" src="data:image/png;base64,{report.image}">'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>{_STYLE}</style></head>
<body><h1>{title}</h1>
<p class="counts">{_counts(report)}</p>
{_findings(report)}
<h2>Figure</h2>
{figure}
{notes}<h2>All rows</h2>
<div class="scroll">{report.table}</div></body></html>
"""


def _escaped(text: str) -> str:
    return html.escape(_text.visible(text))


def _counts(report: Content) -> str:
    if not report.counts:
        return '<span class="fine">no findings</span>'
    return "".join(
        f'<span class="{severity}">{count} {severity}{"s" * (count > 1)}</span>'
        for severity, count in report.counts.items()
    )


def _findings(report: Content) -> str:
    if not report.findings:
        return ""
    rows = "\n".join(_finding(f) for f in report.findings)
    return f"<h2>Findings</h2>\n<table class='findings'><tbody>\n{rows}\n</tbody></table>"


def _finding(f: Finding) -> str:
    where = _escaped(f.path)
    if f.also:
        listed = "<br>".join(_escaped(path) for path in f.also[:_LISTED])
        more = f"<br>and {len(f.also) - _LISTED} more" if len(f.also) > _LISTED else ""
        where += f"<details><summary>and {len(f.also)} more</summary>{listed}{more}</details>"
    evidence = f'<span class="evidence">{_escaped(f.evidence)}</span>' if f.evidence else ""
    return (
        f'<tr class="{f.severity}"><td class="kind">{f.severity}<br>{_escaped(f.kind)}</td>'
        f'<td class="where">{where}</td><td>{_escaped(f.message)}{evidence}'
        f'<span class="remedy">To mend it: {_escaped(f.remedy)}</span></td></tr>'
    )
