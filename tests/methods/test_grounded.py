"""Methods that are corrected by what the experiment says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import dfl.methods.grounded as module
from dfl.budget import Budget
from dfl.config import from_yaml, read_study, to_yaml
from dfl.data import PotentialOutcomes, UpliftData
from dfl.errors import ConfigError, DataError, InvalidValueError
from dfl.methods import (
    METHODS,
    AbstractNetworkMethod,
    BiDfcl,
    BilevelSettings,
    Dfcl,
    DragonNet,
    Grounded,
    KdLabel,
    Monitor,
    Progress,
    Training,
    TrainingSet,
    TsmSl,
)
from dfl.metrics import TrueScale
from dfl.models import MLP, ArmHeads, GroundedModel, load_model
from dfl.models.grounding.correction import Correction, CorrectionForm
from dfl.models.grounding.evidence import Evidence
from dfl.training.folds import Folds
from tests.methods.toy import SMALL, logs, outcomes, training_set

HEADS = ArmHeads((8,), (4,), propensity=True)
UPPER = BilevelSettings(hidden=(4,), batch_size=64, warm_epochs=0)
BASES: dict[str, AbstractNetworkMethod] = {
    "both": TsmSl(network=MLP((8,)), training=SMALL),
    "rct": TsmSl(rows="rct", network=MLP((8,)), training=SMALL),
    "obs": TsmSl(rows="obs", network=MLP((8,)), training=SMALL),
    "kd-label": KdLabel(network=MLP((8,)), training=SMALL),
    "dfcl": Dfcl(network=MLP((8,)), training=SMALL, decision_epochs=1),
    "bi-dfcl": BiDfcl(network=MLP((8,)), training=SMALL, upper=UPPER),
    "dragonnet": DragonNet(network=HEADS, training=SMALL),
}


def fitted(one: TrainingSet, base: str = "both") -> GroundedModel:
    model = Grounded(base=BASES[base]).fit_many([one])[0]
    assert isinstance(model, GroundedModel)
    return model


def finite(model: GroundedModel, rows: UpliftData) -> bool:
    found = model.predict(rows.features)
    return bool(found.revenue.isfinite().all() and (found.cost >= 0).all())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Evidence, torch.Tensor]]:
    """What each correction of revenue was fitted to."""
    kept: list[tuple[Evidence, torch.Tensor]] = []
    fit = Correction.fit

    def noting(
        evidence: Evidence, cost: torch.Tensor, forms: Sequence[CorrectionForm]
    ) -> tuple[Correction, ...]:
        kept.extend((evidence, cost) for _ in forms)
        return fit(evidence, cost, forms)

    monkeypatch.setattr(module.Correction, "fit", staticmethod(noting))
    monkeypatch.setattr(module, "cost_corrections", lambda *_: ())
    return kept


@pytest.mark.parametrize("base", BASES)
def test_any_method_can_be_grounded(base: str) -> None:
    one = training_set(0)
    model = fitted(one, base)
    assert (len(model.members), len(model.corrections)) == (2, 4)
    assert finite(model, logs(100, seed=7, dtype=torch.float64))
    assert all("disagreement" in fit for fit in model.history["correction"])


@pytest.mark.parametrize("base", ["both", "rct", "obs"])
def test_rows_are_predicted_by_the_members_that_did_not_learn_from_them(
    base: str, seen: list[tuple[Evidence, torch.Tensor]]
) -> None:
    one = training_set(0)
    model = fitted(one, base)
    evidence, cost = seen[0]
    folds = Folds.of(BASES[base].needed(one), 2)
    wanted, order = [], []
    for name in ("rct", "obs", "validation"):
        part = getattr(one, name)
        answers = torch.stack([m.predict(part.features).revenue for m in model.members])
        fold = folds.of_part.get(name)  # type: ignore[call-overload]
        if fold is None:
            wanted.append(answers.mean(dim=0))
            order.append(part.features)
        else:
            wanted += [answers[number][fold == number] for number in range(2)]
            order += [part.features[fold == number] for number in range(2)]
    assert_close(evidence.predicted, torch.cat(wanted))
    assert_close(evidence.features, torch.cat(order), rtol=0, atol=0)
    assert int(evidence.logged.sum()) == 512
    assert one.rct is not None
    assert one.validation is not None
    for arm in range(3):
        paid = [part.cost[part.treatment == arm] for part in (one.rct, one.validation)]
        assert_close(cost[arm], torch.cat(paid).mean())


@pytest.mark.parametrize("in_sample", [False, True])
@pytest.mark.parametrize("decays", [(0.1,), (0.1, 1.0)])
def test_validation_rows_may_lie_in_folds_too(decays: tuple[float, ...], in_sample: bool) -> None:
    one = training_set(0)
    assert one.rct is not None
    assert one.validation is not None
    choosing = TsmSl(network=MLP((8,)), training=replace(SMALL, weight_decay=decays))
    (decay,) = choosing.choose_decays([one], Monitor())
    learning, joined = (
        replace(choosing, training=replace(choosing.training, **options))
        for options in ({"validation": "learn"}, {"weight_decay": (decay,)})
    )
    rows = logs(100, seed=7, dtype=torch.float64).features
    found = Grounded(base=learning, in_sample=in_sample).fit_many([one])[0].predict(rows)
    all_rows = replace(one, rct=one.rct.joined(one.validation), validation=None)
    wanted = Grounded(base=joined, in_sample=in_sample).fit_many([all_rows])[0].predict(rows)
    assert_close(found.revenue, wanted.revenue, rtol=0, atol=0)
    assert_close(found.cost, wanted.cost, rtol=0, atol=0)


def test_weight_decay_is_chosen_once_and_members_learn_their_folds_at_once() -> None:
    several = replace(SMALL, weight_decay=(0.1, 1.0))
    base = TsmSl(network=MLP((8,)), training=several)
    heard: list[Progress] = []
    one = training_set(0)
    model = Grounded(base=base).fit_many([one], monitor=Monitor(report=heard.append))[0]
    assert [(p.stage, p.epoch) for p in heard] == [
        (stage, epoch) for stage in ("tuning-target", "target") for epoch in (1, 2, 3)
    ]
    alone = base.fit_many([one])[0]
    assert model.history["weight_decay"] == alone.history["weight_decay"]


def test_in_sample_adds_the_base_method_itself_corrected_by_the_rows_it_learned(
    seen: list[tuple[Evidence, torch.Tensor]], tmp_path: Path
) -> None:
    base, sets = BASES["both"], [training_set(seed) for seed in (0, 1)]
    heard: list[Progress] = []
    monitor = Monitor(report=heard.append, folder=tmp_path)
    models = Grounded(base=base, in_sample=True).fit_many(sets, monitor=monitor)
    stages = ("target", "in-sample-target")
    assert [(p.stage, p.epoch) for p in heard] == [(s, e) for s in stages for e in (1, 2, 3)]
    assert {path.stem for path in tmp_path.iterdir()} == set(stages)
    assert len(seen) == 10  # four forms of each set, then one more of each
    rows = logs(100, seed=7, dtype=torch.float64).features
    for number, (one, model) in enumerate(zip(sets, models, strict=True)):
        assert isinstance(model, GroundedModel)
        assert {*stages} <= model.history.keys()
        evidence = seen[8 + number][0]
        alone = base.fit_many(sets)[number]
        assert_close(evidence.predicted, alone.predict(evidence.features).revenue)
        assert_close(evidence.features, torch.cat([part.features for part in one.parts]))
        other = model.in_sample
        assert other is not None
        assert (len(other.members), len(other.corrections)) == (1, 1)
        assert float(other.corrections[0].stretch) == 0
        first, second = replace(model, in_sample=None).predict(rows), other.predict(rows)
        found = model.predict(rows, spread=True)
        assert_close(found.revenue, 0.8 * first.revenue + 0.2 * second.revenue)
        assert_close(found.cost, (first.cost + second.cost) / 2)
        assert found.revenue_spread is not None
        assert found.cost_spread is not None
        apart = (first.cost - second.cost).abs() / 2
        assert bool((found.cost_spread >= apart - 1e-12).all())
        model.save(tmp_path / f"{number}.dfl")
        again = load_model(tmp_path / f"{number}.dfl").predict(rows, spread=True)
        assert_close(vars(again), vars(found), rtol=0, atol=0)
        told: Any = model.account((), ())["words"]
        (size,) = [line for line in told if line.startswith("Effective number")]
        assert size.count(",") == 4


def test_the_first_part_of_an_in_sample_model_is_grounded_as_usual() -> None:
    one = training_set(0)
    model = METHODS.make("grounded-in-sample", base=BASES["rct"]).fit_many([one])[0]
    assert isinstance(model, GroundedModel)
    rows = logs(50, dtype=torch.float64).features
    usual = fitted(one, "rct").predict(rows)
    assert_close(vars(replace(model, in_sample=None).predict(rows)), vars(usual), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("in_sample", "decays", "odd", "stage"),
    [
        (True, (0.1,), False, "in-sample-target"),
        (False, (0.1, 1.0), True, "converted-target"),
    ],
)
def test_a_training_that_was_stopped_goes_on_where_it_was(
    in_sample: bool, decays: tuple[float, ...], odd: bool, stage: str, tmp_path: Path
) -> None:
    base = TsmSl(network=MLP((8,)), training=replace(SMALL, weight_decay=decays))
    method, one = Grounded(base=base, in_sample=in_sample), training_set(0)
    sets = [in_cents(one) if odd else one]

    def stop(progress: Progress) -> None:
        if (progress.stage, progress.epoch) == (stage, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method.fit_many(sets, monitor=Monitor(report=stop, folder=tmp_path))
    heard: list[Progress] = []
    again = method.fit_many(sets, monitor=Monitor(report=heard.append, folder=tmp_path))[0]
    assert [(one.stage, one.epoch) for one in heard] == [(stage, 3)]
    rows = logs(50, dtype=torch.float64).features
    whole = method.fit_many(sets)[0]
    assert_close(vars(again.predict(rows)), vars(whole.predict(rows)), rtol=0, atol=0)
    assert again.history == whole.history


def in_cents(one: TrainingSet) -> TrainingSet:
    """Keep the logs' revenue in hundredths of what the experiment's is kept in."""
    assert one.obs is not None
    return replace(one, obs=replace(one.obs, revenue=100 * one.obs.revenue))


def test_logs_that_lie_are_put_right() -> None:
    training = Training(epochs=8, batch_size=128, min_steps=320, members=2, weight_decay=(0.1,))
    base = TsmSl(network=MLP((16,)), training=training)
    test = logs(2_000, seed=5)
    truth = PotentialOutcomes(*outcomes(test.features))
    scale = TrueScale.of(truth, (Budget(share=0.4),))
    obs = logs(4_000, source="obs", seed=2)
    lie = (obs.treatment - 1) * (1.5 + 1.5 * obs.features[:, 0])
    rows: dict[str, Any] = {
        "rct": logs(2_000, seed=1),
        "obs": replace(obs, revenue=obs.revenue - lie),
        "validation": logs(1_000, seed=3),
    }
    shares = []
    for method in (base, Grounded(base=base)):
        found = method.fit(**rows).predict(test.features)
        shares.append(scale.measure(found.revenue, found.cost)[0].share_of_gain)
    assert shares[0] < 0
    assert shares[1] > 0.5


def heavy(one: TrainingSet) -> TrainingSet:
    """Multiply what is seen by lognormal noise of mean 1, sd 2 of the logarithm."""
    parts = {}
    for number, name in enumerate(("rct", "obs", "validation")):
        part = getattr(one, name)
        generator = torch.Generator().manual_seed(number)
        noise = (2 * torch.randn(len(part), generator=generator).to(part.revenue) - 2).exp()
        parts[name] = replace(part, revenue=part.revenue * noise, cost=part.cost * noise)
    return replace(one, **parts)


def test_heavy_tails_are_winsorised_for_members_and_corrections_and_the_account_says_so(
    seen: list[tuple[Evidence, torch.Tensor]],
) -> None:
    one = heavy(training_set(0))
    model = fitted(one)
    whole = torch.cat([part.revenue for part in one.parts])
    assert_close(seen[0][0].outcome.abs().sum(), whole.abs().sum())
    assert float(seen[0][0].outcome.max()) < 0.5 * float(whole.max())
    (bounds,) = model.history["tails"]
    told: Any = model.account((), ())["words"]
    assert told[-1].startswith(f"Tails are heavy: single revenues above {bounds['revenue']:.4g} ")
    assert finite(model, logs(50, dtype=torch.float64))


def test_light_tails_are_left_as_they_are(seen: list[tuple[Evidence, torch.Tensor]]) -> None:
    one = training_set(0)
    model = fitted(one)
    outcome = torch.cat([part.revenue for part in one.parts])
    assert_close(seen[0][0].outcome.sort().values, outcome.sort().values, rtol=0, atol=0)
    assert "tails" not in model.history


@pytest.mark.parametrize("in_sample", [False, True])
def test_logs_that_count_otherwise_are_converted_and_the_account_says_so(in_sample: bool) -> None:
    sets = [training_set(seed) for seed in (0, 1)]
    method = Grounded(base=BASES["both"], in_sample=in_sample)
    sound, odd = method.fit_many([sets[0], in_cents(sets[1])])
    rows = logs(100, seed=7, dtype=torch.float64)
    found, wanted = sound.predict(rows.features), method.fit_many(sets)[0].predict(rows.features)
    assert_close(vars(found), vars(wanted), rtol=0, atol=0)
    assert "units_by_treatment" not in sound.history
    units = odd.history["units_by_treatment"]
    for unit in units:
        assert unit == {"revenue": pytest.approx(100, rel=0.3), "cost": 1}
    assert isinstance(odd, GroundedModel)
    told: Any = odd.account((), ())["words"]
    assert told[-1].startswith(f"The logs' revenue is {units[0]['revenue']:.3g} (treatment 0), ")
    parts = [part for part in (sets[1].rct, sets[1].validation) if part is not None]
    size = torch.cat([part.revenue for part in parts]).mean()
    assert_close(odd.predict(rows.features).revenue.mean(), size, rtol=0.3, atol=0)


def test_validation_rows_and_logs_may_be_missing() -> None:
    one = replace(training_set(0), validation=None)
    assert finite(fitted(one), logs(50, dtype=torch.float64))
    model = fitted(replace(one, obs=None), "rct")
    assert all("disagreement" not in fit for fit in model.history["correction"])
    alone = TrainingSet(obs=one.obs, validation=training_set(0).validation)
    assert finite(fitted(alone, "obs"), logs(50, dtype=torch.float64))


def test_few_rows_two_treatments_many_features_and_constant_revenue_are_no_trouble() -> None:
    one = training_set(0, torch.float32)
    parts: dict[str, UpliftData] = {}
    for index, name in enumerate(("rct", "obs", "validation")):
        part = getattr(one, name)
        arm = part.treatment.clamp(max=1)
        noise = torch.randn(len(part), 56, generator=torch.Generator().manual_seed(index))
        parts[name] = replace(
            part,
            treatment=arm,
            treatments=2,
            features=torch.cat([part.features, noise], dim=1),
            revenue=torch.where(arm == 0, 3.0, part.revenue),
        )
    rct = parts["rct"]
    rows = torch.cat([(rct.treatment == arm).nonzero()[:2, 0] for arm in range(2)])
    for few in (TrainingSet(**parts), TrainingSet(**{**parts, "rct": rct.subset(rows)})):  # type: ignore[arg-type]
        assert finite(fitted(few), parts["validation"])


def test_without_a_randomised_row_that_can_be_left_out_there_is_nothing_to_correct_by() -> None:
    one = training_set(0)
    assert one.rct is not None
    rows = torch.stack([(one.rct.treatment == arm).nonzero()[0, 0] for arm in range(3)])
    single = replace(one, rct=one.rct.subset(rows))
    assert finite(fitted(single), logs(50, dtype=torch.float64))
    with pytest.raises(InvalidValueError, match="a correction needs rows of the experiment"):
        fitted(replace(single, validation=None))


def test_what_does_not_fit_is_refused_in_words() -> None:
    base = BASES["both"]
    with pytest.raises(InvalidValueError, match=r"base must be a method .* networks, got Grounded"):
        Grounded(base=Grounded())  # type: ignore[arg-type]
    one_member = replace(base, training=replace(SMALL, members=1))
    with pytest.raises(InvalidValueError, match="members of the base method must be >= 2, got 1"):
        Grounded(base=one_member)
    learning = Grounded(base=replace(base, training=replace(SMALL, validation="learn")))
    with pytest.raises(DataError, match="got no validation rows; take 'choose'"):
        learning.fit(rct=logs(64), obs=logs(64, source="obs"))
    with pytest.raises(InvalidValueError, match="number of corrections must be >= 1, got 0"):
        Grounded(corrections=())
    with pytest.raises(DataError, match="give rct or validation rows, got neither"):
        Grounded(base=BASES["obs"]).fit(obs=logs(64, source="obs"))
    several = replace(base, training=replace(SMALL, weight_decay=(0.1, 1.0)))
    with pytest.raises(DataError, match="several weight_decay values needs validation rows"):
        Grounded(base=several).fit(rct=logs(64), obs=logs(64, source="obs"))


def test_a_configuration_names_the_method_inside_and_is_written_back() -> None:
    config = {
        "method": {
            "name": "grounded",
            "base": {"name": "kd-label", "gate": 0.7},
            "corrections": [{"add": 0.5}, {"contrast": False}],
        },
        "network": {"hidden": [5]},
        "training": {"members": 3},
    }
    study = read_study(config)
    method = study.method
    assert isinstance(method, Grounded)
    assert isinstance(method.base, KdLabel)
    assert (method.base.gate, method.base.training.members) == (0.7, 3)
    assert method.base.network == MLP((5,))
    assert method.corrections == (CorrectionForm(add=0.5), CorrectionForm(contrast=False))
    again = read_study(from_yaml(to_yaml(study.config), "config.yaml"))
    assert again.config == study.config
    with pytest.raises(ConfigError, match=r"method: base must be a method .* got Grounded"):
        read_study({"method": {"name": "grounded", "base": "grounded"}})


def test_who_spends_much_is_no_tail(seen: list[tuple[Evidence, torch.Tensor]]) -> None:
    one = training_set(0)
    parts = {}
    for name in ("rct", "obs", "validation"):
        part = getattr(one, name)
        rich = part.features[:, 0] >= part.features[:, 0].quantile(0.96)
        parts[name] = replace(part, revenue=torch.where(rich, 100.0, 1.0) * (1 + part.revenue))
    whole = replace(one, **parts)
    model = fitted(whole)
    outcome = torch.cat([part.revenue for part in whole.parts])
    assert_close(seen[0][0].outcome.sort().values, outcome.sort().values, rtol=0, atol=0)
    assert "tails" not in model.history


def test_costs_that_the_logs_recorded_under_another_treatment_are_corrected(
    tmp_path: Path,
) -> None:
    one = training_set(3, torch.float32)
    assert one.obs is not None
    assert one.rct is not None
    assert one.validation is not None
    turned = replace(one.obs, treatment=one.obs.treatments - 1 - one.obs.treatment)
    twice = replace(one, obs=turned.joined(turned).joined(turned))
    model = Grounded(base=BASES["both"], in_sample=True).fit_many([twice])[0]
    model.save(tmp_path / "model.safetensors")
    cost = load_model(tmp_path / "model.safetensors").predict(one.rct.features).cost.mean(dim=0)
    true = outcomes(one.rct.features)[1].mean(dim=0)
    assert isinstance(model, GroundedModel)
    assert len(model.cost_corrections) == len(model.history["cost_correction"]) == 4
    assert_close(cost, true, rtol=0.2, atol=0.25)
    assert bool((model.predict(one.rct.features).cost >= 0).all())
    words = model.account((), ())["words"]
    assert isinstance(words, list)
    assert any(line.startswith("The logs' costs are not the experiment's (") for line in words)
    sound = fitted(one)
    assert sound.cost_corrections == ()
    assert "cost_correction" not in sound.history
