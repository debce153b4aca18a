"""The card of an imported network: its layers, grid, classes and normalisation, as a YAML file says them.

Layers and their parameters have the names that PyTorch gives them. What follows from the layer before, such as the
number of input channels, is not said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.config.messages import describe_card_error
from engine.config.yaml_text import read_yaml
from engine.errors import UserError

Count = Annotated[int, Field(ge=1)]
Three = tuple[Count, Count, Count]
Borders = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]


class Part(BaseModel):
    """A part of a card: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Conv3d(Part):
    type: Literal["Conv3d"]
    name: str = Field(description="of its tensors in the file, without .weight")
    out_channels: Count
    kernel_size: Count | Three
    stride: Count | Three = 1
    padding: Annotated[int, Field(ge=0)] | Borders | Literal["same", "valid"] = 0
    bias: bool = True


class BatchNorm3d(Part):
    type: Literal["BatchNorm3d"]
    name: str
    eps: float = Field(1e-5, gt=0)


class BatchNorm1d(Part):
    type: Literal["BatchNorm1d"]
    name: str
    eps: float = Field(1e-5, gt=0)


class ReLU(Part):
    type: Literal["ReLU"]


class MaxPool3d(Part):
    type: Literal["MaxPool3d"]
    kernel_size: Count
    stride: Count | None = None


class AvgPool3d(Part):
    type: Literal["AvgPool3d"]
    kernel_size: Count
    stride: Count | None = None


class AdaptiveAvgPool3d(Part):
    type: Literal["AdaptiveAvgPool3d"]
    output_size: Count = 1


class Flatten(Part):
    type: Literal["Flatten"]


class Dropout(Part):
    type: Literal["Dropout"]
    p: float = Field(0.5, ge=0, lt=1)


class Linear(Part):
    type: Literal["Linear"]
    name: str
    out_features: Count
    bias: bool = True


Layer = Annotated[
    Conv3d | BatchNorm3d | BatchNorm1d | ReLU | MaxPool3d | AvgPool3d | AdaptiveAvgPool3d | Flatten | Dropout | Linear,
    Field(discriminator="type"),
]


class Constants(Part):
    """One mean and standard deviation for all voxels."""

    mean: float
    std: float = Field(gt=0)


class Card(Part):
    """What a file of weights does not say of a network."""

    grid_mm: Literal[1, 2, 3, 4] = Field(description="of the working grid that its input lies on")
    classes: tuple[str, str] = Field(description="groups in the order of its outputs; of one output: 0, then 1")
    positive: str | None = Field(None, description="the positive group; default: the second class")
    normalisation: Literal["voxelwise", "scan", "zscore", "none"] | Constants = Field(
        description="voxelwise: by normalisation.mean and .std of the file; scan: each from 0 to 1; zscore: each by "
        "its own mean and SD in the brain; none: white matter is about 1; or one mean and std for all"
    )
    layers: tuple[Layer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _two_classes(self) -> Card:
        if self.classes[0] == self.classes[1]:
            raise ValueError("classes must be two different groups")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"positive: {self.positive} is none of the classes {', '.join(self.classes)}")
        return self

    @property
    def groups(self) -> tuple[str, str]:
        """Return the classes as (positive, negative)."""
        positive = self.positive or self.classes[1]
        return positive, next(name for name in self.classes if name != positive)


class Imported(Part):
    """A network that was trained elsewhere."""

    file: str = Field(description="name of the file of its weights")
    sha256: str = Field(description="of that file")
    card: Card


def read_card(file: Path) -> Card:
    """Read the card of a network from a YAML file.

    Raises:
        UserError: unreadable, or a key or value that no card has; names the layer.
    """
    try:
        values = read_yaml(file)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; the card of the network is named with --card") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UserError(f"{file}: a card is a mapping of keys to values")
    try:
        return Card.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{file.name}: {describe_card_error(error)}") from None
