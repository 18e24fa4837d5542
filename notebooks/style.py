"""The style of the plots: a palette for colour-blind readers, labels at the lines, a caption below."""

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# The palette of Okabe and Ito.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY, LIGHT, INK = "#8C8C8C", "#DCDCDC", "#262626"

UNITS = ((1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB"), (1, "B"))


def use() -> None:
    """Set the style for all plots of the notebook."""
    plt.rcParams.update(
        {
            "figure.figsize": (8.4, 4.2),
            "figure.dpi": 130,
            "figure.facecolor": "white",
            "font.size": 10,
            "text.color": INK,
            "axes.edgecolor": GREY,
            "axes.labelcolor": INK,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlepad": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "grid.color": LIGHT,
            "grid.linewidth": 0.8,
            "xtick.color": GREY,
            "xtick.labelcolor": INK,
            "ytick.color": GREY,
            "ytick.labelcolor": INK,
            "lines.linewidth": 2,
            "legend.frameon": False,
        }
    )


def size(count: float) -> str:
    """Return a number of bytes with its unit: "512 kB"."""
    unit, name = next((unit for unit in UNITS if count >= unit[0]), UNITS[-1])
    return f"{count / unit:.3g} {name}"


def percent(share: float) -> str:
    """Return a share from 0 to 1 as "12 %", with one more digit below a tenth."""
    return f"{100 * share:.{0 if share >= 0.0995 or share == 0 else 1}f} %"


def byte_axis(axis: Axis, ticks: Iterable[float]) -> None:
    """Label an axis of bytes at `ticks`."""
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))


def label(axes: Axes, text: str, at: tuple[float, float], colour: str = INK, by: tuple[float, float] = (6, 0)) -> None:
    """Write `text` beside the point `at`, at the offset `by` in points."""
    away = "left" if by[0] > 0 else "right" if by[0] < 0 else "center"
    axes.annotate(text, at, xytext=by, textcoords="offset points", color=colour, ha=away, va="center", fontsize=9)


def show(figure: Figure, sentence: str) -> None:
    """Show a plot and its caption."""
    figure.tight_layout()
    display(figure)
    plt.close(figure)
    say(sentence)


def say(text: str) -> None:
    """Show Markdown."""
    display(Markdown(text))


def table(rows: Iterable[Mapping[str, object]]) -> None:
    """Show rows with the same columns as a table."""
    rows = list(rows)
    lines = [list(rows[0]), ["---" for _ in rows[0]], *([str(value) for value in row.values()] for row in rows)]
    say("\n".join(f"| {' | '.join(line)} |" for line in lines))
