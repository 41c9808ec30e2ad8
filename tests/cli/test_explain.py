import pytest

from dfl.losses import LOSSES
from tests.cli.outcome import Dfl


def test_everything_that_is_put_together_is_shown(dfl: Dfl) -> None:
    done = dfl(
        "explain", "bi-dfcl", "--data", "criteo-like", "--set", "layer.softness.temperature=0.7"
    )
    assert done.code == 0, done.text
    for part in (
        "data: criteo-like",
        "layer: softmax (from section layer)",
        "temperature: 0.7",
        "hypergrad: gauss-newton",
        "needs: randomised and observational training rows; randomised validation rows",
        "method.hypergrad: differentiates through an inner optimum: yes",
        "budgets: share=0.3",
    ):
        assert part in done.text


def test_needs_are_those_of_the_method(dfl: Dfl) -> None:
    done = dfl("explain", "tsm-sl-rct", "--set", "training.weight_decay=[0.1]")
    assert "needs: randomised training rows; randomised test rows" in done.text


def test_a_method_inside_another_is_looked_into(dfl: Dfl) -> None:
    done = dfl("explain", "grounded")
    assert "needs: randomised and observational training rows; randomised validation" in done.text
    one = dfl("explain", "grounded", "--set", "training.weight_decay=[0.1]")
    assert "training rows; randomised test rows" in one.text


def test_options_of_training_that_change_nothing_under_a_loss_are_said_to(dfl: Dfl) -> None:
    done = dfl("explain", "grounded", "--set", "method.base=dfcl-dpl")
    assert "share=0.9 (without effect: the loss uses no budget)" in done.text
    assert "price: rows (without effect: the loss asks for no price to be found)" in done.text
    assert "without effect" not in dfl("explain", "dfcl").text


def test_parts_that_do_not_fit_are_said_and_exit_with_2(
    dfl: Dfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOSSES, "_entries", dict(LOSSES._all()))
    LOSSES.register("vector", "tests.config.parts:Vector")
    done = dfl("explain", "dfcl", "--set", "loss=vector")
    assert done.code == 2
    assert "NO: its value has shape (24,)" in done.text


def test_mistakes_are_one_line(dfl: Dfl) -> None:
    done = dfl("explain", "tsm-sl", "--set", "hypergrad.max_iter=3")
    assert done.code == 2
    said = "tsm-sl has no hypergrad, or is given one inside; remove the section."
    assert done.text == f"error: {said} More: dfl help Config"


def test_it_takes_the_options_of_a_run(dfl: Dfl) -> None:
    done = dfl(
        *("explain", "bi-dfcl", "--loss", "dual-policy", "--hypergrad", "identity", "--seed", 3),
        *("--solver", "dual-bisection", "--members", 2, "--epochs", 4, "--budget-per-head", 0.5),
    )
    assert done.code == 0, done.text
    for part in ("loss: dual-policy", "hypergrad: identity", "solver: dual-bisection", "seed: 3"):
        assert part in done.text
    for part in ("members: 2", "epochs: 4", "budgets: per_head=0.5"):
        assert part in done.text
