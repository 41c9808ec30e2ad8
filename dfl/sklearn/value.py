"""The money per head that a model's allocation earns on logged rows."""

from collections.abc import Mapping

from dfl.budget import Budget
from dfl.data import UpliftData
from dfl.errors import InvalidValueError
from dfl.metrics import Bootstrap, expected_outcome
from dfl.models import AbstractModel

__all__ = ["money_per_head"]

_FEWEST = Bootstrap(draws=2)  # the value alone is asked for, not its error


def money_per_head(model: AbstractModel, parts: Mapping[str, UpliftData], budget: Budget) -> float:
    """Return revenue per head at a budget, doubly robust, in currency.

    Args:
        model: predicts revenue and cost.
        parts: logged rows by source; the randomised ones count.
        budget: money.

    Raises:
        InvalidValueError: if no row is randomised.
        InfeasibleBudgetError: if the budget is below the cheapest treatment for everyone.
    """
    if "rct" not in parts:
        raise InvalidValueError(
            "score needs randomised rows: what a policy earns cannot be read off observational "
            "ones, got source 'obs' alone."
        )
    rows = parts["rct"]
    found = model.predict(rows.features)
    (outcome,) = expected_outcome(rows, found.revenue, found.cost, [budget], bootstrap=_FEWEST)
    return outcome.value
