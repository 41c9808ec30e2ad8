"""What every registered method promises."""

import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import dfl.methods
from dfl.budget import Budget
from dfl.data import UpliftData
from dfl.errors import InvalidValueError
from dfl.methods import METHODS, AbstractMethod, AbstractNetworkMethod, Training, TrainingSet, TsmSl
from dfl.metrics import TrueScale
from dfl.models import MLP, AbstractModel, ArmHeads, NetworkEnsemble, Prediction, load_model
from dfl.solvers import GreedyDual
from tests.methods.toy import ARMS, logs, outcomes

NAMES = METHODS.names()
TRAINING = Training(epochs=2, batch_size=64, min_steps=1, members=2, weight_decay=(0.1,))
LONG = Training(
    epochs=7, batch_size=128, min_steps=350, learning_rate=5e-3, members=2, weight_decay=(0.1,)
)

# Networks of other shapes than the small perceptron that most methods take.
NETWORKS = {
    "cfr-mmd": ArmHeads((16,), (8,)),
    "cfr-wass": ArmHeads((16,), (8,)),
    "dragonnet": ArmHeads((16,), (8,), propensity=True),
}
UPPER = {"upper": dfl.methods.BilevelSettings(hidden=(4,), batch_size=128, warm_epochs=0)}
OPTIONS: dict[str, dict[str, Any]] = {
    name: UPPER for name in NAMES if name.startswith(("auto-debias", "bi-dfcl", "ltd-"))
}
OPTIONS["policy-tree"] = {"thresholds": 3, "depth": 2}  # all trees of three levels take seconds

# Ratios learned from fresh weights are far from trained after LONG's steps at its rate: .47, -.21.
RATES = {"dhcl-dpm": 1.5e-2, "dhcl-drp": 1.5e-2}


WRAPPERS = {"grounded", "grounded-in-sample", "hrc", "policy-tree"}


def make(name: str, training: Training = TRAINING) -> AbstractMethod:
    network = NETWORKS.get(name, MLP((8,)))
    if name in WRAPPERS:  # which have no networks but those of the method inside
        base = TsmSl(network=network, training=training)
        return METHODS.make(name, base=base, **OPTIONS.get(name, {}))
    if name.startswith("tsm-cf"):
        return METHODS.make(name, trees=8, min_leaf=10)
    return METHODS.make(name, network=network, training=training, **OPTIONS.get(name, {}))


def fit(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> AbstractModel:
    return make(name).fit(
        rct=logs(512, seed=1, dtype=dtype),
        obs=logs(512, source="obs", seed=2, dtype=dtype),
        validation=logs(256, seed=3, dtype=dtype),
        seed=seed,
    )


fitted = cache(fit)  # for tests that look at a model and leave it as it is


@dataclass(frozen=True)
class Again:
    """The same fit once more, after another state of torch's generator."""

    model: AbstractModel
    generator: tuple[Tensor, Tensor]  # its state before and after
    rows: UpliftData  # randomised rows that it was given


@cache
def again(name: str) -> Again:
    torch.manual_seed(2)
    before, rows = torch.get_rng_state(), logs(512, seed=1)
    model = make(name).fit(
        rct=rows, obs=logs(512, source="obs", seed=2), validation=logs(256, seed=3), seed=0
    )
    return Again(model, (before, torch.get_rng_state()), rows)


def predicted(model: AbstractModel, dtype: torch.dtype = torch.float32) -> Prediction:
    return model.predict(logs(100, seed=4, dtype=dtype).features)


def both(prediction: Prediction) -> Tensor:
    return torch.stack((prediction.revenue, prediction.cost))


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_finite_costs_not_negative_and_dtype_kept(
    name: str, dtype: torch.dtype
) -> None:
    model = fitted(name, dtype)
    prediction = predicted(model, dtype)
    assert (model.features, model.treatments) == (4, ARMS)
    for column in (prediction.revenue, prediction.cost):
        assert column.shape == (100, ARMS)
        assert column.dtype == dtype
        assert bool(column.isfinite().all())
    assert bool((prediction.cost >= 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_everything_stays_on_the_device_of_the_rows(name: str, device: torch.device) -> None:
    parts = {"rct": logs(128, seed=1), "obs": logs(128, source="obs", seed=2)}
    parts["validation"] = logs(96, seed=3)  # few: every operation on "far" passes through Python
    moved = {key: part.to(device) for key, part in parts.items()}
    model = make(name, replace(TRAINING, epochs=1)).fit(**moved)
    unseen = logs(100, seed=4).to(device).features
    prediction, allocation = model.predict(unseen), model.allocate(unseen, Budget(share=0.3))
    found = (prediction.revenue, prediction.cost, allocation.choice, allocation.revenue)
    assert {each.device.type for each in found} == {device.type}


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_everything(name: str) -> None:
    first = both(predicted(fitted(name)))
    assert_close(first, both(predicted(again(name).model)), rtol=0, atol=0)
    assert not torch.equal(first, both(predicted(fit(name, seed=1))))


@pytest.mark.parametrize("name", NAMES)
def test_many_sets_are_fitted_as_one_by_one(name: str) -> None:
    double = torch.float64  # in float32 a hypergradient's solve makes rounding visible
    parts = {
        "obs": logs(512, source="obs", seed=2, dtype=double),
        "validation": logs(256, seed=3, dtype=double),
    }
    sets = [TrainingSet(rct=logs(512, seed=one, dtype=double), seed=one, **parts) for one in (1, 9)]
    for one, model in zip(sets, make(name).fit_many(sets), strict=True):
        alone = make(name).fit_many([one])[0]
        found = [both(predicted(which, double)) for which in (model, alone)]
        # Halves of rows differ in size between sets, and the largest decides the number of steps.
        tolerance = 0.02 if name.startswith("bi-dfcl") else 1e-6
        assert_close(found[0], found[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_is_left_alone(name: str) -> None:
    before, after = again(name).generator
    assert torch.equal(after, before)


@pytest.mark.parametrize("name", NAMES)
def test_allocations_are_feasible(name: str) -> None:
    features = logs(100, seed=4).features
    allocation = fitted(name).allocate(features, Budget(per_head=0.3))
    assert float(allocation.cost) <= 30 * (1 + 1e-9)
    assert float(allocation.revenue) <= float(allocation.upper_bound) + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_predicts_the_same(name: str, tmp_path: Path) -> None:
    model = fitted(name)
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert type(loaded) is type(model)
    assert_close(both(predicted(loaded)), both(predicted(model)), rtol=0, atol=0)
    assert loaded.history == model.history


def tensors(part: Any) -> list[Tensor]:
    """Return all tensors that something holds."""
    if isinstance(part, Tensor):
        return [part]
    if isinstance(part, Mapping):
        return tensors([*part.values()])
    if isinstance(part, (list, tuple)):
        return [each for one in part for each in tensors(one)]
    return tensors(vars(part)) if hasattr(part, "__dict__") else []


@pytest.mark.parametrize("name", NAMES)
def test_a_model_keeps_its_own_numbers_alone(name: str) -> None:
    """A view keeps all of the table that it looks at, in memory and in a pickle."""
    held = tensors(fitted(name))
    assert held
    for each in held:
        assert each.untyped_storage().nbytes() == each.numel() * each.element_size()


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_untouched(name: str) -> None:
    kept, given = logs(512, seed=1), again(name).rows
    for field in fields(kept):
        mine, theirs = getattr(kept, field.name), getattr(given, field.name)
        if isinstance(mine, Tensor):
            assert_close(theirs, mine, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_toy_without_hidden_bias_is_learned_well(name: str) -> None:
    test = logs(2_000, seed=5)
    revenue, cost = outcomes(test.features)
    training = replace(LONG, learning_rate=RATES.get(name, LONG.learning_rate))
    model = make(name, training).fit(
        rct=logs(4_000, seed=1),
        obs=logs(4_000, source="obs", seed=2),
        validation=logs(1_000, seed=3),
    )
    scale = TrueScale.of(dfl.data.PotentialOutcomes(revenue, cost), (Budget(share=0.4),))
    found = model.predict(test.features)
    assert scale.measure(found.revenue, found.cost)[0].share_of_gain > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_constant_features_and_two_rows_per_arm_are_no_trouble(name: str) -> None:
    many = logs(512, source="obs", seed=2)
    flat = replace(many, features=many.features.clone())
    flat.features[:, 3] = 7.0
    few = logs(200, seed=1)
    rows = torch.cat([(few.treatment == arm).nonzero()[:2, 0] for arm in range(ARMS)])
    model = make(name).fit(rct=few.subset(rows), obs=flat, validation=logs(256, seed=3))
    prediction = predicted(model)
    assert bool(both(prediction).isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_whose_outcomes_are_all_alike_is_no_trouble(name: str) -> None:
    def bought(rows: UpliftData) -> UpliftData:
        """Return the rows with revenue 0 or 1, and 0 for everyone under treatment 1."""
        return replace(rows, revenue=(rows.revenue > 2).float() * (rows.treatment != 1))

    model = make(name).fit(
        rct=bought(logs(512, seed=1)),
        obs=bought(logs(512, source="obs", seed=2)),
        validation=bought(logs(256, seed=3)),
    )
    assert bool(both(predicted(model)).isfinite().all())


# Trees draw their rows by place, and so do the folds of `grounded`'s members.
BY_PLACE = ("grounded", "grounded-in-sample", "tsm-cf")


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(BY_PLACE)])
def test_the_order_of_rows_does_not_matter_but_for_batches(name: str) -> None:
    """All rows in one batch; people carry a number, by which they are held out."""
    double, found = torch.float64, []
    training = replace(TRAINING, batch_size=10_000, epochs=1, min_steps=8)
    method = make(name, training)
    if "upper" in vars(method):
        method = replace(method, upper=replace(UPPER["upper"], batch_size=10_000))  # type: ignore[type-var]
    for seed in (None, 7):
        parts: dict[str, Any] = {
            "rct": logs(200, seed=1, dtype=double),
            "obs": logs(200, source="obs", seed=2, dtype=double),
            "validation": logs(100, seed=3, dtype=double),
        }
        for part, rows in parts.items():
            numbered = replace(rows, groups=torch.arange(len(rows)))
            generator = torch.Generator().manual_seed(seed or 0)
            order = torch.randperm(len(rows), generator=generator)
            parts[part] = numbered if seed is None else numbered.subset(order)
        found.append(both(predicted(method.fit(**parts), double)))
    # A price of money is found to a tolerance, and the order of a sum decides within it.
    assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_part_is_named(name: str) -> None:
    method = make(name)
    rows = {"rct": logs(64, seed=1), "obs": logs(64, source="obs", seed=2)}
    for part in method.uses:
        others = {key: value for key, value in rows.items() if key != part}
        with pytest.raises(dfl.errors.DataError, match=f"got no {part} rows"):
            method.fit(**others, validation=logs(64, seed=3))  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["rct", "obs", "validation"])
def test_what_is_no_rows_is_refused_by_the_part(part: str) -> None:
    rows: Any = {"rct": logs(8, seed=1), part: logs(8, seed=1).features}
    with pytest.raises(
        InvalidValueError, match=f"{part} must be an instance of UpliftData, got te"
    ):
        METHODS.make("tsm-sl").fit(**rows)


PARTS = ("network", "training", "loss", "hypergrad", "upper", "base")


@pytest.mark.parametrize("name", METHODS.names())
def test_parts_given_by_name_or_class_are_refused_at_once(name: str) -> None:
    made = METHODS.make(name)
    for field in {field.name for field in fields(made)}.intersection(PARTS):  # type: ignore[arg-type]  # a dataclass
        for wrong in ("a-name", type(getattr(made, field))):
            with pytest.raises(InvalidValueError, match=f"{field} must be a"):
                replace(made, **{field: wrong})  # type: ignore[type-var]


def test_models_refuse_budgets_and_solvers_that_are_none() -> None:
    model = NetworkEnsemble.__new__(NetworkEnsemble)  # refused before anything is predicted
    features = torch.zeros(2, 3)
    for solver in ("greedy-dual", GreedyDual):
        with pytest.raises(InvalidValueError, match="solver must be an instance of AbstractSolver"):
            model.allocate(features, Budget(share=0.3), solver=solver)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="budget must be an instance of Budget"):
        model.allocate(features, 30.0)  # type: ignore[arg-type]


def test_the_table_is_complete() -> None:
    found = set()
    interfaces = (AbstractMethod, AbstractNetworkMethod)
    for module in pkgutil.iter_modules(dfl.methods.__path__, "dfl.methods."):
        for _, member in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(member, AbstractMethod) and member not in interfaces:
                found.add(member)
    assert found == {METHODS.load(name) for name in NAMES}
