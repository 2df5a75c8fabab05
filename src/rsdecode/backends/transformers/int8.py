"""Weights as 8-bit integers: half the memory of bfloat16, and a third of the time for few rows.

Each row of a weight has one scale, the largest of its absolute values over 127: symmetric absmax
quantisation (LLM.int8(), Dettmers et al. 2022, Section 2), of the weights alone. Inputs and outputs
stay in bfloat16.

Axes: N outputs, K inputs, R rows of inputs, V vocabulary, H hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsdecode.backends.transformers.probe import relative_distance, some_ids
from rsdecode.core.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INPUTS = 32
"""The number of inputs is a multiple of it, for torch's kernel."""
FEW = 32
"""Rows up to which torch's kernel for 8-bit weights is the fastest on a processor."""
BLOCK = 1 << 19
"""Weights that are made floats at a time for more rows than that: 2 MB, which caches hold."""
MOST = 0.2
"""Relative distance of outputs that is put down to rounding; 8-bit weights give some hundredths."""
TOKENS = 11
"""Of the text whose outputs are compared."""
ROUTERS = frozenset({"gate", "router"})
"""Names of layers that choose the experts of a mixture, where rounding could choose others."""


class Int8Weight(nn.Module):
    """A matrix [N, K] in 8 bits, with a scale for each of its rows.

    Args:
        weight: [N, K] of any float type.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        floats = weight.detach()
        highest = floats.abs().amax(dim=1).float()
        scale = (highest / 127).clamp_min(torch.finfo(torch.bfloat16).tiny).to(torch.bfloat16)
        rounded = torch.empty_like(floats, dtype=torch.int8)
        count = max(1, BLOCK // floats.shape[1])
        for start in range(0, len(floats), count):
            rows = slice(start, start + count)
            exact = floats[rows].float() / scale[rows, None].float()
            rounded[rows] = exact.round_().clamp_(-127, 127).to(torch.int8)
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.register_buffer("scale", scale)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows [..., K] of the matrix, at `ids` [...]."""
        return self.weight[ids].to(self.scale.dtype) * self.scale[ids][..., None]

    def times(self, inputs: Tensor) -> Tensor:
        """The product [R, N] of inputs [R, K] with all rows of the matrix."""
        if inputs.device.type != "cpu":
            return functional.linear(inputs, self.weight.to(inputs.dtype)) * self.scale
        if len(inputs) <= FEW:
            return torch._weight_int8pack_mm(inputs, self.weight, self.scale)  # pyright: ignore
        # as floats: most processors multiply them faster than bfloat16 where rows are many
        many, count = inputs.float(), max(1, BLOCK // self.weight.shape[1])
        blocks = cast("tuple[Tensor, ...]", self.weight.split(count))
        parts = [many @ block.float().T for block in blocks]
        return (torch.cat(parts, dim=1) * self.scale).to(inputs.dtype)


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights.

    Args:
        matrix: its weights.
        bias: [N], or None.
    """

    def __init__(self, matrix: Int8Weight, bias: Tensor | None) -> None:
        super().__init__()
        self.matrix = matrix
        self.bias = bias

    @property
    def weight(self) -> Tensor:
        """In 8 bits, [N, K]."""
        return self.matrix.weight

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [..., N] of inputs [..., K]."""
        outputs = self.matrix.times(inputs.reshape(-1, inputs.shape[-1]))
        outputs = outputs if self.bias is None else outputs + self.bias
        return outputs.view(*inputs.shape[:-1], -1)


class Int8Embedding(nn.Module):
    """An embedding in 8 bits.

    Args:
        matrix: [V, H].
    """

    def __init__(self, matrix: Int8Weight) -> None:
        super().__init__()
        self.matrix = matrix

    @property
    def weight(self) -> Tensor:
        """In 8 bits, [V, H]."""
        return self.matrix.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [..., H] of token ids [...]."""
        return self.matrix.rows(ids)


def to_int8(model: PreTrainedModel, name: str) -> None:
    """Replace the weights of a model's linear layers, and of its embedding, in place.

    Layers that are not plain `torch.nn.Linear` keep their weights, such as the experts of a
    mixture, which transformers holds in one tensor.

    Args:
        model: in bfloat16.
        name: for messages.

    Raises:
        ModelLoadError: no layer is of this kind, or the outputs become others.
    """
    whole: Any = model
    before = _outputs(model)
    groups = list(_convertible(whole).values())
    found = bool(groups)
    while groups:  # one weight after the other, so that the floats of the last are free again
        _convert(whole, groups.pop())
    if not found:
        raise ModelLoadError(
            f"{name!r} has no linear layer whose weights could be made 8-bit integers: "
            "use --dtype bfloat16"
        )
    try:
        after = _outputs(model)
    except Exception as error:
        raise ModelLoadError(
            f"{name!r} cannot be run with 8-bit weights ({type(error).__name__}: "
            f"{str(error)[:160]}): use --dtype bfloat16"
        ) from error
    distance = relative_distance(after, before)
    damaged = not before.isfinite().all()  # which every request will say
    if not (distance <= MOST or damaged):
        raise ModelLoadError(
            f"{name!r} gives other outputs with 8-bit weights (relative distance {distance:.2g}): "
            "use --dtype bfloat16"
        )


def described_dtype(model: PreTrainedModel) -> str:
    """The type that a model computes in and, where it differs, that of its weights."""
    computes = str(model.dtype).removeprefix("torch.")
    whole: Any = model
    int8 = any(parameter.dtype == torch.int8 for parameter in whole.parameters())
    return f"{computes}, weights int8" if int8 else computes


def _convertible(model: Any) -> dict[int, list[str]]:
    """The paths of layers whose weights can be 8-bit integers, those that share one together."""
    groups: dict[int, list[str]] = {}
    named: list[tuple[str, Any]] = list(model.named_modules())
    for path, layer in named:
        if type(layer) not in (nn.Linear, nn.Embedding) or path.rpartition(".")[2] in ROUTERS:
            continue
        weight: Tensor = layer.weight
        rows, columns = weight.shape
        if rows >= INPUTS and columns % INPUTS == 0 and weight.is_floating_point():
            groups.setdefault(id(weight), []).append(path)
    return groups


def _convert(model: Any, paths: list[str]) -> None:
    """Give the layers at some paths, which share one weight, its 8-bit form."""
    matrix = Int8Weight(model.get_submodule(paths[0]).weight)
    for path in paths:
        parent, _, name = path.rpartition(".")
        layer = model.get_submodule(path)
        embeds = isinstance(layer, nn.Embedding)
        new = Int8Embedding(matrix) if embeds else Int8Linear(matrix, layer.bias)
        setattr(model.get_submodule(parent), name, new)


@torch.inference_mode()
def _outputs(model: Any) -> Tensor:
    """Hidden states of a few tokens, float32."""
    size: int = model.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([some_ids(TOKENS, size)])
    outputs: Any = model.base_model(input_ids=ids.to(model.device), use_cache=False)
    hidden: Tensor = outputs.last_hidden_state
    return hidden.float()
