from collections.abc import Mapping
from typing import Any

import pytest
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure

from dfl.report.plots import (
    COMPARISON_PLOTS,
    RUN_PLOTS,
    Plot,
    draw,
    mix_against_budget,
    plot_files,
    run_plots,
    style_of,
    training_curves,
    value_against_budget,
)
from tests.report.sample import comparison, full_metrics, history, metrics

CORRECTED: dict[str, Any] = {
    "correction": {"features": ["$x_1", "b"], "treatments": ["10%"], "shares": [[-0.2], [0.0]]}
}
RESULTS = {
    "metrics": full_metrics() | {"model": CORRECTED},
    "history": history(),
    "comparison": comparison(),
}


@pytest.mark.parametrize("name", [*RUN_PLOTS, *COMPARISON_PLOTS])
def test_a_plot_is_a_png_and_always_the_same(name: str) -> None:
    plot = {**RUN_PLOTS, **COMPARISON_PLOTS}[name]
    first, again = draw(plot, RESULTS), draw(plot, RESULTS)
    assert first.startswith(b"\x89PNG")
    assert first == again


def labels(plot: Plot, results: Mapping[str, Any]) -> list[str]:
    axes = Figure().add_subplot()
    plot(axes, results)
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_the_value_has_its_reference_points() -> None:
    shown = labels(value_against_budget, RESULTS)
    assert shown == [
        "tsm-sl (estimated)",
        "best constant mix",
        "random",
        "tsm-sl (true)",
        "oracle (true)",
    ]
    without = labels(value_against_budget, {"metrics": metrics(truth=False)})
    assert "oracle (true)" not in without


def test_the_mix_names_every_treatment() -> None:
    assert labels(mix_against_budget, RESULTS) == ["none", "10%"]


def test_many_methods_look_different() -> None:
    styles = [tuple(style_of(place).values()) for place in range(56)]
    assert len({*styles}) == 56


def test_many_treatments_look_different() -> None:
    arm = {"rows": 1, "revenue": 1.0, "cost": 0.0}
    mix = [{"budget": at, "shares": [1 / 12] * 12} for at in (0.0, 1.0)]
    found = {"arms": {f"{k} %": arm for k in range(12)}, "mix": mix}
    axes = Figure().add_subplot()
    mix_against_budget(axes, {"metrics": found})
    colours = {tuple(area.get_facecolor()[0]) for area in axes.collections}
    assert len(colours) == 12


def test_training_shows_stages_that_have_a_loss() -> None:
    assert labels(training_curves, RESULTS) == [
        "teacher: loss",
        "teacher: validation",
        "target: loss",
    ]


BAD = ("$5 off", "_hidden", "$\\undefined{x}$", "50%", "x" * 500, "日本", "a\nb")


@pytest.mark.parametrize("name", BAD)
def test_names_are_text(name: str) -> None:
    arm = {"rows": 1, "revenue": 1.0, "cost": 0.0}
    found = full_metrics(name) | {"name": name, "arms": {name: arm, f"{name}2": arm}}
    found["model"] = {"correction": CORRECTED["correction"] | {"features": [name, "b"]}}
    assert labels(mix_against_budget, {"metrics": found})[0] == name[:39] + ("…" * (len(name) > 40))
    stages = {name: [{"loss": 1.0}]}
    for plot in RUN_PLOTS.values():
        draw(plot, {"metrics": found, "history": stages})


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    with rc_context({"text.usetex": True}):
        assert draw(mix_against_budget, RESULTS).startswith(b"\x89PNG")
        assert rcParams["text.usetex"]
        assert rcParams["text.parse_math"]


def test_a_folder_of_an_earlier_version_has_the_plots_that_it_can() -> None:
    assert list(run_plots(full_metrics() | {"model": CORRECTED})) == list(RUN_PLOTS)
    assert "what the experiment corrected" not in run_plots(full_metrics())
    assert list(run_plots(metrics())) == ["value against budget", "mix against budget", "training"]
    assert "difference against budget" not in run_plots({})


def test_captions_that_look_alike_have_files_of_their_own() -> None:
    captions = ["a b, time", "a-b, time", "A/b, time", "a b, time-2", "../x", "\ud800"]
    files = plot_files({caption: caption.encode("utf-8", "replace") for caption in captions})
    assert [*files] == [
        "plots/a-b,-time.png",
        "plots/a-b,-time-2.png",
        "plots/A-b,-time-3.png",
        "plots/a-b,-time-2-2.png",
        "plots/..-x.png",
        "plots/-.png",
    ]
    assert [*files.values()][:2] == [b"a b, time", b"a-b, time"]
