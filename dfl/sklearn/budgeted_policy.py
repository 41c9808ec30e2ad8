"""`BudgetedPolicy`: from logs to a treatment for everyone within a budget, for scikit-learn."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, final

import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from dfl.budget import Budget
from dfl.checks import check_number, check_seed
from dfl.errors import InvalidValueError
from dfl.methods import METHODS, AbstractMethod, Training, TrainingSet
from dfl.models import AbstractModel, Prediction
from dfl.problem import Allocation
from dfl.sklearn.rows import METADATA, features_of, is_frame, logged
from dfl.sklearn.value import money_per_head
from dfl.solvers import SOLVERS
from dfl.training.settings import hold_out

__all__ = ["BudgetedPolicy", "Outcomes"]

_QUICK = Training(epochs=5, min_steps=200, members=2, weight_decay=(0.5,))


class Outcomes(NamedTuple):
    """Predicted revenue and cost of every row under every treatment, in currency.

    Frames of the kind that came in, a column per treatment; arrays ``(N, M)`` for arrays. Columns
    are in the order of ``treatments_``.
    """

    revenue: Any
    cost: Any


@final
class BudgetedPolicy(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Learns revenue and cost under every treatment, and spends a budget on the rows it is given.

    What everyone gets depends on who else is there, as they share the budget: `predict` on half
    of the rows is not half of `predict`. Neither classifier nor regressor, so that searches split
    into plain folds and score by money.

    Args:
        method: name of a method (``dfl list methods``), or a method as an object.
        options: of the method of that name, as objects; None: its defaults.
        training: settings of training; None: quick ones, 2 networks and 200 steps at least.
            The methods' own defaults take about ten times as long.
        budget: money for the rows given to `predict`, and what `score` values.
        solver: name of the solver that allocates.
        validation: share of the randomised rows that chooses when training stops, in [0, 1);
            0: all rows train.
        random_state: starting point of all randomness, a whole number; None: another one at every
            fit. Or a generator of numpy, as anywhere in scikit-learn.

    Attributes:
        model_: what the method learned, an `AbstractModel`.
        treatments_: label of every treatment, sorted.
        encoder_: how a frame becomes features; None where fit was given an array.
        n_features_in_: number of columns of X.
        feature_names_in_: their names, where all are text.
    """

    # Asked for by default: no set_fit_request is needed. scikit-learn reads these names.
    __metadata_request__fit: Mapping[str, bool] = dict.fromkeys(METADATA, True)
    # Pipeline.score always routes a sample_weight, and refuses the None if nobody knows the word.
    __metadata_request__score: Mapping[str, bool | None] = {
        **dict.fromkeys(METADATA, True),
        "sample_weight": None,
    }

    def __init__(
        self,
        method: str | AbstractMethod = "tsm-sl-rct",
        *,
        options: Mapping[str, Any] | None = None,
        training: Training | None = None,
        budget: Budget | None = None,
        solver: str = "greedy-dual",
        validation: float = 0.2,
        random_state: int | RandomState | None = 0,
    ) -> None:
        self.method = method
        self.options = options
        self.training = training
        self.budget = budget
        self.solver = solver
        self.validation = validation
        self.random_state = random_state

    def fit(
        self,
        X: Any,  # noqa: N803  # scikit-learn's name
        y: Any,
        *,
        treatment: Any = None,
        cost: Any = None,
        source: Any = None,
    ) -> Self:
        """Learn from logs.

        Args:
            X: what was known before treatment: an array, or a frame of any kind (text becomes
                categories). Shape ``(N, F)``.
            y: revenue observed, in currency. Shape ``(N,)``.
            treatment: treatment received, any labels. Shape ``(N,)``.
            cost: cost observed, in currency, >= 0. Shape ``(N,)``.
            source: ``"rct"`` where treatment was drawn at random, ``"obs"`` where not; one for
                all rows or one per row. None: all are randomised.

        Raises:
            InvalidValueError: if treatment, cost or the budget is missing, an option is out of
                range or unknown, or a value is missing or out of its range.
            ShapeError: if something has not one entry per row.
            DataError: if a column has the wrong kind, or the method needs rows that are not there.
            UnknownNameError: if method or solver is unknown.
            NotConvergedError: if training diverges.
        """
        method, seed = self._method(), self._seed()
        self._budget()
        SOLVERS.entry(self.solver)
        check_number("validation", self.validation, at_least=0, below=1)
        parts = logged(self, X, y, fit=True, treatment=treatment, cost=cost, source=source)
        if len(self.treatments_) < 2:
            raise InvalidValueError(
                f"treatment must hold at least two treatments, got {self.treatments_.tolist()} "
                f"alone in {sum(map(len, parts.values()))} samples."
            )
        rows = TrainingSet(rct=parts.get("rct"), obs=parts.get("obs"), seed=seed)
        validation = None
        if rows.rct is not None and self.validation:
            rows, held = hold_out(rows, self.validation)
            validation = held.rct
        self.model_: AbstractModel = method.fit(
            rct=rows.rct, obs=rows.obs, validation=validation, seed=seed
        )
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803  # scikit-learn's name
        """Return a treatment for every row, all of them within the budget.

        Args:
            X: as in fit. Shape ``(N, F)``.

        Returns:
            Labels of `fit`. Shape ``(N,)``.

        Raises:
            InvalidValueError: if there is no budget, or a value is missing or new.
            DataError: if X is no frame and was one in fit.
            InfeasibleBudgetError: if the budget is below the cheapest choice for everyone.
        """
        labels: NDArray[Any] = self.treatments_of(self.allocate(X))
        return labels

    def treatments_of(self, allocation: Allocation) -> NDArray[Any]:
        """Return the label of every row's treatment in an allocation. Shape ``(N,)``."""
        labels: NDArray[Any] = self.treatments_[allocation.choice.numpy()]
        return labels

    def allocate(self, X: Any) -> Allocation:  # noqa: N803  # scikit-learn's name
        """Return the allocation itself, with the price of money and its certificate.

        Args:
            X: as in fit. Shape ``(N, F)``.

        Raises:
            InvalidValueError: as `predict`.
            DataError: as `predict`.
            InfeasibleBudgetError: as `predict`.
        """
        check_is_fitted(self)
        budget, solver = self._budget(), SOLVERS.make(self.solver)
        return self.model_.allocate(features_of(self, X, fit=False), budget, solver=solver)

    def predict_outcomes(self, X: Any) -> Outcomes:  # noqa: N803  # scikit-learn's name
        """Return predicted revenue and cost of every row under every treatment.

        Args:
            X: as in fit. Shape ``(N, F)``.

        Returns:
            Two frames of the kind of X, with its index where it has one and a column per
            treatment; or two arrays ``(N, M)``.

        Raises:
            InvalidValueError: if a value is missing or new.
            DataError: if X is no frame and was one in fit.
        """
        found = self.predicted(X)
        return Outcomes(*(self._like(X, amounts) for amounts in (found.revenue, found.cost)))

    def predicted(self, X: Any) -> Prediction:  # noqa: N803  # scikit-learn's name
        """Return the same as tensors.

        Args:
            X: as in fit. Shape ``(N, F)``.

        Raises:
            InvalidValueError: as `predict_outcomes`.
            DataError: as `predict_outcomes`.
        """
        check_is_fitted(self)
        return self.model_.predict(features_of(self, X, fit=False))

    def score(
        self,
        X: Any,  # noqa: N803  # scikit-learn's name
        y: Any,
        *,
        treatment: Any = None,
        cost: Any = None,
        source: Any = None,
    ) -> float:
        """Return the money per head that the policy earns at the budget, doubly robust.

        ``mean_i [m_choice(x_i) + 1[t_i = choice_i] (y_i - m_t(x_i)) / p(t_i)]`` over the
        randomised rows given, see `dfl.metrics.expected_outcome`; spend is estimated in the same
        way from the observed costs, and meets the budget.

        Args:
            X: as in fit. Shape ``(N, F)``.
            y: revenue observed, in currency. Shape ``(N,)``.
            treatment: treatment received. Shape ``(N,)``.
            cost: cost observed, in currency. Shape ``(N,)``.
            source: as in fit; observational rows are left out.

        Returns:
            Revenue per head, in currency; larger is better.

        Raises:
            InvalidValueError: as `fit`; or if no row is randomised, or a treatment has no row.
            ShapeError: as `fit`.
            DataError: as `fit`.
            InfeasibleBudgetError: if the budget is below the cheapest treatment for everyone.
        """
        check_is_fitted(self)
        parts = logged(self, X, y, fit=False, treatment=treatment, cost=cost, source=source)
        return money_per_head(self.model_, parts, self._budget())

    def __sklearn_tags__(self) -> Any:
        """Say that revenue is required."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _budget(self) -> Budget:
        if not isinstance(self.budget, Budget):
            raise InvalidValueError(
                f"budget must be a Budget, got {self.budget!r}; say how much money there is: "
                "BudgetedPolicy(budget=Budget(per_head=0.3))."
            )
        return self.budget

    def _seed(self) -> int:
        """Return the starting point of all randomness."""
        if self.random_state is not None and not isinstance(self.random_state, RandomState):
            check_seed(self.random_state, "random_state")
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _method(self) -> AbstractMethod:
        """Build the method."""
        if isinstance(self.method, AbstractMethod):
            if self.options is not None or self.training is not None:
                raise InvalidValueError(
                    "options and training belong to a method given by name; a method as an object "
                    f"has its own, got {type(self.method).__name__} and options or training."
                )
            return self.method
        if not isinstance(self.method, str):
            raise InvalidValueError(
                f"method must be a name, or a method as an object, got {self.method!r}."
            )
        cls = METHODS.load(self.method)
        known = [*inspect.signature(cls).parameters]
        given = dict(self.options or {})
        if self.training is not None or "training" in known:
            given.setdefault("training", _QUICK if self.training is None else self.training)
        unknown = sorted(given.keys() - set(known))
        if unknown:
            raise InvalidValueError(
                f"method {self.method!r} has no option {', '.join(unknown)}; it has "
                f"{', '.join(known) or 'none'}."
            )
        return METHODS.make(self.method, **given)

    def _like(self, X: Any, amounts: Tensor) -> Any:  # noqa: N803  # scikit-learn's name
        """Return amounts as a frame of the kind of X, or as an array."""
        if not is_frame(X):
            return amounts.numpy()
        import narwhals.stable.v2 as nw

        frame = nw.from_native(X, eager_only=True)
        columns = dict(zip(map(str, self.treatments_), torch.unbind(amounts, dim=1), strict=True))
        made = nw.from_dict(
            {name: column.numpy() for name, column in columns.items()},
            backend=frame.implementation,
        ).to_native()
        index = nw.maybe_get_index(frame)
        if index is not None:
            made.index = index
        return made
