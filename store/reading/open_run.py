"""What the modules of reading ask of an open run. RunReader answers it; they do not know RunReader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

HeatmapRows = dict[tuple[str, ...], tuple[int, float, float, str]]


class OpenRun(Protocol):
    """A run whose manifest has been read; every method is described in RunReader."""

    manifest: dict[str, Any]
    run_id: str
    groups: tuple[str, str]
    task: str

    @property
    def holds_groups_only(self) -> bool: ...

    @property
    def mask(self) -> np.ndarray: ...

    @property
    def heatmap_rows(self) -> HeatmapRows: ...

    def table(self, name: str, columns: Sequence[str] | None = None, **equals: Any) -> pd.DataFrame: ...

    def whole_table(self, name: str) -> pd.DataFrame: ...

    def attributes(self, path: str) -> dict[str, Any]: ...

    def shape(self, path: str) -> tuple[int, ...]: ...

    def stored_numbers(self, path: str, index: int) -> np.ndarray: ...

    def full(self, values: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray: ...

    def is_antisymmetric(self, model: str, method: str) -> bool: ...

    def is_antisymmetric_in(self, model_set: str, method: str) -> bool: ...

    def is_gradient(self, method: str) -> bool: ...

    def prediction(self, model: str, scan: str) -> dict[str, Any]: ...

    def target_of(self, model: str, scan: str, target: str) -> str: ...

    def group_of(self, model_set: str, diagnosis: str) -> str | None: ...
