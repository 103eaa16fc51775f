"""Bins of milliseconds that double in width, and bars of text."""

from __future__ import annotations

from collections.abc import Sequence

Bins = list[tuple[str, int]]

EDGES_MS = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
BAR = "█"
WIDTH = 40


def bins(values_ms: Sequence[float]) -> Bins:
    """Return how many values are up to each edge, from the lowest bin to the last that is not empty."""
    counts = [0] * (len(EDGES_MS) + 1)
    for value in values_ms:
        counts[sum(value > edge for edge in EDGES_MS)] += 1
    labels = [*(f"≤ {edge:g} ms" for edge in EDGES_MS), f"> {EDGES_MS[-1]} ms"]
    last = max(number for number, count in enumerate(counts) if count)
    return list(zip(labels, counts, strict=True))[: last + 1]


def bars(rows: Sequence[tuple[str, float]], texts: Sequence[str]) -> list[str]:
    """Return a line a row: its label, a bar in proportion to its value, and its text."""
    most = max((value for _, value in rows), default=0) or 1
    wide = max((len(label) for label, _ in rows), default=0)
    lines = []
    for (label, value), text in zip(rows, texts, strict=True):
        bar = BAR * max(round(WIDTH * value / most), 1 if value else 0)
        lines.append(f"{label:<{wide}} {bar:<{WIDTH}} {text}".rstrip())
    return lines
