from dataclasses import replace
from typing import Any, Literal

import pytest
import torch

from dfl import Budget
from dfl.data import UpliftData
from dfl.errors import InfeasibleBudgetError, InvalidValueError
from dfl.hypergrad import HYPERGRADIENTS, Neumann
from dfl.lab import Findings, Lab
from dfl.layers import LAYERS, Softmax, Softness
from dfl.registry import Entry
from tests.lab.conftest import LAB
from tests.methods.toy import logs


@pytest.mark.parametrize("family", ["layers", "hypergradients"])
def test_every_registered_name_has_a_row_that_says_what_was_seen_or_why_not(
    found: Findings, family: Literal["layers", "hypergradients"]
) -> None:
    registry: Any = {"layers": LAYERS, "hypergradients": HYPERGRADIENTS}[family]
    rows = {one.name: one for one in getattr(found, family)}
    assert rows.keys() == set(registry)
    for one in rows.values():
        assert one.note or None not in (one.cosine, one.noise, one.milliseconds, one.megabytes)
        if one.cosine is not None:
            assert -1 <= one.cosine <= 1 + 1e-9
            assert one.value is not None


def test_gradients_that_are_exact_are_seen_to_be(found: Findings) -> None:
    layers = {one.name: one for one in found.layers}
    for name in ("softmax", "perturbed-argmax", "quadratic"):  # but for a scale held constant
        assert (layers[name].own_cosine or 0) > 0.8, layers[name]
    for name in ("finite-difference", "interpolation", "straight-through"):
        assert layers[name].own_cosine is None
        assert layers[name].noise is not None
    hypergradients = {one.name: one for one in found.hypergradients}
    for name in ("exact", "conjugate-gradient"):
        assert hypergradients[name].cosine == pytest.approx(1, abs=1e-6)


def test_the_same_seed_finds_the_same(found: Findings, batch: UpliftData) -> None:
    again = LAB.run(batch)
    for one, other in zip(found.layers, again.layers, strict=True):
        assert one.cosine == other.cosine
        if one.name != "linear-program":  # may or may not keep within the patience
            assert one.noise == other.noise


def test_parts_of_ones_own_stand_beside_the_registered_or_in_their_place(batch: UpliftData) -> None:
    fixed = Softmax(softness=Softness(0.3, "absolute"))
    found = LAB.run(
        batch,
        layers={"fixed": fixed, "softmax": Softmax()},
        hypergradients={"neumann": Neumann(terms=1)},
    )
    rows = {one.name: one for one in found.layers}
    assert rows.keys() == {*LAYERS, "fixed"}
    assert rows["fixed"].own_cosine == pytest.approx(1, abs=1e-6)
    assert len(found.hypergradients) == len(HYPERGRADIENTS)


def test_a_part_that_cannot_take_the_batch_says_why(
    batch: UpliftData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LAYERS, "_entries", dict(LAYERS._all()))
    LAYERS.register("far", Entry("package_that_is_not_there:Far", extra="far"))
    rows = {one.name: one for one in LAB.run(batch).layers}
    assert rows["far"].note.startswith("MissingExtraError: 'far' of layers needs the package")
    assert rows["far"].cosine is None


def test_a_slow_part_is_not_redrawn(batch: UpliftData) -> None:
    rows = replace(LAB, patience=1e-9).run(batch).layers
    assert all(one.note.startswith("not redrawn: one gradient takes ") for one in rows)
    assert all(one.cosine is not None and one.noise is None for one in rows)


def test_without_a_batch_it_stands_on_the_simulator() -> None:
    found = Lab(rows=200, draws=2, patience=1e-9).run()
    assert found.rows == 200


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 19}, "rows must be >= 20, got 19"),
        ({"draws": 1}, "draws must be >= 2, got 1"),
        ({"step": 0.0}, "step must be > 0, got 0"),
        ({"patience": -1.0}, "patience must be > 0, got -1"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        Lab(**options)


def test_batches_that_are_refused(batch: UpliftData) -> None:
    with pytest.raises(InvalidValueError, match="observational and carry none"):
        LAB.run(logs(240, source="obs"))
    with pytest.raises(InfeasibleBudgetError):
        replace(LAB, budget=Budget(per_head=0.0)).run(
            replace(batch, cost=batch.cost + 1)  # even the cheapest treatment costs money
        )
    one = torch.cat([(batch.treatment != 2).nonzero()[:, 0], (batch.treatment == 2).nonzero()[0]])
    with pytest.raises(InvalidValueError, match="every treatment needs two rows or more, got"):
        LAB.run(batch.subset(one))
