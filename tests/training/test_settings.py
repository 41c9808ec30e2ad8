"""Training sets and settings: what is checked, and how rows are held out."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from dfl.data import UpliftData
from dfl.errors import DataError, DTypeError, InvalidValueError, ShapeError
from dfl.methods import (
    BiDfcl,
    BilevelSettings,
    Dfcl,
    KdLabel,
    Training,
    TrainingSet,
    TsmSl,
)
from dfl.models import MLP
from dfl.training.settings import hold_out
from tests.methods.toy import SMALL, logs, training_set

BRIDGE = BilevelSettings(hidden=(4,), every=2, steps=2, batch_size=64, warm_epochs=1)


def test_training_sets_are_checked() -> None:
    with pytest.raises(DataError, match="rct must hold randomised rows, got source 'obs'"):
        TrainingSet(rct=logs(64, source="obs"))
    with pytest.raises(ShapeError, match="no rows at all"):
        TrainingSet()
    narrow = logs(64)
    narrow = replace(narrow, features=narrow.features[:, :2])
    with pytest.raises(ShapeError, match=r"\(features, treatments\), got \[\(2, 3\), \(4, 3\)\]"):
        TrainingSet(rct=logs(64), validation=narrow)
    with pytest.raises(
        DTypeError, match=r"must have one dtype, got torch.float32 and torch.float64"
    ):
        TrainingSet(rct=logs(64), validation=logs(64, dtype=torch.float64))


def test_sets_that_are_learned_together_are_alike() -> None:
    method, one = TsmSl(rows="rct"), TrainingSet(rct=logs(64))
    with pytest.raises(InvalidValueError, match="needs one training set or more, got none"):
        method.fit_many([])
    narrow = replace(logs(64), features=logs(64).features[:, :2])
    with pytest.raises(ShapeError, match=r"together must agree in .* \[\(2, 3\), \(4, 3\)\]"):
        method.fit_many([one, TrainingSet(rct=narrow)])
    more = replace(logs(64), treatments=4, treatment=torch.arange(64) % 4)
    with pytest.raises(ShapeError, match=r"together must agree in .* \[\(4, 3\), \(4, 4\)\]"):
        method.fit_many([one, TrainingSet(rct=more)])
    with pytest.raises(DTypeError, match="sets that are learned together must have one dtype"):
        method.fit_many([one, TrainingSet(rct=logs(64, dtype=torch.float64))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"members": 0}, "members must be >= 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0, got 0"),
        ({"schedule": "steps"}, "schedule must be one of 'cosine', 'constant', got 'steps'"),
        ({"validation": "both"}, "validation must be one of 'choose', 'learn', got 'both'"),
        ({"averaging": 1.0}, r"averaging must be in \[0, 1\), got 1"),
        ({"weight_decay": ()}, "number of weight_decay values must be >= 1, got 0"),
        ({"weight_decay": (-1.0,)}, "weight_decay must be >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Training(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: KdLabel(gate=1.5), r"gate must be in \[0, 1\], got 1.5"),
        (lambda: Dfcl(budgets=()), "number of budgets must be >= 1, got 0"),
        (lambda: Dfcl(prediction_weight=-1), "prediction_weight must be >= 0, got -1"),
        (lambda: Dfcl(decision_epochs=0), "decision_epochs must be >= 1, got 0"),
        (lambda: BiDfcl(budgets=()), "number of budgets must be >= 1, got 0"),
        (lambda: BiDfcl(held_out=1.0), r"held_out must be in \(0, 1\), got 1"),
        (lambda: Dfcl(price="day"), "price must be one of 'rows', 'batch', got 'day'"),
        (lambda: BiDfcl(price="day"), "price must be one of 'rows', 'batch', got 'day'"),
        (lambda: BilevelSettings(reach=0), "reach must be > 0, got 0"),
        (lambda: BilevelSettings(every=0), "every must be >= 1, got 0"),
        (lambda: BilevelSettings(steps=-1), "steps must be >= 0, got -1"),
        (lambda: BilevelSettings(hidden=(-1,)), "hidden sizes must be >= 1, got -1"),
        (lambda: Dfcl(budgets=(0.3,)), r"budgets must be a tuple of Budget, got \(0.3,\)"),  # type: ignore[arg-type]
        (lambda: MLP((0,)), r"hidden sizes must be >= 1, got 0"),
    ],
)
def test_methods_check_their_options(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        build()


def test_validation_rows_can_join_the_randomised_training_rows() -> None:
    one = training_set(0)
    assert one.rct is not None
    assert one.validation is not None
    whole = one.with_all_learned()
    assert whole.rct is not None
    assert whole.validation is None
    assert whole.obs is one.obs
    assert torch.equal(whole.rct.revenue, torch.cat([one.rct.revenue, one.validation.revenue]))
    for part in ("rct", "validation"):
        with pytest.raises(DataError, match=f"'learn' adds validation rows .* no {part} rows"):
            replace(one, **{part: None}).with_all_learned()


def test_a_method_that_learns_validation_rows_is_trained_on_both_and_keeps_the_last_epoch() -> None:
    one = training_set(0)
    several = replace(SMALL, weight_decay=(0.1, 1.0))
    methods = [
        TsmSl(network=MLP((8,)), training=training)
        for training in (replace(several, validation="learn"), several)
    ]
    chosen = [method.fit_many([one])[0].history["weight_decay"] for method in methods]
    assert chosen[0] == chosen[1]
    decay = (float(chosen[0][0]["value"]),)
    alone = TsmSl(network=MLP((8,)), training=replace(SMALL, weight_decay=decay))
    features = logs(20, seed=5, dtype=torch.float64).features
    found, expected, other = (
        method.fit_many([rows])[0].predict(features).revenue
        for method, rows in ((methods[0], one), (alone, one.with_all_learned()), (alone, one))
    )
    assert torch.equal(found, expected)
    assert not torch.equal(found, other)
    with pytest.raises(DataError, match="a method that trains on rct rows"):
        replace(methods[0], rows="obs").check(one)


def test_rows_are_held_out_by_group_and_every_treatment_stays_in_both_halves() -> None:
    rows = logs(300, seed=1)
    grouped = replace(rows, groups=torch.arange(300) // 3)
    kept, held = hold_out(TrainingSet(rct=grouped, seed=4), 0.5)
    assert kept.rct is not None
    assert held.rct is not None
    assert len(kept.rct) + len(held.rct) == 300
    assert 100 < len(held.rct) < 200
    assert not set(kept.rct.groups.tolist()) & set(held.rct.groups.tolist())  # type: ignore[union-attr]
    few = torch.cat([(rows.treatment == arm).nonzero()[:2, 0] for arm in range(3)])
    for seed in range(20):
        for half in hold_out(TrainingSet(rct=rows.subset(few), seed=seed), 0.5):
            assert half.rct is not None
            assert half.rct.arm_counts.tolist() == [1, 1, 1]


def grouped(treatment: list[int], groups: list[int]) -> UpliftData:
    received, rows = torch.tensor(treatment), logs(len(treatment))
    arms = int(received.max()) + 1
    return replace(rows, treatment=received, groups=torch.tensor(groups), treatments=arms)


def test_halves_are_found_where_a_treatment_would_lose_its_last_group_to_another() -> None:
    rows = grouped([0, 1, 0, 1, 0, 1, 0], [2, 1, 2, 1, 0, 2, 2])
    for half in hold_out(TrainingSet(rct=rows, seed=1), 0.2):
        assert half.rct is not None
        assert bool((half.rct.arm_counts > 0).all())


def test_groups_that_cannot_be_split_for_all_treatments_are_refused() -> None:
    """Of three groups two are in the same half, and some treatment has those two alone."""
    three = grouped([0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 0, 2])
    with pytest.raises(DataError, match="no way was found to have every treatment in both halves"):
        hold_out(TrainingSet(rct=three), 0.5)


def test_a_treatment_of_one_person_cannot_be_in_both_halves() -> None:
    rows = logs(300, seed=1)
    keep = rows.treatment < 2
    keep[(rows.treatment == 2).nonzero()[0, 0]] = True
    with pytest.raises(DataError, match="treatment 2 has rows of one person or group only"):
        hold_out(TrainingSet(rct=rows.subset(keep)), 0.5)


def test_the_rate_falls_along_half_a_cosine_or_not_at_all() -> None:
    falling = [Training().rate_after(done) for done in (0.0, 1 / 3, 0.5, 1.0)]
    assert falling == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert Training(schedule="constant").rate_after(0.7) == 1


def test_rows_move_to_another_device_and_missing_parts_stay_missing() -> None:
    moved = TrainingSet(rct=logs(8), seed=3).to(torch.device("cpu"))
    assert moved.rct is not None
    assert moved.rct.features.equal(logs(8).features)
    assert (moved.obs, moved.seed) == (None, 3)
