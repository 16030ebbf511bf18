"""Small charts as SVG: lines over updates and intervals side by side. Colours are the page's (CSS classes s1, s2)."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from r1lit.callbacks.evolution import running_mean

WIDTH, HEIGHT = 360, 232
WIDE = 560
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 34
_MOST_DOTS = 120
_WINDOW = 9


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, both within."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A number as an axis or a tooltip shows it."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


class _Frame:
    """Axes and grid; maps values to places."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: int = HEIGHT) -> None:
        self.x, self.y, self.height = x, y, height
        self.parts: list[str] = []

    def px(self, value: float) -> float:
        low, high = self.x
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / ((high - low) or 1), 2)

    def py(self, value: float) -> float:
        low, high = self.y
        return round(self.height - BOTTOM - (self.height - TOP - BOTTOM) * (value - low) / ((high - low) or 1), 2)

    def axes(self, x_label: str) -> None:
        bottom = self.height - BOTTOM
        for tick in ticks(*self.y):
            y = self.py(tick)
            self.parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
            self.text("tick", LEFT - 7, y + 3.5, "end", number(tick))
        for tick in ticks(*self.x):
            x = self.px(tick)
            self.parts.append(f'<line class="axis" x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 4}"/>')
            self.text("tick", x, bottom + 16, "middle", number(tick))
        self.parts.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}"/>')
        self.text("label", (LEFT + WIDTH - RIGHT) / 2, self.height - 3, "middle", x_label)

    def text(self, css: str, x: float, y: float, anchor: str, words: str) -> None:
        self.parts.append(f'<text class="{css}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>')

    def svg(self, description: str, width: int = WIDTH) -> str:
        return (
            f'<svg viewBox="0 0 {width} {self.height}" role="img" aria-label="{escape(description)}">'
            + "".join(self.parts)
            + "</svg>"
        )


def line_chart(
    series: Mapping[str, Sequence[tuple[float, float]]], x_label: str = "policy updates", mark: float | None = None
) -> str:
    """Lines with a running mean, and each point as a dot that names itself under the pointer.

    Args:
        series: Points by the name in the legend, which the caller draws.
        x_label: Below the axis.
        mark: Where to draw a vertical line.
    """
    points = [point for line in series.values() for point in line if math.isfinite(point[1])]
    if not points:
        return ""
    xs, ys = zip(*points, strict=True)
    frame = _Frame((min(xs), max(xs)), _range(ys))
    frame.axes(x_label)
    if mark is not None:
        x = frame.px(mark)
        frame.parts.append(
            f'<line class="mark" x1="{x}" y1="{TOP}" x2="{x}" y2="{HEIGHT - BOTTOM}"><title>update {mark:g}</title>'
            "</line>"
        )
    said = []
    for place, (name, line) in enumerate(series.items(), start=1):
        known = [point for point in line if math.isfinite(point[1])]
        if not known:
            continue
        means = running_mean(tuple(y for _, y in known), _WINDOW)
        path = " ".join(f"{frame.px(x)},{frame.py(y)}" for (x, _), y in zip(known, means, strict=True))
        stride = max(1, math.ceil(len(known) / _MOST_DOTS))
        for x, y in known[::stride]:
            title = f"<title>{escape(name)}: {number(y)} at update {x:g}</title>"
            at = f'cx="{frame.px(x)}" cy="{frame.py(y)}"'
            frame.parts.append(f'<circle class="dot s{place}" {at} r="2.2">{title}</circle>')
        frame.parts.append(f'<polyline class="line s{place}" points="{path}"/>')
        said.append(f"{name} from {number(means[0])} to {number(means[-1])}")
    return frame.svg(f"Running means over {x_label}: " + "; ".join(said))


def interval_chart(rows: Sequence[tuple[str, float, float, float]], x_label: str) -> str:
    """One line a row: a dot with its interval, names to the left.

    Args:
        rows: Name, value, low and high.
        x_label: Below the axis.
    """
    if not rows:
        return ""
    height = TOP + BOTTOM + 24 * len(rows)
    low, high = _range([bound for row in rows for bound in row[1:]])
    indent = 16 + 7 * max(len(name) for name, *_ in rows)  # names stand where other charts have their scale
    frame = _Frame((low, high), (0, len(rows)), height)
    bottom = height - BOTTOM

    def px(value: float) -> float:
        return round(indent + (WIDE - RIGHT - indent) * (value - low) / (high - low), 2)

    for tick in ticks(low, high, 4):
        x = px(tick)
        frame.parts.append(f'<line class="grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/>')
        frame.text("tick", x, bottom + 16, "middle", number(tick))
    for place, (name, value, lower, upper) in enumerate(rows):
        y = TOP + 24 * place + 12
        title = f"{escape(name)}: {number(value)} [{number(lower)}, {number(upper)}]"
        frame.text("name", indent - 8, y + 4, "end", name)
        frame.parts.append(
            f'<g><title>{title}</title><line class="bar s1" x1="{px(lower)}" y1="{y}" x2="{px(upper)}" y2="{y}"/>'
            f'<circle class="point s1" cx="{px(value)}" cy="{y}" r="4"/></g>'
        )
    frame.text("label", (indent + WIDE - RIGHT) / 2, height - 3, "middle", x_label)
    said = "; ".join(f"{name} {number(value)}" for name, value, *_ in rows)
    return frame.svg(f"{x_label}: {said}", WIDE)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From zero where values are near it, with a little room above."""
    low, high = min(values), max(values)
    if 0 <= low <= 0.5 * high or low == high >= 0:
        low = 0.0
    room = (high - low) * 0.05 or 1.0
    return (low if low == 0 else low - room), high + room
