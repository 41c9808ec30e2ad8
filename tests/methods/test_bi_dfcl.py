"""A gate between a teacher and the logs, learned."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from dfl.budget import Budget
from dfl.config.assembly import Assembly
from dfl.config.options import METHOD
from dfl.errors import InvalidValueError
from dfl.hypergrad import HYPERGRADIENTS, ConjugateGradient, Unrolled
from dfl.losses import PrimalPolicy
from dfl.methods import METHODS, BiDfcl, BilevelSettings, bi_dfcl
from dfl.models import MLP
from tests.methods.toy import ONCE, SMALL, logs, training_set

BRIDGE = BilevelSettings(hidden=(4,), every=2, steps=2, batch_size=64, warm_epochs=1)


def test_the_gate_is_logged_and_moves() -> None:
    bridge = replace(BRIDGE, reach=2.0, warm_epochs=0)
    method = BiDfcl(network=MLP((8,)), training=replace(SMALL, epochs=6), upper=bridge)
    gate = [
        epoch["reading_mean"] for epoch in method.fit_many([training_set(0)])[0].history["target"]
    ]
    assert len(gate) == 6
    assert max(gate) - min(gate) > 0.01


@pytest.mark.parametrize("name", HYPERGRADIENTS.names())
def test_bi_dfcl_trains_with_every_hypergradient_by_its_name_alone(name: str) -> None:
    hypergrad = Assembly({}).build(METHOD, {"name": "bi-dfcl", "hypergrad": name}, "").hypergrad
    bridge = replace(BRIDGE, reach=2.0, warm_epochs=0, every=8, steps=1)
    training = replace(SMALL, epochs=2)
    method = BiDfcl(
        network=MLP((3,)), training=training, upper=bridge, hypergrad=hypergrad, refit=False
    )
    gate = [
        epoch["reading_mean"] for epoch in method.fit_many([training_set(0)])[0].history["target"]
    ]
    assert max(gate) - min(gate) > 0.001


def test_the_gate_opens_where_only_the_teacher_is_right() -> None:
    """Logs whose policy hides the effect, a teacher with plenty of randomised rows."""
    rows = logs(4_096, seed=1)
    confounded = logs(4_096, source="obs", seed=2)
    lies = replace(confounded, revenue=confounded.revenue - 3.0 * confounded.treatment)
    bridge = BilevelSettings(hidden=(4,), every=2, steps=3, batch_size=1024, reach=3.0)
    training = replace(SMALL, epochs=8, batch_size=256)
    method = BiDfcl(network=MLP((16,)), training=training, upper=bridge, rows="obs", refit=False)
    gate = method.fit(rct=rows, obs=lies, validation=logs(512, seed=3)).history["target"]
    assert gate[-1]["reading_mean"] > gate[2]["reading_mean"] + 0.05


def test_the_upper_rows_are_the_share_held_out_from_the_teacher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: dict[str, Any] = {}

    def stop(**parts: Any) -> None:
        built.update(parts)
        raise InvalidValueError("enough")

    monkeypatch.setattr(bi_dfcl, "Bilevel", stop)
    one = training_set(0)
    with pytest.raises(InvalidValueError, match="enough"):
        BiDfcl(network=MLP((4,)), training=ONCE, held_out=0.25).fit_many([one])
    (seen,), upper = built["lower"].networks.sets, built["rows"].revenue
    assert upper.tolist() == built["upper"]._pool.revenue.tolist()
    everyone = torch.cat([seen.rct.revenue, upper])
    assert one.rct is not None
    assert sorted(everyone.tolist()) == sorted(one.rct.revenue.tolist())
    assert 0.15 < len(upper) / len(everyone) < 0.35


def test_without_refit_the_target_of_the_search_serves() -> None:
    one, method = training_set(0), BiDfcl(network=MLP((8,)), training=SMALL, upper=BRIDGE)
    assert "refit-target" not in replace(method, refit=False).fit_many([one])[0].history
    assert "refit-target" in method.fit_many([one])[0].history


def test_an_ablation_weighs_rows_and_has_no_teacher() -> None:
    bridge = replace(BRIDGE, reach=2.0, warm_epochs=0)
    method = BiDfcl(network=MLP((8,)), training=SMALL, upper=bridge, labels="none")
    history = method.fit_many([training_set(0)])[0].history
    assert {"target", "refit-target"} <= history.keys()
    assert not {"teacher", "refit-teacher"} & history.keys()
    weight = [epoch["reading_mean"] for epoch in history["target"]]
    assert max(weight) - min(weight) > 0.001
    robust = replace(method, loss=PrimalPolicy(estimator="doubly-robust"))
    assert "teacher" in robust.fit_many([training_set(0)])[0].history


def test_the_published_form_is_a_name() -> None:
    published = METHODS.make("bi-dfcl-published")
    assert isinstance(published, BiDfcl)
    assert isinstance(published.loss, PrimalPolicy)
    assert (published.loss.estimator, published.loss.objective) == ("horvitz-thompson", "revenue")
    assert (published.price, published.rows, published.refit) == ("batch", "obs", False)
    assert isinstance(published.hypergrad, ConjugateGradient)
    assert published.hypergrad.max_iter == 50
    assert (published.upper.every, published.upper.steps) == (5, 5)
    assert (published.budgets, published.start) == ((Budget(share=0.3),), 0.0)


def test_the_rows_of_the_ablation_are_names() -> None:
    weighted, explicit = METHODS.make("bi-dfcl-weighted"), METHODS.make("bi-dfcl-explicit")
    assert isinstance(weighted, BiDfcl)
    assert isinstance(explicit, BiDfcl)
    assert (weighted.labels, explicit.labels) == ("none", "teacher")
    assert isinstance(weighted.hypergrad, Unrolled)
    assert isinstance(explicit.hypergrad, Unrolled)
    with pytest.raises(InvalidValueError, match="labels must be one of"):
        BiDfcl(labels="guessed")  # type: ignore[arg-type]
