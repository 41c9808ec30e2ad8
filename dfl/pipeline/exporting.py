"""`export_rule`: a run's model and the decision at a price, as one ONNX file."""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from dfl.errors import DataError, InvalidValueError, MissingExtraError, UnsupportedProblemError
from dfl.io import write_whole
from dfl.models import AbstractModel
from dfl.pipeline.customers import check_free
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.served import Served
from dfl.seeds import normal, stream, uniform
from dfl.solvers import decide
from dfl.solvers.passes import tournament
from dfl.solvers.passes.decide import raised

__all__ = ["ExportedRule", "export_rule"]

_PRICES = (0.0, 0.1, 1.0, 10.0)
_CLOSE = 1e-4  # of the largest amount: what sums in another order may round differently
_RAISED = raised(torch.float32)


@final
@dataclass(frozen=True)
class ExportedRule:
    """What was written.

    Args:
        path: of the file.
        rows: people on whom it was checked, at each of four prices.
        differ: choices that differ from the model's, all of them ties but for rounding.
    """

    path: Path
    rows: int
    differ: int


def export_rule(
    folder: RunFolder, output: Path, *, overwrite: bool = False, rows: int = 100_000
) -> ExportedRule:
    """Write what a run's model decides as one ONNX file, and check it.

    Inputs: ``features`` ``(N, F)``, float32, encoded as in training, and ``price``, the
    multiplier of an allocation, revenue per unit of cost, >= 0, float32. Outputs: ``revenue`` and
    ``cost`` ``(N, M)`` in currency, and ``choice`` ``(N,)``, int64, the treatment that `decide`
    takes a few roundings above the price: float32 may lie below the multiplier, at which whoever is
    indifferent would take the dearer treatment, beyond the budget. Who has a feature that is not
    finite gets amounts NaN and choice -1, as everyone does at a price below 0 or NaN. The file's
    metadata hold the names of features and treatments.

    The file is run by onnxruntime on drawn features before it is put into place: amounts must
    be the model's up to rounding, the choice that of `decide` on the file's own amounts, and
    where it is not the model's choice, both must be worth the same.

    Args:
        folder: of a run with a model.
        output: file to write, ``.onnx``.
        overwrite: whether it may replace a file.
        rows: people drawn for the check.

    Raises:
        RunFolderError: if the run has no model yet.
        InvalidValueError: if ``output`` does not end in ``.onnx``, exists or cannot be written.
        MissingExtraError: if the packages of the extra ``onnx`` are not installed.
        UnsupportedProblemError: if the model does not consist of operations of torch.
        DataError: if the file does not decide as the model does.
        WriteError: if it could not be written.
    """
    if output.suffix != ".onnx":
        raise InvalidValueError(f"output must end in .onnx, got {output}.")
    check_free("output", output, overwrite=overwrite)
    missing = [one for one in ("onnx", "onnxscript", "onnxruntime") if find_spec(one) is None]
    if missing:
        raise MissingExtraError(
            f"an export needs {', '.join(missing)}, which is not installed: "
            "pip install 'dfl-toolkit[onnx]'"
        )
    served = Served.of(folder)
    found: list[int] = []

    def write(path: Path) -> None:
        _converted(served).save(str(path))
        found.append(_differ(served.model, path, rows))

    write_whole(output, write)
    return ExportedRule(output, rows, found[0])


@final
class _Rule(nn.Module):
    """Revenue, cost and choice at a price."""

    def __init__(self, model: AbstractModel) -> None:
        super().__init__()
        self._model = model

    def forward(self, features: Tensor, price: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Predict and decide."""
        found = self._model.predict_rows(features, spread=False)
        choice = tournament(found.revenue, found.cost, price * _RAISED)
        known = features.isfinite().all(dim=1)
        revenue, cost = (
            one.masked_fill(~known[:, None], torch.nan) for one in (found.revenue, found.cost)
        )
        return revenue, cost, choice.masked_fill(~(known & (price >= 0)), -1)


@torch.no_grad()
def _converted(served: Served) -> Any:
    """Return the ONNX programme of a model."""
    example = (
        torch.zeros(2, served.model.features, dtype=torch.float32),
        torch.tensor(1.0, dtype=torch.float32),
    )
    rows = torch.export.Dim("rows")
    with warnings.catch_warnings(), _quiet(logging.getLogger("torch.onnx")):
        warnings.simplefilter("ignore")  # of torch about itself
        try:
            traced = torch.export.export(
                _Rule(served.model), example, dynamic_shapes=({0: rows}, {})
            )
            table: dict[Any, Any] = {
                torch.ops.aten.searchsorted.Tensor: _places,
                torch.ops.aten.where.self: _chosen,
            }
            program = torch.onnx.export(
                traced.run_decompositions(table),
                input_names=["features", "price"],
                output_names=["revenue", "cost", "choice"],
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # whatever torch makes of what it cannot trace
            raise UnsupportedProblemError(
                f"a model of kind {served.model.state().kind!r} cannot be exported: it is not made "
                f"of operations that ONNX knows ({type(error).__name__}). Serve it by dfl."
            ) from error
    assert program is not None  # with dynamo
    about = program.model.metadata_props
    about["features"] = json.dumps(served.encoder.feature_names)
    about["treatments"] = json.dumps(served.treatment_names)
    return program


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _places(
    knots: Tensor,
    values: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Do as `torch.searchsorted`, which ONNX does not know, by counting."""
    knots, values = knots.unsqueeze(-2), values.unsqueeze(-1)
    return (knots <= values if right else knots < values).sum(dim=-1)


def _chosen(condition: Tensor, yes: Tensor, no: Tensor) -> Any:
    """Do as `torch.where` of truth values, which onnxruntime does not know."""
    if yes.dtype != torch.bool:
        return NotImplemented
    return (condition & yes) | (~condition & no)


def _differ(model: AbstractModel, path: Path, rows: int) -> int:
    """Compare a file with its model; return how many choices differ, ties all of them."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    generator = stream(0, "export")
    scale = 10 ** (3 * uniform(model.features, generator=generator) - 1)
    features = scale * normal(rows, model.features, generator=generator)
    wanted = model.predict(features)
    differ = 0
    for price in _PRICES:
        rounded = torch.tensor(price, dtype=torch.float32)
        given = {"features": features.numpy(), "price": rounded.numpy()}
        revenue, cost, choice = (torch.from_numpy(one) for one in session.run(None, given))
        for name, one, other in (
            ("revenue", revenue, wanted.revenue),
            ("cost", cost, wanted.cost),
        ):
            off = float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))
            if not off <= _CLOSE:
                raise DataError(
                    f"the file's {name} is off the model's by {off:.1e}; do not use it."
                )
        own = decide(wanted.revenue, wanted.cost, price)
        net = wanted.revenue - price * wanted.cost
        worth = [net.gather(1, one[:, None])[:, 0] for one in (choice, own)]
        size = float(wanted.revenue.abs().max() + price * wanted.cost.abs().max())
        if not choice.equal(decide(revenue, cost, rounded * _RAISED)) or bool(
            ((worth[0] - worth[1]).abs() > _CLOSE * size).any()
        ):
            raise DataError(
                f"the file's choices at price {price:g} are not the model's; do not use it."
            )
        differ += int((choice != own).sum())
    return differ
