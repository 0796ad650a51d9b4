"""Plots for the admin, drawn as SVG on the server: no script, and the same in a picture or on paper."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 200  # of the whole plot, in SVG units
MARGIN, FOOT = 44, 22  # for the numbers beside the axis, and for the labels under it
GAP = 0.25  # of a bar's place that stays empty


@dataclass(frozen=True)
class Bar:
    """A bar and its label; `middle` is the place of the label."""

    label: str
    value: int
    x: float
    y: float
    width: float
    height: float
    middle: float


@dataclass(frozen=True)
class BarPlot:
    """What the template draws: the bars, and lines at `ticks`, which are (number, y)."""

    bars: list[Bar]
    ticks: list[tuple[int, float]]
    start: float  # where the lines begin and end
    end: float
    axis: float  # where the numbers stand
    width: int = WIDTH
    height: int = HEIGHT


def bar_plot(values: Sequence[tuple[str, int]], *, right_to_left: bool) -> BarPlot:
    """Return the plot of (label, value), the first one at the side where a line of text begins."""
    top = _round_up(max((value for _, value in values), default=0))
    place = (WIDTH - MARGIN) / max(1, len(values))
    bars = []
    for number, (label, value) in enumerate(values):
        height = (HEIGHT - FOOT - 10) * value / top
        x = MARGIN + place * (number + GAP / 2)
        x = WIDTH - x - place * (1 - GAP) if right_to_left else x
        width = place * (1 - GAP)
        bars.append(
            Bar(
                label,
                value,
                round(x, 1),
                round(HEIGHT - FOOT - height, 1),
                round(width, 1),
                round(height, 1),
                round(x + width / 2, 1),
            )
        )
    ticks = [(top * part // 2, round(HEIGHT - FOOT - (HEIGHT - FOOT - 10) * part / 2, 1)) for part in range(3)]
    start, end = (0, WIDTH - MARGIN) if right_to_left else (MARGIN, WIDTH)
    return BarPlot(bars, ticks, start, end, axis=WIDTH - MARGIN + 6 if right_to_left else MARGIN - 6)


def _round_up(value: int) -> int:
    """Return the next even number of one digit and zeros, so that the half of it is whole, too."""
    zeros: int = 10 ** max(0, len(str(value)) - 1)
    top = -(-value // zeros) * zeros
    return max(2, top + top % 2)
