"""Context managers that change how a network works and always take the change away again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Gradients = tuple[Tensor, ...] | Tensor


@contextmanager
def guided_relus(model: nn.Module) -> Iterator[None]:
    """Let every nn.ReLU pass back positive gradients only (Springenberg et al. 2015, section 3.4).

    Raises:
        ValueError: the network has no nn.ReLU module, or one that works in place.
    """
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    if not relus or any(relu.inplace for relu in relus):
        raise ValueError("guided backpropagation needs nn.ReLU modules that do not work in place")
    handles = []
    try:
        for relu in relus:
            handles.append(relu.register_full_backward_hook(_only_positive))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _only_positive(_module: nn.Module, gradient_in: Gradients, _gradient_out: Gradients) -> tuple[Tensor]:
    assert isinstance(gradient_in, tuple)
    return (gradient_in[0].clamp(min=0),)
