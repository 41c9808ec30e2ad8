"""`load_model`: reads whatever kind of model a file holds."""

from pathlib import Path

from dfl.errors import DataError, UnknownNameError
from dfl.models.base import AbstractModel, State, read_state
from dfl.registry import Registry

__all__ = ["MODELS", "load_model", "model_of"]

MODELS: Registry[AbstractModel] = Registry(
    "models",
    AbstractModel,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {
        "causal-forest": "dfl.models.forest:CausalForestModel",
        "ensemble": "dfl.models.ensemble:NetworkEnsemble",
        "grounded": "dfl.models.grounded:GroundedModel",
        "segments": "dfl.segments.model:SegmentModel",
    },
)


def load_model(path: Path | str) -> AbstractModel:
    """Read a model that `AbstractModel.save` wrote.

    Raises:
        DataNotFoundError: if there is no such file.
        DataError: if the file is unreadable, truncated, altered, of another format or no model.
    """
    state = read_state(Path(path))
    try:
        return model_of(state)
    except UnknownNameError as error:
        raise DataError(
            f"{path}: {error} Install the package that brings it, or register it in the tables of "
            "dfl.models, MODELS or ARCHITECTURES, before the file is read."
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a readable dfl model ({error}).") from error


def model_of(state: State) -> AbstractModel:
    """Return the model that a state describes, for models that hold another inside.

    Raises:
        UnknownNameError: if its kind is not known.
        KeyError: if something is missing.
        TypeError: if something has the wrong type.
        ValueError: if something has the wrong value.
    """
    return MODELS.load(state.kind).of_state(state)
