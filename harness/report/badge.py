"""A badge: one line about a run as a small SVG, for a README."""

from __future__ import annotations

from pathlib import Path

from harness.ledger import Ledger, Verdict

_GOOD, _BAD, _LABEL = "#1a7f37", "#c01c28", "#414852"
_WIDE, _NARROW = 7.6, 4.2  # pixels of a character at 11 px: W and m, i and the like
_PAD = 12

_TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{label}: {text}">
<title>{label}: {text}</title>
<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>
<g clip-path="url(#r)"><rect width="{left}" height="20" fill="{grey}"/>\
<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{label_x}" y="14" textLength="{label_length}">{label}</text>
<text x="{text_x}" y="14" textLength="{text_length}">{text}</text>
</g>
</svg>
"""


def write(ledger: Ledger, path: Path) -> None:
    """Write ``badge.svg``."""
    path.write_text(svg(ledger), encoding="utf-8")


def words(ledger: Ledger) -> str:
    """What the badge says. A known deviation is no pass, so it is told beside them."""
    counts = ledger.counts
    bad = sum(count for verdict, count in counts.items() if not verdict.good)
    if bad:
        return f"{bad} not as they must be" if bad > 1 else "1 not as it must be"
    known = counts[Verdict.EXPECTED_FAIL]
    deviations = f", {known} known deviation{'s' if known != 1 else ''}" if known else ""
    return f"{counts[Verdict.PASS]} pass{deviations}"


def svg(ledger: Ledger) -> str:
    """The badge."""
    label, text = "svmconf", words(ledger)
    label_length, text_length = _length(label), _length(text)
    left, right = label_length + _PAD, text_length + _PAD
    return _TEMPLATE.format(
        label=label, text=text, grey=_LABEL, colour=_GOOD if ledger.good else _BAD,
        width=left + right, left=left, right=right, label_length=label_length, text_length=text_length,
        label_x=left / 2, text_x=left + right / 2,
    )  # fmt: skip


def _length(text: str) -> int:
    return round(sum(_NARROW if c in " ,.ijl1tf" else _WIDE for c in text))
