"""What a run folder serves to new customers: its model, and the encoder that belongs to it."""

from dataclasses import dataclass
from typing import final

from dfl import models
from dfl.data import FeatureEncoder
from dfl.errors import DataError, RunFolderError
from dfl.models import AbstractModel
from dfl.pipeline.folder import RunFolder

__all__ = ["ENCODER", "MODEL", "SEGMENTS", "Served", "load_model"]

MODEL, ENCODER, SEGMENTS = "model.safetensors", "encoder.json", "segments.json"


@final
@dataclass(frozen=True, eq=False)
class Served:
    """A model with the encoder of its features and the names of its treatments.

    Args:
        model: of the run.
        encoder: turns tables into its features.
        treatment_names: one for each treatment, all different.

    Raises:
        DataError: if they do not belong together.
    """

    model: AbstractModel
    encoder: FeatureEncoder
    treatment_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check sizes and names."""
        model, names = self.model, self.treatment_names
        features = len(self.encoder.feature_names)
        if (features, len(names)) != (model.features, model.treatments):
            raise DataError(
                f"{ENCODER} must fit the model, which has {model.features} features and "
                f"{model.treatments} treatments; it has {features} and {len(names)}. It was taken "
                "from another run."
            )
        if len(set(names)) < len(names):
            raise DataError(f"treatment names must all differ, got {list(names)} in {ENCODER}.")

    @staticmethod
    def of(folder: RunFolder) -> "Served":
        """Read what a run folder serves.

        Raises:
            RunFolderError: if the run has no model yet, or none that customers can be given to.
            DataError: if a file is damaged, or they do not belong together.
        """
        if folder.kind == "compare":
            raise RunFolderError(
                f"{folder.path} holds a comparison; name the folder of one of its methods."
            )
        model = load_model(folder)
        if not folder.has(ENCODER):
            raise RunFolderError(
                f"{folder.path} has no {ENCODER}: its data came without the columns of a table, so "
                "no customers' file fits its model."
            )
        content = folder.read_json(ENCODER)
        encoder = FeatureEncoder.from_dict(content)
        try:
            names = tuple(str(name) for name in content["treatment_names"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{folder.path / ENCODER} names no treatments.") from error
        return Served(model, encoder, names)


def load_model(folder: RunFolder) -> AbstractModel:
    """Read the model of a run.

    Raises:
        RunFolderError: if it has none yet.
        DataError: if the file is damaged or no model.
    """
    return models.load_model(folder.checked(MODEL))
