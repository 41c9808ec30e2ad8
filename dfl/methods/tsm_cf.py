"""`TsmCf`: the two-stage method with a causal forest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final, get_args

import torch

from dfl.checks import check_choice, check_count
from dfl.data.uplift_data import UpliftData
from dfl.errors import InvalidValueError, MissingExtraError
from dfl.methods.base import AbstractMethod
from dfl.models import AbstractModel, CausalForestModel, Scaling, Trees
from dfl.scale import from_first, power_of_two, together
from dfl.seeds import stream
from dfl.training.monitor import Monitor
from dfl.training.settings import Part, Rows, TrainingSet, parts_of

__all__ = ["TsmCf"]

_SHARE = 0.45  # of the rows, for each tree; EconML's for its own trees
_MANY = 100  # rows; below, each tree grows on as many as there are


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class TsmCf(AbstractMethod):
    """Predicts by forests, decides afterwards.

    The effect of every treatment against treatment 0, on revenue and on cost, is EconML's
    `CausalForestDML`: outcomes and treatments less what other people's rows predict of them (three
    folds), then an honest forest whose splits look for differences of effect. Levels under
    treatment 0 are a random forest on outcomes less the received treatment's effect. The chance
    of a treatment is its share where all rows are randomised, else a random forest. Trees of these
    forests grow on .45 of the rows (from 100 on), as those of the causal forest do, but on
    ``max_samples`` at most, so that time grows with the rows only where they are read; and
    regressions look at a third of the features at a split. Revenue and cost, which share trees, are
    taken in units of their spread, so that both count at a split, whatever their currency.

    Args:
        rows: which rows to train on; ``"both"`` puts them together.
        trees: of each forest, >= 4.
        min_leaf: rows in a leaf at least, >= 1.
        max_depth: of a tree, >= 1.
        max_samples: rows that each tree grows on at most, >= 100.

    Raises:
        InvalidValueError: if a number is out of its range.

    Source:
        Athey, Tibshirani and Wager (2019), arXiv:1610.01271, whose gradients choose the splits
        (``criterion="het"`` of EconML); baseline TSM-CF of arXiv:2407.13664
        and arXiv:2510.19517, where the settings of the forests are not said. Trees and depth are
        those of code of the same authors (256, 24); their leaves (300) are for millions of rows.
        Levels are ours: EconML says effects alone.
    """

    rows: Rows = "both"
    trees: int = 256
    min_leaf: int = 20
    max_depth: int = 24
    max_samples: int = 8_192

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_choice("rows", self.rows, get_args(Rows))
        least = {"trees": 4, "min_leaf": 1, "max_depth": 1, "max_samples": _MANY}
        for name, bound in least.items():
            check_count(name, getattr(self, name), at_least=bound)

    @property
    def uses(self) -> tuple[Part, ...]:
        """The parts named by ``rows``."""
        return parts_of(self.rows)

    def fit_many(
        self, sets: Sequence[TrainingSet], *, monitor: Monitor | None = None
    ) -> list[AbstractModel]:
        """Fit one model per training set, one after the other; nothing is watched.

        Of several processes the first works, and the others are given what it grew.

        Args:
            sets: as in `AbstractMethod.fit_many`; validation rows are not used.
            monitor: not used: a forest has no epochs.

        Raises:
            DataError: as there.
            InvalidValueError: as there, or if a treatment has a single row, or there is one
                treatment or no feature.
            MissingExtraError: if EconML is not installed.
        """
        needed = self.all_needed(sets)
        with together():
            return [from_first(partial(self._fit, one)) for one in needed]

    def _fit(self, one: TrainingSet) -> CausalForestModel:
        parts = one.rows(self.rows)
        treatments, fewest = parts[0].treatments, _fewest_rows(parts)
        received = torch.cat([part.treatment for part in parts])
        scaling = Scaling.fit(*parts)
        features = torch.cat([part.features for part in parts])
        outcomes = torch.stack(
            [torch.cat([getattr(part, name) for part in parts]) for name in ("revenue", "cost")], 1
        )
        # One tree splits for both outcomes, and features within 1e-7 count as equal: in units of
        # their own spread neither hangs on the unit they come in.
        size = torch.stack((scaling.revenue_scale, scaling.cost_scale)).cpu().double()
        unit = power_of_two(scaling.feature_scale).cpu()  # rounds nothing
        x = (features.cpu() / unit).double().numpy()
        y = (outcomes.cpu().double() / size).numpy()
        t = received.cpu().double().numpy()
        seed = int(torch.randint(2**31, (), generator=stream(one.seed, "causal forest")))
        fitted = self._causal_forest(parts, treatments, min(3, fewest), seed).fit(y, t, X=x)
        effects = [
            Trees.of(
                [tree.tree_ for tree in forest.estimators_],
                [_leaves(tree.tree_, float(scale)) for tree in forest.estimators_],
            ).rescaled(unit)
            for forest, scale in zip(fitted.model_cate.estimators_, size, strict=True)
        ]
        moved = fitted.const_marginal_effect(x)
        moved = torch.from_numpy(moved).reshape(len(x), 2, treatments - 1)
        moved = torch.nn.functional.pad(moved, (1, 0))[torch.arange(len(x)), :, received.cpu()]
        level = self._regression(seed, len(x)).fit(x, y - moved.numpy())
        trees = [tree.tree_ for tree in level.estimators_]
        levels = Trees.of(trees, [tree.value[..., 0] * size.numpy() for tree in trees])
        return CausalForestModel(
            levels.rescaled(unit).to(features.device),
            (effects[0].to(features.device), effects[1].to(features.device)),
            scaling.fixed_cost,
            torch.tensor(features.shape[1]),
            {},
        )

    def _causal_forest(
        self, parts: Sequence[UpliftData], treatments: int, folds: int, seed: int
    ) -> Any:
        """Return EconML's estimator with our settings."""
        try:
            from econml.dml import CausalForestDML
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"'tsm-cf' of methods needs the package {error.name!r}, which is not installed: "
                "pip install 'dfl-toolkit[forest]'"
            ) from error
        from sklearn.dummy import DummyClassifier
        from sklearn.ensemble import RandomForestClassifier

        rows = sum(len(part) for part in parts)
        known = all(part.source == "rct" and part.propensity is None for part in parts)
        chance = RandomForestClassifier(**self._settings(seed), max_samples=self._share(rows))
        return CausalForestDML(
            model_y=self._regression(seed, rows),
            model_t=DummyClassifier(strategy="prior") if known else chance,
            discrete_treatment=True,
            categories=[float(arm) for arm in range(treatments)],
            cv=folds,
            criterion="het",
            drate=False,
            inference=False,
            max_samples=self._share(rows) or _SHARE,
            **{**self._settings(seed), "n_estimators": self.trees - self.trees % 4},
        )

    def _regression(self, seed: int, rows: int) -> Any:
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(
            **self._settings(seed), max_samples=self._share(rows), max_features=1 / 3
        )

    def _settings(self, seed: int) -> dict[str, Any]:
        """Return what all forests share; as many threads as torch uses."""
        return {
            "n_estimators": self.trees,
            "min_samples_leaf": self.min_leaf,
            "max_depth": self.max_depth,
            "random_state": seed,
            "n_jobs": torch.get_num_threads(),
        }

    def _share(self, rows: int) -> float | None:
        """Return on what share of so many rows each tree grows, None for as many as there are."""
        return min(_SHARE, self.max_samples / rows) if rows >= _MANY else None


def _fewest_rows(parts: Sequence[UpliftData]) -> int:
    """Return the rows of the rarest treatment, and refuse what no forest can grow on."""
    treatments, width = parts[0].treatments, parts[0].features.shape[1]
    if treatments < 2 or not width:
        raise InvalidValueError(
            "a causal forest needs two treatments and one feature at least, got "
            f"{treatments} and {width}; take tsm-sl."
        )
    received = torch.cat([part.treatment for part in parts])
    fewest = int(received.bincount(minlength=treatments).min())
    if fewest < 2:
        raise InvalidValueError(
            f"a causal forest needs two rows of every treatment, got {fewest}; give more rows, "
            "or leave the treatment out."
        )
    return fewest


def _leaves(tree: Any, scale: float) -> Any:
    """Return what the nodes of EconML's tree hold: its linear part, and its Jacobian behind it.

    Args:
        tree: grown on outcomes in units of ``scale``; the linear part is returned in currency.
        scale: of the outcome, in currency.
    """
    import numpy as np

    return np.concatenate([scale * tree.precond, tree.jac], axis=1)
