"""Training many networks at once: the same as one by one, resumable, loud when it fails."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import DataError, NotConvergedError
from dfl.methods import (
    AbstractMethod,
    AbstractNetworkMethod,
    BiDfcl,
    BilevelSettings,
    Dfcl,
    Grounded,
    KdLabel,
    Monitor,
    Progress,
    Training,
    TsmSl,
)
from dfl.models import MLP, NetworkEnsemble, Parameters
from dfl.training.networks import Networks
from tests.methods.toy import SMALL, logs, training_set

BRIDGE = BilevelSettings(hidden=(4,), every=2, steps=2, batch_size=64, warm_epochs=1)

METHODS: dict[str, Callable[[Training], AbstractMethod]] = {
    "tsm-sl": lambda training: TsmSl(network=MLP((8,)), training=training),
    "kd-label": lambda training: KdLabel(network=MLP((8,)), training=training),
    "dfcl": lambda training: Dfcl(network=MLP((8,)), training=training, decision_epochs=2),
    "bi-dfcl": lambda training: BiDfcl(network=MLP((8,)), training=training, upper=BRIDGE),
}


def assert_same(first: NetworkEnsemble, second: NetworkEnsemble, tolerance: float = 0.0) -> None:
    assert_close(first.parameters, second.parameters, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["tsm-sl", "dfcl"])
def test_members_trained_together_are_the_members_trained_alone(name: str) -> None:
    together = METHODS[name](SMALL).fit_many([training_set(0)])[0]
    alone = METHODS[name](replace(SMALL, members=1)).fit_many([training_set(0)])[0]
    assert_same(together.only(0), alone, tolerance=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_sets_trained_together_are_the_sets_trained_alone(name: str) -> None:
    first, other = training_set(0), training_set(1)
    # The largest set decides the number of steps, and `bi-dfcl` holds out a random half of the
    # randomised rows: with the same ones, the two sets take the same number of steps.
    second = replace(other, rct=first.rct, seed=first.seed) if name == "bi-dfcl" else other
    sets = [first, second]
    method = METHODS[name](SMALL)
    for together, one in zip(method.fit_many(sets), sets, strict=True):
        # bilevel steps divide by small numbers, so rounding grows more than elsewhere
        assert_same(together, method.fit_many([one])[0], tolerance=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_run_goes_on_to_the_same_numbers(name: str, tmp_path: Path) -> None:
    method, one = METHODS[name](replace(SMALL, weight_decay=(0.1, 0.3))), training_set(0)
    whole = method.fit_many([one])[0]
    seen = 0

    def stop(progress: Progress) -> None:
        nonlocal seen
        seen += 1
        if seen == 4:  # in the second stage or later for all methods
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method.fit_many([one], monitor=Monitor(stop, tmp_path))
    resumed = method.fit_many([one], monitor=Monitor(None, tmp_path))[0]
    assert_same(whole, resumed)
    assert whole.history == resumed.history


FITTED = {**METHODS, "grounded": lambda training: Grounded(base=METHODS["tsm-sl"](training))}


@pytest.mark.parametrize("name", ["tsm-sl", "grounded"])
@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_training_takes_gradients_whatever_the_caller_has_switched_off(
    name: str, around: Callable[[], AbstractContextManager[None]]
) -> None:
    method, rows = FITTED[name](SMALL), logs(9, dtype=torch.float64).features
    with around():
        model = method.fit_many([training_set(0)])[0]
    expected = method.fit_many([training_set(0)])[0].predict(rows)
    assert_close(vars(model.predict(rows)), vars(expected), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["tsm-sl", "grounded"])
def test_rows_that_a_gradient_leads_to_are_taken_as_numbers(name: str) -> None:
    one = training_set(0)
    expected = FITTED[name](SMALL).fit_many([one])[0]
    for part in one.parts:
        for column in (part.features, part.revenue, part.cost):
            column.requires_grad_()
    model = copy.deepcopy(FITTED[name](SMALL).fit_many([one])[0])
    rows = logs(9, dtype=torch.float64).features
    assert_close(vars(model.predict(rows)), vars(expected.predict(rows)), rtol=0, atol=0)
    assert one.rct is not None
    assert one.rct.features.requires_grad


def test_an_unreadable_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "target.safetensors").write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"target\.safetensors is unreadable"):
        METHODS["tsm-sl"](SMALL).fit_many([training_set(0)], monitor=Monitor(None, tmp_path))


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    method, one = METHODS["tsm-sl"](SMALL), training_set(0)
    assert one.rct is not None
    method.fit_many([one], monitor=Monitor(None, tmp_path))
    again = method.fit_many([one], monitor=Monitor(None, tmp_path))[0]
    assert_same(again, method.fit_many([one])[0])
    order = torch.arange(len(one.rct)).flip(0)
    others = (
        (method, replace(one, seed=1)),
        (method, replace(one, rct=one.rct.subset(order))),
        (method, replace(one, rct=replace(one.rct, revenue=one.rct.revenue[order]))),
        (METHODS["tsm-sl"](replace(SMALL, learning_rate=1e-3)), one),
    )
    for fitting, rows in others:
        with pytest.raises(DataError, match=r"target\.safetensors is of another training"):
            fitting.fit_many([rows], monitor=Monitor(None, tmp_path))


def test_a_monitor_that_watches_twice_tells_each_model_its_own_history() -> None:
    method, monitor = METHODS["tsm-sl"](SMALL), Monitor()
    first, second = (method.fit_many([training_set(k)], monitor=monitor)[0] for k in (0, 1))
    for seed, model in enumerate((first, second)):
        assert model.history == method.fit_many([training_set(seed)])[0].history


@pytest.mark.parametrize("name", ["tsm-sl", "dfcl"])
@pytest.mark.parametrize("decays", [(0.1,), (0.1, 0.3)])
def test_a_validation_error_that_overflows_is_loud(name: str, decays: tuple[float, ...]) -> None:
    one = training_set(0, torch.float32)
    assert one.validation is not None
    one.validation.features[7, 0] = 1e25
    method = METHODS[name](replace(SMALL, weight_decay=decays))
    with pytest.raises(NotConvergedError, match=r"validation of '.*' is not finite: .* extreme"):
        method.fit_many([one])


@pytest.mark.parametrize("lost", [torch.inf, torch.nan])
def test_a_weight_decay_without_a_finite_error_loses(
    lost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def errors(networks: Networks, parameters: Parameters) -> torch.Tensor:
        return torch.tensor([lost, 2.0, 1.0, lost, 2.0, lost])

    monkeypatch.setattr(Networks, "validation_error", errors)
    method = METHODS["tsm-sl"](replace(SMALL, epochs=1, weight_decay=(0.1, 0.2, 0.3)))
    sets = [training_set(seed) for seed in (0, 1)]
    assert isinstance(method, AbstractNetworkMethod)
    assert method.choose_decays(sets, Monitor()) == [0.3, 0.2]


def test_weight_decay_is_chosen_on_validation_error() -> None:
    """Decay of 500 shrinks every weight to nothing, so the candidate 0 must win."""
    training = replace(SMALL, weight_decay=(50.0, 0.0), epochs=10, learning_rate=0.01)
    method = METHODS["tsm-sl"](training)
    assert method.fit_many([training_set(0)])[0].history["weight_decay"] == [{"value": 0.0}]


def test_each_network_keeps_its_best_epoch() -> None:
    """Steps that overshoot make some epochs worse than ones before; they are not kept."""
    training = replace(SMALL, epochs=12, learning_rate=0.1, members=1)
    training = replace(training, schedule="constant", averaging=0.0)
    one = training_set(0)
    model = METHODS["tsm-sl"](training).fit_many([one])[0]
    errors = [epoch["validation"] for epoch in model.history["target"]]
    assert min(errors) < errors[-1]
    validation = one.validation
    assert validation is not None
    learned = replace(model.scaling, fixed_cost=torch.full((3,), float("nan")).double())
    predicted = replace(model, scaling=learned).predict(validation.features)
    columns = (predicted.revenue, predicted.cost)
    revenue, cost = (c.gather(1, validation.treatment[:, None])[:, 0] for c in columns)
    scaled = model.scaling.outcomes(revenue, cost) - model.scaling.outcomes(
        validation.revenue, validation.cost
    )
    assert_close(float(scaled.square().sum(dim=1).mean()), min(errors), rtol=1e-6, atol=0)


def test_divergence_is_loud() -> None:
    method = METHODS["tsm-sl"](replace(SMALL, learning_rate=1e30))
    with pytest.raises(NotConvergedError, match="training of 'target' diverged in epoch 1"):
        method.fit_many([training_set(0, torch.float32)])


def test_several_decays_need_validation_rows() -> None:
    method = METHODS["tsm-sl"](replace(SMALL, weight_decay=(0.1, 1.0)))
    with pytest.raises(DataError, match="needs validation rows, got none"):
        method.fit(rct=logs(64), obs=logs(64, source="obs"))
