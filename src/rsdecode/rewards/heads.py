"""Reward heads, always computed in float32, and how their outputs become rewards.

Axes: B rows, T tokens, H hidden size, W outputs, M marks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rsdecode.core.errors import ModelLoadError

if TYPE_CHECKING:
    from torch import Tensor, nn

Head = Callable[["Tensor"], "Tensor"]
"""Hidden states [B, T, H] to outputs [B, T, W]."""


def linear_head(weight: Tensor, bias: Tensor | None) -> Head:
    """One layer."""
    from torch.nn.functional import linear

    weight = weight.float()
    bias = None if bias is None else bias.float()
    return lambda hidden: linear(hidden.float(), weight, bias)


def two_layer_head(first: Head, second: Head) -> Head:
    """Two layers with a ReLU between them."""
    return lambda hidden: second(first(hidden).relu())


def module_head(module: nn.Module, name: str) -> Head:
    """The linear layer `score` or `classifier` of a Hugging Face classifier.

    Raises:
        ModelLoadError: the model has another kind of head.
    """
    from torch.nn import Linear

    for attribute in ("score", "classifier"):
        layer = getattr(module, attribute, None)
        if isinstance(layer, Linear):
            return linear_head(layer.weight.detach(), layer.bias)
    raise ModelLoadError(
        f"{name!r} ({type(module).__name__}) has no linear layer `score` or `classifier`: "
        "its head is not supported"
    )


def probability(column: int | None) -> Callable[[Tensor], Tensor]:
    """Outputs [M, W] to rewards [M].

    Args:
        column: the label whose soft-max probability is the reward; None for the sigmoid of a single
            output.
    """
    if column is None:
        return lambda outputs: outputs[:, 0].sigmoid()
    return lambda outputs: outputs.softmax(dim=-1)[:, column]
