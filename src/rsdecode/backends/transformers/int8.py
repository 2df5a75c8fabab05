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
        highest = weight.detach().abs().amax(dim=1).float()
        scale = (highest / 127).clamp_min(torch.finfo(torch.bfloat16).tiny).to(torch.bfloat16)
        rounded = (weight.detach() / scale[:, None]).round_().clamp_(-127, 127)
        self.weight = nn.Parameter(rounded.to(torch.int8), requires_grad=False)
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
    matrices: dict[int, Int8Weight] = {}  # of weights that several layers share
    named: list[tuple[str, nn.Module]] = list(whole.named_modules())
    for path, module in named:
        if (replaced := _replacement(path, module, matrices)) is not None:
            parent, _, last = path.rpartition(".")
            setattr(whole.get_submodule(parent), last, replaced)
    if not matrices:
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
    distance = float(torch.dist(after, before) / torch.dist(before, before.mean()))
    if distance > MOST:
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


def _replacement(path: str, module: nn.Module, known: dict[int, Int8Weight]) -> nn.Module | None:
    """The 8-bit form of a layer; None where it keeps its own."""
    if type(module) not in (nn.Linear, nn.Embedding) or path.rpartition(".")[2] in ROUTERS:
        return None
    layer: Any = module
    weight: Tensor = layer.weight
    if weight.shape[0] < INPUTS or weight.shape[1] % INPUTS or not weight.is_floating_point():
        return None
    matrix = known.get(id(weight))
    if matrix is None:
        matrix = known[id(weight)] = Int8Weight(weight)
    if isinstance(module, nn.Embedding):
        return Int8Embedding(matrix)
    return Int8Linear(matrix, layer.bias)


@torch.inference_mode()
def _outputs(model: Any) -> Tensor:
    """Hidden states of a few tokens, float32."""
    size: int = model.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([[(37 * i * i + 11 * i + 5) % size for i in range(11)]])
    outputs: Any = model.base_model(input_ids=ids.to(model.device), use_cache=False)
    hidden: Tensor = outputs.last_hidden_state
    return hidden.float()
