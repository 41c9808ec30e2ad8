"""Training many networks at once: the same as one by one, resumable, loud when it fails."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import DataError, InvalidValueError, NotConvergedError, ShapeError
from dfl.hypergrad import HYPERGRADIENTS
from dfl.methods import (
    AbstractMethod,
    BiDfcl,
    BridgeSettings,
    Dfcl,
    FittedModel,
    KdLabel,
    Monitor,
    Progress,
    Training,
    TrainingSet,
    TsmSl,
)
from dfl.models import MLP
from tests.methods.toy import logs

SMALL = Training(epochs=3, batch_size=64, min_steps=1, members=2, weight_decay=(0.1,))
BRIDGE = BridgeSettings(network=MLP((4,)), every=2, steps=2, batch_size=64, warm_epochs=1)

METHODS: dict[str, Callable[[Training], AbstractMethod]] = {
    "tsm-sl": lambda training: TsmSl(network=MLP((8,)), training=training),
    "kd-label": lambda training: KdLabel(network=MLP((8,)), training=training),
    "dfcl": lambda training: Dfcl(network=MLP((8,)), training=training, decision_epochs=2),
    "bi-dfcl": lambda training: BiDfcl(network=MLP((8,)), training=training, bridge=BRIDGE),
}


def training_set(seed: int, dtype: torch.dtype = torch.float64) -> TrainingSet:
    return TrainingSet(
        rct=logs(256, seed=10 * seed + 1, dtype=dtype),
        obs=logs(512, source="obs", seed=10 * seed + 2, dtype=dtype),
        validation=logs(256, seed=10 * seed + 3, dtype=dtype),
        seed=seed,
    )


def assert_same(first: FittedModel, second: FittedModel, tolerance: float = 0.0) -> None:
    assert_close(first.parameters, second.parameters, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["tsm-sl", "dfcl"])
def test_members_trained_together_are_the_members_trained_alone(name: str) -> None:
    together = METHODS[name](SMALL).fit_many([training_set(0)])[0]
    alone = METHODS[name](replace(SMALL, members=1)).fit_many([training_set(0)])[0]
    assert_same(together.only(0), alone, tolerance=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_sets_trained_together_are_the_sets_trained_alone(name: str) -> None:
    sets = [training_set(0), training_set(1)]
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


def test_an_unreadable_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "target.safetensors").write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"target\.safetensors is unreadable"):
        METHODS["tsm-sl"](SMALL).fit_many([training_set(0)], monitor=Monitor(None, tmp_path))


def test_weight_decay_is_chosen_on_validation_error() -> None:
    """Decay of 500 shrinks every weight to nothing, so the candidate 0 must win."""
    training = replace(SMALL, weight_decay=(50.0, 0.0), epochs=10, learning_rate=0.01)
    method = METHODS["tsm-sl"](training)
    assert method.fit_many([training_set(0)])[0].history["weight_decay"] == [{"value": 0.0}]


def test_each_network_keeps_its_best_epoch() -> None:
    """Steps that overshoot make some epochs worse than ones before; they are not kept."""
    training = replace(SMALL, epochs=12, learning_rate=0.1, members=1)
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


def test_a_gate_of_zero_is_the_two_stage_method() -> None:
    one = training_set(0)
    student = KdLabel(gate=0.0, network=MLP((8,)), training=SMALL).fit_many([one])[0]
    assert_same(student, METHODS["tsm-sl"](SMALL).fit_many([one])[0])


def test_a_gate_of_one_pulls_the_student_to_the_teacher() -> None:
    one, training = training_set(0), replace(SMALL, epochs=10)
    teacher = TsmSl(rows="rct", network=MLP((8,)), training=training).fit_many([one])[0]

    def distance(gate: float) -> float:
        student = KdLabel(gate=gate, network=MLP((8,)), training=training).fit_many([one])[0]
        features = one.obs.features  # type: ignore[union-attr]
        gap = student.predict(features).revenue - teacher.predict(features).revenue
        return float(gap.square().mean())

    assert distance(1.0) < 0.8 * distance(0.0)


def test_the_gate_is_logged_and_moves() -> None:
    bridge = replace(BRIDGE, reach=2.0, warm_epochs=0)
    method = BiDfcl(network=MLP((8,)), training=replace(SMALL, epochs=6), bridge=bridge)
    gate = [epoch["gate_mean"] for epoch in method.fit_many([training_set(0)])[0].history["target"]]
    assert len(gate) == 6
    assert max(gate) - min(gate) > 0.01


HYPERGRADIENT_OPTIONS: dict[str, dict[str, object]] = {
    "conjugate-gradient": {"max_iter": 5, "on_failure": "return"},
    "exact": {"max_size": 512, "on_failure": "return"},
    "gauss-newton": {"max_iter": 5, "on_failure": "return"},
    "identity": {},
    "neumann": {"terms": 5, "on_failure": "return"},
    "nystrom": {"rank": 5, "curvature": "gauss-newton", "on_failure": "return"},
    "truncated": {"steps": 3, "last": 2},
    "unrolled": {"steps": 2},
}


@pytest.mark.parametrize("name", HYPERGRADIENTS.names())
def test_bi_dfcl_trains_with_every_hypergradient(name: str) -> None:
    hypergrad = HYPERGRADIENTS.load(name)(**HYPERGRADIENT_OPTIONS[name])
    bridge = replace(BRIDGE, reach=2.0, warm_epochs=0)
    method = BiDfcl(network=MLP((8,)), training=SMALL, bridge=bridge, hypergrad=hypergrad)
    gate = [epoch["gate_mean"] for epoch in method.fit_many([training_set(0)])[0].history["target"]]
    assert max(gate) - min(gate) > 0.001


def test_the_gate_opens_where_only_the_teacher_is_right() -> None:
    """Logs whose policy hides the effect, a teacher with plenty of randomised rows."""
    rows = logs(4_096, seed=1)
    confounded = logs(4_096, source="obs", seed=2)
    lies = replace(confounded, revenue=confounded.revenue - 3.0 * confounded.treatment)
    bridge = BridgeSettings(network=MLP((4,)), every=2, steps=3, batch_size=1024, reach=3.0)
    training = replace(SMALL, epochs=8, batch_size=256)
    method = BiDfcl(network=MLP((16,)), training=training, bridge=bridge, rows="obs", refit=False)
    gate = method.fit(rct=rows, obs=lies, validation=logs(512, seed=3)).history["target"]
    assert gate[-1]["gate_mean"] > gate[2]["gate_mean"] + 0.05


def test_without_refit_the_target_of_the_search_serves() -> None:
    one, method = training_set(0), METHODS["bi-dfcl"](SMALL)
    assert isinstance(method, BiDfcl)
    assert "refit-target" not in replace(method, refit=False).fit_many([one])[0].history
    assert "refit-target" in method.fit_many([one])[0].history


@pytest.mark.parametrize("name", METHODS)
def test_a_missing_part_is_named(name: str) -> None:
    method = METHODS[name](SMALL)
    part = method.uses[0]
    with pytest.raises(DataError, match=f"got no {part} rows"):
        method.fit(obs=logs(64, source="obs") if part == "rct" else None, validation=logs(64))


def test_several_decays_need_validation_rows() -> None:
    method = METHODS["tsm-sl"](replace(SMALL, weight_decay=(0.1, 1.0)))
    with pytest.raises(DataError, match="needs validation rows, got none"):
        method.fit(rct=logs(64), obs=logs(64, source="obs"))


def test_training_sets_are_checked() -> None:
    with pytest.raises(DataError, match="rct must hold randomised rows, got source 'obs'"):
        TrainingSet(rct=logs(64, source="obs"))
    with pytest.raises(ShapeError, match="no rows at all"):
        TrainingSet()
    narrow = logs(64)
    narrow = replace(narrow, features=narrow.features[:, :2])
    with pytest.raises(ShapeError, match=r"\(features, treatments\), got \[\(2, 3\), \(4, 3\)\]"):
        TrainingSet(rct=logs(64), validation=narrow)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"members": 0}, "members must be >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0, got 0"),
        ({"weight_decay": ()}, "weight_decay must hold at least one value"),
        ({"weight_decay": (-1.0,)}, "weight_decay must hold at least one value, all >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Training(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: KdLabel(gate=1.5), r"gate must be in \[0, 1\], got 1.5"),
        (lambda: Dfcl(budgets=()), "budgets must hold at least one budget"),
        (lambda: Dfcl(prediction_weight=-1), "prediction_weight must be >= 0, got -1"),
        (lambda: Dfcl(decision_epochs=0), "decision_epochs must be >= 1, got 0"),
        (lambda: BiDfcl(budgets=()), "budgets must hold at least one budget"),
        (lambda: BiDfcl(held_out=1.0), r"held_out must be in \(0, 1\), got 1"),
        (lambda: BridgeSettings(reach=0), "reach must be > 0, got 0"),
        (lambda: BridgeSettings(every=0), "every must be >= 1, got 0"),
        (lambda: BridgeSettings(steps=-1), "steps must be >= 0, got -1"),
        (lambda: MLP((0,)), r"hidden sizes must be >= 1, got \(0,\)"),
    ],
)
def test_methods_check_their_options(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        build()
