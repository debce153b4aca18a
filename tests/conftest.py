"""Small things that many tests share."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import torch
from browser import browser, fresh_page, page, server  # noqa: F401, fixtures of the tests in a browser
from store_factory import shared_store
from torch import nn

from engine.relevance import BatchSize, Brain
from store.keys import TRAINING_MAPS

SHAPE = (14, 15, 13)


@pytest.fixture(scope="module")
def tmp_path_factory(tmp_path_factory):
    """What the tests of a file write ends with that file: kept until the end, it would fill a small disk."""
    base = tmp_path_factory.getbasetemp()
    before = set(base.iterdir())
    yield tmp_path_factory
    for path in set(base.iterdir()) - before:
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_main():
    """AppTest leaves its script in the place of __main__, which worker processes would run again."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(autouse=True)
def _at_this_computer(request, monkeypatch):
    """The reader of every page is the person at this computer, but for tests that ask for `anonymous`."""
    if "anonymous" not in request.fixturenames:
        from dashboard.shell import locality

        monkeypatch.setattr(locality, "is_local", lambda headers, cookies: True)


@pytest.fixture
def anonymous():
    """The readers of this test are nobody in particular: neither local nor signed in, unless it says so itself."""


@pytest.fixture
def fresh_dashboard(monkeypatch):
    """The dashboard of the shared store, with nothing kept from another test."""
    from pages import forget_all

    monkeypatch.setattr(sys, "argv", ["home.py"])
    monkeypatch.setenv("BRAINWHY_STORE", str(shared_store()))
    forget_all()


@pytest.fixture
def open_view(monkeypatch, fresh_dashboard):
    """open_view("views/patient/page.py", store, set="folds"): the page, as a link with these words opens it."""
    from pages import turn_to
    from streamlit.testing.v1 import AppTest

    def opened(view: str, store=None, **query) -> AppTest:
        monkeypatch.setenv("BRAINWHY_STORE", str(store or shared_store()))
        app = AppTest.from_file("../dashboard/home.py", default_timeout=60)
        for key, value in query.items():
            app.query_params[key] = value
        return turn_to(app, view).run()  # the first page of the session: it takes in the link

    return opened


class LinearModel(nn.Module):
    """Two logits; their difference is w * v + b, so every method has a closed form."""

    def __init__(self, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(shape, generator=generator) * 0.02)
        self.bias = nn.Parameter(torch.tensor(0.3))

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        difference = (volumes[:, 0] * self.weight).sum((1, 2, 3)) + self.bias
        return torch.stack([-difference / 2, difference / 2], dim=1)


@pytest.fixture
def linear_model() -> LinearModel:
    return LinearModel().eval()


@pytest.fixture
def brain() -> Brain:
    """An ellipsoid with four regions."""
    x, y, z = np.indices(SHAPE)
    centre = [(n - 1) / 2 for n in SHAPE]
    mask = sum(((a - c) / (0.42 * n)) ** 2 for a, c, n in zip((x, y, z), centre, SHAPE, strict=True)) < 1
    labels = 1 + (x > centre[0]) + 2 * (y > centre[1])
    labels[~mask] = 0
    slope = torch.from_numpy((x - y).astype(np.float32) * mask)
    maps = {name: slope * place for place, name in enumerate(TRAINING_MAPS, 1)}
    return Brain(torch.from_numpy(mask), torch.from_numpy(labels.astype(np.int16)), 4, 4, training_maps=maps)


@pytest.fixture
def volumes(brain: Brain) -> torch.Tensor:
    """Three z-scored volumes, 0 outside the brain."""
    values = torch.randn((3, 1, *SHAPE), generator=torch.Generator().manual_seed(1))
    return torch.where(brain.mask, values, torch.zeros(()))


@pytest.fixture
def batch() -> BatchSize:
    return BatchSize(5)
