"""What scikit-learn hands over, as logged rows: features of any kind, labels, amounts."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, column_or_1d, validate_data
from torch import Tensor

from dfl.data import FeatureEncoder, UpliftData
from dfl.data.encoding.numbers import NumberColumn
from dfl.data.sources.reading import in_float32
from dfl.errors import DataError, InvalidValueError, ShapeError
from dfl.frames import Frame

__all__ = ["METADATA", "features_of", "is_frame", "known_rows", "labels_of", "logged"]

METADATA = ("treatment", "cost", "source")
"""What is handed over beside features and revenue, one entry per row each."""

_ROUTING = (
    "Called by hand: {method}(X, revenue, treatment=..., cost=...), one entry per row. Inside a "
    "Pipeline, a search or cross-validation: call sklearn.set_config(enable_metadata_routing=True) "
    "first, then pass treatment=..., cost=... to their fit or score. BudgetedPolicy and "
    "policy_scorer ask for them by themselves, unless set_{method}_request(treatment=False) took "
    "that back."
)


def is_frame(X: Any) -> bool:  # noqa: N803  # scikit-learn's name
    """Say whether features come as a frame whose columns are named by text."""
    import narwhals.stable.v2 as nw

    if not nw.dependencies.is_into_dataframe(X):
        return False
    names = X.column_names if hasattr(X, "column_names") else X.columns  # Arrow has its own word
    return all(isinstance(name, str) for name in names)


def features_of(policy: Any, X: Any, *, fit: bool) -> Tensor:  # noqa: N803  # scikit-learn's name
    """Return features, float32, shape ``(N, F)``; fitting learns how a frame becomes features.

    Args:
        policy: the estimator; learns ``n_features_in_``, ``feature_names_in_`` and ``encoder_``.
        X: array, or frame of any kind.
        fit: whether this is what the policy is fitted on.

    Raises:
        ValueError: as every estimator of scikit-learn, if the columns are not those of fit, or a
            value of an array is missing or infinite.
        DataError: if fit was given a frame and this is none, a column has the wrong kind, or two
            have one name.
        InvalidValueError: if a value of a frame is missing or one of an array masked, or a category
            is new.

    Warns:
        DataWarning: if fit is given numbers of which float32 rounds away what tells them apart.
    """
    X = _plain("X", X)  # noqa: N806  # scikit-learn's name
    framed = is_frame(X)
    if not fit and policy.encoder_ is not None and not framed:
        raise DataError(
            f"X must be a frame with the columns {list(policy.feature_names_in_)}, as in fit, got "
            f"{type(X).__name__}."
        )
    if framed:
        Frame.of(X)  # refuses names that come twice
        validate_data(policy, X, reset=fit, skip_check_array=True)
    else:
        given = validate_data(
            policy,
            X,
            reset=fit,
            dtype=[np.float64, np.float32],
            ensure_min_samples=2 if fit else 1,
        )
        X = check_array(given, dtype=np.float32, input_name="X")  # noqa: N806  # scikit-learn's name
        if fit and given.dtype != np.float32:
            for place, values in enumerate(given.T):
                NumberColumn(f"x{place}").warn_of_rounding(values)
    if fit:
        policy.encoder_ = FeatureEncoder.fit(X, _names(X)) if framed else None
    if policy.encoder_ is not None:
        encoder: FeatureEncoder = policy.encoder_
        return encoder.encode(X)
    if framed:
        X = check_array(X, dtype=np.float32)  # noqa: N806  # scikit-learn's name
    return torch.tensor(X)


def logged(policy: Any, X: Any, y: Any, *, fit: bool, **given: Any) -> dict[str, UpliftData]:  # noqa: N803
    """Return the logged rows of each source, ``"rct"`` and ``"obs"``, those that are there.

    Args:
        policy: the estimator; fitting learns ``treatments_``.
        X: array, or frame of any kind. Shape ``(N, F)``.
        y: revenue of each row, in currency. Shape ``(N,)``.
        fit: whether the policy is being fitted.
        **given: `METADATA`; what was not given is None.

    Raises:
        ValueError: as `features_of`.
        DataError: as `features_of`.
        InvalidValueError: likewise; if treatment or cost is missing, a label is missing or new,
            a treatment has no row, or float32 rounds away what tells amounts apart.
        ShapeError: if something has not one entry per row.
    """
    method = "fit" if fit else "score"
    if y is None:
        raise InvalidValueError(
            "BudgetedPolicy requires y to be passed, but the target y is None; y is the revenue of "
            "each row."
        )
    missing = [name for name in ("treatment", "cost") if given[name] is None]
    if missing:
        raise InvalidValueError(
            f"BudgetedPolicy.{method} needs {' and '.join(missing)} beside X and revenue, got "
            f"none. {_ROUTING.format(method=method)}"
        )
    features = features_of(policy, X, fit=fit)
    rows = len(features)
    revenue = _amounts("y", y, rows)
    treatment = labels_of("treatment", given["treatment"], rows)
    if fit:
        policy.treatments_ = np.unique(treatment)
    try:
        codes = np.searchsorted(policy.treatments_, treatment).clip(max=len(policy.treatments_) - 1)
        new = np.unique(treatment[policy.treatments_[codes] != treatment])
    except TypeError:  # labels of another kind have no place among these
        new = np.unique(treatment)
    if len(new):
        raise InvalidValueError(
            f"treatment must be one of {policy.treatments_.tolist()}, as in fit, got "
            f"{new.tolist()}."
        )
    columns = {
        "features": features,
        "treatment": torch.from_numpy(codes),
        "revenue": revenue,
        "cost": _amounts("cost", given["cost"], rows),
    }
    return {
        name: _part(policy, name, {key: one[where] for key, one in columns.items()})
        for name, where in known_rows(given["source"], rows).items()
    }


def known_rows(source: Any, rows: int) -> dict[str, Tensor]:
    """Return the places of the rows of each source that is there.

    Args:
        source: ``"rct"``, ``"obs"``, one of them per row, or None: all are randomised.
        rows: number of rows N.

    Raises:
        InvalidValueError: if it is anything else.
        ShapeError: if it has not one entry per row.
    """
    if source is None or isinstance(source, str):
        marks = np.full(rows, "rct" if source is None else source)
    else:
        marks = labels_of("source", source, rows)
    unknown = sorted({str(one) for one in marks} - {"rct", "obs"})
    if unknown:
        raise InvalidValueError(
            f"source must hold 'rct' (treatment drawn at random) or 'obs', got {unknown}."
        )
    places = {name: torch.from_numpy(np.flatnonzero(marks == name)) for name in ("rct", "obs")}
    return {name: where for name, where in places.items() if len(where)}


def labels_of(name: str, values: Any, rows: int) -> NDArray[Any]:
    """Return one label per row.

    Raises:
        ShapeError: if there is not one per row.
        InvalidValueError: if one is missing, or labels are of several kinds.
    """
    found = _one_per_row(name, values, rows)
    try:
        missing = sum(one is None or one != one for one in np.unique(found))
    except TypeError as error:
        raise InvalidValueError(
            f"{name} must hold labels of one kind, none of them missing, got values that cannot be "
            f"compared ({error})."
        ) from error
    if missing:
        raise InvalidValueError(f"{name} must be known in every row, got missing values.")
    return found


def _amounts(name: str, values: Any, rows: int) -> Tensor:
    """Return one finite number per row, float32, where that keeps them apart."""
    checked = check_array(
        _plain(name, values, rows), ensure_2d=False, dtype=np.float64, input_name=name
    )
    return torch.from_numpy(in_float32(_one_per_row(name, checked, rows), name))


def _one_per_row(name: str, values: Any, rows: int) -> NDArray[Any]:
    found = np.asarray(column_or_1d(np.asarray(_plain(name, values, rows)), warn=True))
    if len(found) != rows:
        raise ShapeError(f"{name} must have one entry per row of X, {rows}, got {len(found)}.")
    return found


def _plain(name: str, values: Any, rows: int | None = None) -> Any:
    """Return a tensor without its graph, in a dtype that NumPy has, and all else as it is.

    Raises:
        InvalidValueError: if an entry is masked.
        ShapeError: if ``rows`` are wanted and it is a single value.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype is torch.bfloat16 else values
    if rows is not None and np.ndim(values) == 0:
        raise ShapeError(f"{name} must have one entry per row of X, {rows}, got {values!r}.")
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        masked = int(np.ma.getmaskarray(values).sum())
        raise InvalidValueError(f"{name} must be known in every row, got {masked} masked entries.")
    return values


def _part(policy: Any, name: str, columns: dict[str, Any]) -> UpliftData:
    arms = len(policy.treatments_)
    absent = np.bincount(columns["treatment"].numpy(), minlength=arms) == 0
    if absent.any():
        raise InvalidValueError(
            f"every treatment must occur among the {name} rows, got no row with "
            f"{policy.treatments_[absent].tolist()}; in cross-validation take fewer folds, or "
            "folds that keep the shares: cv=list(StratifiedKFold(5).split(X, treatment))."
        )
    return UpliftData(
        **columns,
        treatments=arms,
        source="obs" if name == "obs" else "rct",
        treatment_names=tuple(map(str, policy.treatments_)),
    )


def _names(X: Any) -> tuple[str, ...]:  # noqa: N803  # scikit-learn's name
    return Frame.of(X).names
