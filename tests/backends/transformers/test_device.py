"""All tensors of a pass are on the model's device, and the host waits as seldom as it can.

The device is torch's `meta`, which computes shapes alone and refuses to give numbers back: what
runs there asks nothing of the host. A real GPU is `benchmarks/gpu.py`'s to try.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu import SHAPES
from benchmarks.random_models import random_model
from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.network import BackboneNetwork, CausalNetwork
from rsdecode.backends.transformers.sampling import sample
from rsdecode.core.requests import Sampling
from rsdecode.core.types import Role
from rsdecode.rewards.heads import linear_head
from tests.backends.transformers import tiny

META = torch.device("meta")
PASSES: list[tuple[list[int], list[list[int]], list[int]]] = [
    ([0, 2], [[1, 2, 3, 4], [5, 6]], [0, 0]),  # prompts, padded
    ([0, 2], [[7], [8]], [4, 2]),  # a token each, apart from each other
    ([1, 2, 3], [[7], [8], [9]], [0, 3, 0]),  # side by side
    ([3], [[1] * 200], [1]),  # alone, and the cache grows
    ([3], [[1]], [201]),
]
"""Slots, new tokens and first positions of rows."""


class OneDevice(TorchDispatchMode):
    """Refuses what mixes host and device, and counts transfers between them."""

    def __init__(self) -> None:
        super().__init__()
        self.transfers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        made = func(*args, **(kwargs or {}))
        used = {t.device.type for t in given}
        if func is torch.ops.aten._to_copy.default:
            self.transfers += made.device.type not in used
        else:
            assert len(used) <= 1, f"{func} takes tensors of {used}"
        return made


@pytest.mark.parametrize("family", tiny.CONFIGS)
def test_a_pass_takes_one_transfer_and_asks_nothing_back(family: str) -> None:
    network = CausalNetwork(tiny.causal_model(family).to(META))
    cache = SlotCache(4, 300)
    for slots, pieces, starts in PASSES:
        with torch.no_grad(), OneDevice() as mode:
            batch = cache.batch(slots, pieces, starts, network.device)
            logits = network.forward(batch.ids, batch, cache, last_only=True)
        assert (logits.device, len(logits)) == (META, len(slots))
        assert mode.transfers == 1
    assert cache.nbytes > 0


def test_a_reward_model_too() -> None:
    backbone = tiny.causal_model().base_model.to(META)
    size = backbone.config.hidden_size
    head = linear_head(torch.ones(1, size, device=META), torch.zeros(1, device=META))
    network, cache = BackboneNetwork(backbone, head), SlotCache(4, 300)
    with torch.no_grad(), OneDevice() as mode:
        batch = cache.batch(*PASSES[0], network.device)
        rewards = network.forward(batch.ids, batch, cache, last_only=False)
    assert (rewards.shape, rewards.device, mode.transfers) == ((2, 4, 1), META, 1)


def test_rows_change_places_with_one_transfer_for_all_layers() -> None:
    network, cache = CausalNetwork(tiny.causal_model().to(META)), SlotCache(4, 300)
    with torch.no_grad():
        batch = cache.batch(*PASSES[0], network.device)
        network.forward(batch.ids, batch, cache, last_only=True)
        with OneDevice() as mode:
            cache.exchange([(0, 1), (2, 3)], 4)
            cache.copy(0, 3, 2)
    assert mode.transfers == 1


@pytest.mark.parametrize(
    ("sampling", "transfers"),
    [
        ([Sampling()] * 3, 0),
        ([Sampling(0.7), Sampling(1.0), Sampling(0.5)], 1),
        ([Sampling(0.7, 0.9), Sampling(1.0, 0.8), Sampling(0.5, 0.5)], 1),
        ([Sampling(0.7, top_k=5)] * 3, 1),
        ([Sampling(), Sampling(0.7), Sampling(0.7, 0.9)], 2),  # two kinds of rows that are drawn
    ],
)
def test_tokens_are_drawn_on_the_device_and_fetched_together(
    sampling: list[Sampling], transfers: int
) -> None:
    logits = torch.zeros(3, 50, device=META, dtype=torch.bfloat16)
    with OneDevice() as mode, pytest.raises(NotImplementedError, match=r"Cannot copy|item|local"):
        sample(logits, sampling, [0.1, 0.5, 0.9])  # fails at the end, where tokens are fetched
    assert mode.transfers == transfers


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a build of torch for CUDA")
@pytest.mark.parametrize("role", [Role.DRAFT, Role.TARGET])
def test_models_of_real_size_on_a_cuda_device_that_need_not_be_there(role: Role) -> None:
    with FakeTensorMode(), torch.no_grad():
        network = CausalNetwork(random_model(role, SHAPES["qwen2.5-math"], torch.device("cuda:0")))
        cache = SlotCache(4, 300)
        for slots, pieces, starts in PASSES:
            batch = cache.batch(slots, pieces, starts, network.device)
            logits = network.forward(batch.ids, batch, cache, last_only=True)
            assert (logits.device, logits.dtype) == (torch.device("cuda:0"), torch.bfloat16)
            with pytest.raises(DataDependentOutputException):  # nothing before the tokens is asked
                sample(logits[:, -1], [Sampling(0.7, 0.9)] * len(slots), [0.5] * len(slots))
