"""`forest_plot`: every effect with its interval, as a picture."""

import warnings
from io import BytesIO

from matplotlib import rc_context
from matplotlib.figure import Figure

from dfl.abtest.reading.read_out import Reading, ReadOut

__all__ = ["forest_plot"]


def forest_plot(found: ReadOut) -> bytes:
    """Return the effects with their intervals as PNG, one panel per metric.

    Args:
        found: what was read.
    """
    # Names of metrics, arms and segments are no formulas, whatever dollars they hold.
    as_text = rc_context({"text.parse_math": False, "text.usetex": False})
    with as_text, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters without a glyph
        return _drawn(found)


def _drawn(found: ReadOut) -> bytes:
    metrics = list(dict.fromkeys(reading.metric for reading in found.readings))
    groups = [[one for one in found.readings if one.metric == metric] for metric in metrics]
    figure = Figure(  # without pyplot: no global state
        figsize=(7.5, 0.8 * len(metrics) + 0.28 * len(found.readings) + 0.4), layout="constrained"
    )
    panels = figure.subplots(
        len(metrics), 1, squeeze=False, height_ratios=[len(group) + 1.5 for group in groups]
    )
    for axes, metric, group in zip(panels[:, 0], metrics, groups, strict=True):
        for place, reading in enumerate(group):
            effect = reading.effect
            axes.plot([effect.low, effect.high], [place, place], color=_colour(reading))
            axes.plot(effect.estimate, place, "o", color=_colour(reading))
        axes.axvline(0, color="grey", linewidth=0.8)
        axes.set_yticks(range(len(group)), [_name(reading) for reading in group], fontsize=8)
        axes.set(ylim=(len(group) - 0.3, -0.7), xlabel=f"effect on {metric}")
        axes.spines[["top", "right", "left"]].set_visible(False)
    target = BytesIO()
    figure.savefig(target, format="png", dpi=110, metadata={"Software": None})
    return target.getvalue()


def _name(reading: Reading) -> str:
    where = "" if reading.segment is None else f" in {reading.segment}"
    return f"{reading.estimator}: {reading.effect.arm}{where}"


def _colour(reading: Reading) -> str:
    """Blue where the adjusted p-value is significant, grey elsewhere."""
    return "C0" if reading.significant else "C7"
