"""Studies segments on the coupon simulator: what they earn, and whether budgets hold.

``python -m benchmarks.segment_study --seeds 20`` measures three settings, seed by seed, and writes
results after each, so that a stopped study goes on where it was. ``--table`` prints the tables.
Development used seeds from 300 on; report others (``--first``).

A cell is the mean over three budgets (shares .1, .3, .5) of the share of the oracle's gain over the
best constant mix. Methods share the networks of one half of the randomised rows.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from scipy import stats

from dfl.budget import Budget
from dfl.data import CouponSimulator, PartSizes, PotentialOutcomes, UpliftData
from dfl.io import write_json
from dfl.methods import (
    AbstractMethod,
    AbstractModel,
    Grounded,
    Hrc,
    Monitor,
    PolicyTree,
    Training,
    TrainingSet,
    TsmSl,
)
from dfl.metrics import TrueScale
from dfl.seeds import stream
from dfl.segments import SegmentModel, SegmentTable
from dfl.segments.making import Tabulation
from dfl.segments.uncertainty import Uncertainty
from dfl.solvers import Stochastic
from dfl.solvers.scenarios import (
    AbstractFormulation,
    ChanceConstraint,
    ExpectedValue,
    MeanRisk,
    SimpleRecourse,
    WorstCase,
)
from dfl.training.settings import hold_out

RESULTS = Path(__file__).parent / "results" / "segment_study.json"
BUDGETS = (Budget(share=0.1), Budget(share=0.3), Budget(share=0.5))
# As when the study was begun, whatever the defaults are.
TRAINING = Training(
    epochs=10,
    batch_size=1024,
    min_steps=500,
    learning_rate=1e-3,
    schedule="constant",
    averaging=0,
    weight_decay=(0.3,),
    members=2,
)
COUNTS = (2, 5, 10, 20)


@final
@dataclass(frozen=True)
class Setting:
    """Randomised rows, and the spread of a lognormal factor of mean 1 on logged revenue."""

    rows: int
    noise: float


SETTINGS = {
    "20,000 rows": Setting(20_000, 0.0),
    "20,000 rows, noisy": Setting(20_000, 1.2),
    "100,000 rows, noisy": Setting(100_000, 1.2),
}
FORMULATIONS: dict[str, tuple[AbstractFormulation, float | None]] = {
    "expected value": (ExpectedValue(), None),
    "chance .25": (ChanceConstraint(risk=0.25), 0.25),
    "chance .05": (ChanceConstraint(risk=0.05), 0.05),
    "recourse, penalty 2": (SimpleRecourse(penalty=2.0), None),
    "mean-risk": (MeanRisk(aversion=0.5, tail=0.1), None),
    "worst case": (WorstCase(), 0.0),
}


@final
@dataclass(frozen=True, eq=False)
class Kept(AbstractMethod):
    """A method whose models are kept, so that others can build on them."""

    base: AbstractMethod
    models: dict[tuple[int, int], AbstractModel] = field(default_factory=dict)

    @property
    def uses(self) -> Any:
        return self.base.uses

    def fit_many(
        self, sets: Sequence[TrainingSet], *, monitor: Monitor | None = None
    ) -> list[AbstractModel]:
        (one,) = sets
        assert one.rct is not None
        key = (one.seed, len(one.rct))
        if key not in self.models:
            self.models[key] = self.base.fit_many(sets)[0]
        return [self.models[key]]


@final
@dataclass(frozen=True, eq=False)
class Halved(AbstractMethod):
    """A method on the half of the randomised rows that the networks of `Hrc` learn from."""

    base: AbstractMethod

    @property
    def uses(self) -> Any:
        return self.base.uses

    def fit_many(
        self, sets: Sequence[TrainingSet], *, monitor: Monitor | None = None
    ) -> list[AbstractModel]:
        return self.base.fit_many([hold_out(self.needed(one), 0.5)[0] for one in sets])


def methods() -> dict[str, AbstractMethod]:
    """Return every method, made anew so that kept models do not pile up."""
    base = TsmSl(rows="rct", training=TRAINING)
    half = Kept(base)

    def hrc(**options: Any) -> Hrc:
        return Hrc(**{"base": half, "budgets": BUDGETS, "counts": COUNTS, **options})

    found: dict[str, AbstractMethod] = {
        "TSM-SL": base,
        "TSM-SL on the networks' half": Halved(half),
        "HRC": hrc(),
        "HRC, plain means, no shrinkage": hrc(
            tabulation=Tabulation(doubly_robust=False, shrinkage=False)
        ),
        "raw features": hrc(representation="features"),
        "predictions": hrc(representation="predictions"),
        "random segments": hrc(representation="random"),
        "tree, depth 2": PolicyTree(base=half, held_out=0.5, share=0.1, depth=2),
        "tree, depth 3": PolicyTree(base=half, held_out=0.5, share=0.1, depth=3),
        "HRC, grounded inside": hrc(base=Grounded(base=base)),
    }
    found |= {f"HRC, K = {count}": hrc(counts=(count,), cell=0) for count in (2, 10, 50)}
    return found


def noisy(rows: UpliftData, noise: float, generator: torch.Generator) -> UpliftData:
    drawn = torch.randn(len(rows), generator=generator)
    return replace(rows, revenue=rows.revenue * (noise * drawn - noise**2 / 2).exp())


def measure(setting: Setting, seed: int) -> dict[str, Any]:
    sizes = PartSizes(rct=setting.rows, obs=100, validation=setting.rows // 5, test=40_000)
    draw = CouponSimulator(sizes=sizes).hybrid(seed)
    assert draw.rct is not None
    assert draw.test.truth is not None
    generator = stream(seed, "noise of the labels")
    rct, validation = (noisy(one, setting.noise, generator) for one in (draw.rct, draw.validation))
    scale = TrueScale.of(draw.test.truth, BUDGETS)
    found: dict[str, Any] = {"gain": {}, "segments": {}}
    for name, method in methods().items():
        model = method.fit(rct=rct, validation=validation, seed=seed)
        predicted = model.predict(draw.test.features)
        shares = [one.share_of_gain for one in scale.measure(predicted.revenue, predicted.cost)]
        found["gain"][name] = sum(shares) / len(shares)
        if isinstance(model, SegmentModel):
            found["segments"][name] = model.segmenter.segments
        if name == "HRC":
            assert isinstance(model, SegmentModel)
            found["violation"] = violation(model, draw.test.features, draw.test.truth, seed)
    return found


def violation(
    model: SegmentModel, features: torch.Tensor, truth: PotentialOutcomes, seed: int
) -> dict[str, Any]:
    """Return how often each formulation's choice exceeds the budget, and what it earns.

    On 100 scenarios of the table the choice is made; ``fresh``: on 10,000 others of the same law;
    ``true``: with the true cell means of these people under the same traffic and redemption.
    """
    table, people = model.table, 10_000.0
    law = Uncertainty(traffic=0.1, redemption=0.2)
    low, high = (float(table.share @ end) for end in (table.cost.amin(1), table.cost.amax(1)))
    budget = people * (low + 0.3 * (high - low))
    chosen_by = law.draw(table, people, budget, 100, stream(seed, "chosen by"))
    fresh = law.draw(table, people, budget, 10_000, stream(seed, "fresh"))
    true = true_table(table, model.segmenter.assign(features), truth)
    shocks = Uncertainty(cells=False, traffic=law.traffic, redemption=law.redemption)
    real = shocks.draw(true, people, budget, 10_000, stream(seed, "real"))
    found = {}
    for name, (formulation, _) in FORMULATIONS.items():
        solver = Stochastic(formulation=formulation, relative_gap=1e-4, time_limit=20)
        choice = solver.solve_scenarios(chosen_by).choice
        cost = {key: one.totals(choice)[1] for key, one in (("fresh", fresh), ("true", real))}
        found[name] = {
            **{key: float((one > budget).double().mean()) for key, one in cost.items()},
            "revenue": float(real.totals(choice)[0].mean()) / people,
        }
    return found


def true_table(
    table: SegmentTable, segment: torch.Tensor, truth: PotentialOutcomes
) -> SegmentTable:
    people = torch.bincount(segment, minlength=table.segments).double()
    sums = [
        torch.zeros_like(table.revenue).index_add_(0, segment, one.double())
        for one in (truth.revenue, truth.cost)
    ]
    revenue, cost = (one / people.clamp(min=1)[:, None] for one in sums)
    return replace(table, share=people / people.sum(), revenue=revenue, cost=cost)


def study(path: Path, seeds: range) -> None:
    """Measure what is not in the file yet, seed by seed, so that all settings grow together."""
    results = json.loads(path.read_text()) if path.exists() else {}
    for seed in seeds:
        for name, setting in SETTINGS.items():
            own = results.setdefault(name, {})
            if str(seed) in own:
                continue
            own[str(seed)] = measure(setting, seed)
            write_json(path, results)
            gain = own[str(seed)]["gain"]
            print(
                f"{name}, seed {seed}: TSM-SL {gain['TSM-SL']:.3f}, HRC {gain['HRC']:.3f}",
                flush=True,
            )


def tables(results: Mapping[str, Any]) -> str:
    """Return what was earned, and how often budgets were exceeded, as Markdown."""
    lines = [f"| | {' | '.join(f'{n} ({len(own)} seeds)' for n, own in results.items())} |"]
    lines.append("|---" * (len(results) + 1) + "|")
    for name in methods():
        cells = [_mean([one["gain"][name] for one in own.values()]) for own in results.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name in ("HRC",):
        cells = [
            _mean([one["gain"][name] - one["gain"]["TSM-SL"] for one in own.values()])
            for own in results.values()
        ]
        lines.append(f"| {name} less TSM-SL, paired | {' | '.join(cells)} |")
    lines += [
        "",
        "| | promise | fresh scenarios | true cells | revenue per head |",
        "|---|---|---|---|---|",
    ]
    for name, (_, promise) in FORMULATIONS.items():
        found = [one["violation"][name] for own in results.values() for one in own.values()]
        cells = [_mean([one[key] for one in found]) for key in ("fresh", "true", "revenue")]
        lines.append(f"| {name} | {'none' if promise is None else promise} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    """Return mean and half-width of the 95 % interval."""
    found = torch.tensor(values, dtype=torch.float64)
    if len(found) < 2:
        return f"{float(found.mean()):.3f}"
    reach = stats.t.ppf(0.975, len(found) - 1) * float(found.std()) / math.sqrt(len(found))
    return f"{float(found.mean()):.3f} ± {reach:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true")
    chosen = parser.parse_args()
    if not chosen.table:
        study(chosen.results, range(chosen.first, chosen.first + chosen.seeds))
    print(tables(json.loads(chosen.results.read_text())))


if __name__ == "__main__":
    main()
