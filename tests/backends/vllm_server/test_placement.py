from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.backends.vllm_server import (
    Footprint,
    Gpu,
    Machine,
    ServerPlan,
    ServerSpec,
    Task,
    arguments,
    environment,
    plan,
)
from rsdecode.backends.vllm_server.placement import GIB, OVERHEAD_BYTES, USABLE
from rsdecode.core.errors import ConfigError

GPU_BYTES = 80 * GIB


def gpus(count: int) -> Machine:
    return Machine(tuple(Gpu(str(i), GPU_BYTES) for i in range(count)), 16, 256 * GIB)


def spec(name: str, weight_gib: float = 2.0, kv_kib: int = 64, heads: int = 8) -> ServerSpec:
    footprint = Footprint(int(weight_gib * GIB), kv_kib * 1024, 8192, heads, "LlamaForCausalLM")
    return ServerSpec(name, f"models/{name}", footprint)


TRIO = (
    spec("draft", 3.0, 28),
    spec("target", 15.0, 56),
    spec("reward", 3.0, 28),
)


def names(placed: ServerPlan) -> list[str]:
    return [gpu.name for gpu in placed.gpus]


def test_three_models_share_one_gpu_by_their_needs() -> None:
    draft, target, reward = plan(TRIO, gpus(1))
    assert draft.memory + target.memory + reward.memory == pytest.approx(USABLE, abs=0.003)
    left = USABLE * GPU_BYTES - 21 * GIB - 3 * OVERHEAD_BYTES
    assert draft.kv_bytes == pytest.approx(left / 4, rel=0.01)
    assert target.kv_bytes == pytest.approx(left / 2, rel=0.01)
    requests = [p.kv_bytes / p.spec.kv_bytes for p in (draft, target, reward)]
    assert requests == pytest.approx([requests[0]] * 3, rel=0.02)


def test_each_has_its_own_gpu_where_there_are_enough() -> None:
    plans = plan(TRIO, gpus(3))
    assert sorted(name for placed in plans for name in names(placed)) == ["0", "1", "2"]
    assert all(placed.memory == USABLE for placed in plans)
    [small, large, _] = plan(TRIO, gpus(2))
    assert names(small) != names(large)


def test_a_model_too_large_for_one_gpu_is_spread() -> None:
    large = spec("target", 135.0, 320, heads=64)
    draft, target, reward = plan((TRIO[0], large, TRIO[2]), gpus(8))
    assert names(target) == ["0", "1", "2", "3"]
    assert {*names(draft), *names(reward)} == {"4", "5"}
    assert "--tensor-parallel-size" in arguments(target, 1)
    assert environment(target, {}) == {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    assert environment(target, {"VLLM_API_KEY": "of-another"})["VLLM_API_KEY"] == ""


def test_what_is_asked_for_is_done() -> None:
    draft = replace(TRIO[0], memory=0.2)
    target = replace(TRIO[1], gpus=(1, 2), memory=0.5)
    reward = replace(TRIO[2], tensor_parallel=2)
    plans = plan((draft, target, reward), gpus(4))
    assert plans[0].memory == 0.2
    assert names(plans[1]) == ["1", "2"]
    assert len(plans[2].gpus) == 2


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        (replace(TRIO[0], gpus=(4,)), "there is no GPU 4"),
        (replace(TRIO[0], tensor_parallel=8), "needs 8 GPUs"),
        (replace(TRIO[0], tensor_parallel=3), "8 attention heads"),
        (replace(TRIO[0], tensor_parallel=2, gpus=(0,)), "leave one of the two out"),
        (replace(TRIO[0], memory=0.05), "leaves no room"),
        (spec("draft", 75.0, heads=7), "do not fit on GPU"),
    ],
)
def test_what_cannot_be_is_an_error(changed: ServerSpec, part: str) -> None:
    with pytest.raises(ConfigError, match=part) as caught:
        plan((changed,), gpus(4))
    assert "draft" in str(caught.value)


def test_without_gpus_they_share_the_cores() -> None:
    plans = plan(TRIO, Machine((), cores=8, memory_bytes=64 * GIB))
    assert [placed.threads for placed in plans] == [2, 2, 2]
    assert all(GIB <= placed.kv_bytes <= 16 * GIB / 3 for placed in plans)
    assert environment(plans[0], {"OMP_NUM_THREADS": "5"}) == {
        "VLLM_CPU_KVCACHE_SPACE": str(plans[0].kv_bytes // GIB),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "RSD_VLLM_SPIN_S": "0.001",
    }
    words = arguments(plans[0], 1)
    assert words[words.index("--block-size") + 1] == "32"
    with pytest.raises(ConfigError, match="this machine has none"):
        plan([replace(TRIO[0], tensor_parallel=2)], Machine((), 8, 64 * GIB))


def test_arguments() -> None:
    [placed] = plan([replace(TRIO[1], dtype="float32", arguments=("--seed", "3"))], gpus(1))
    given_ = arguments(placed, 8123)
    assert given_[:2] == ["serve", "models/target"]
    pairs = dict(itertools.pairwise(given_))
    assert pairs["--port"] == "8123"
    assert pairs["--gpu-memory-utilization"] == "0.920"
    assert pairs["--generation-config"] == "vllm"
    assert given_[-2:] == ["--seed", "3"]
    pooling = arguments(replace(placed, spec=replace(TRIO[2], task=Task.POOL, step_tag=7)), 1)
    assert pooling[-4:] == ["--runner", "pooling", "--pooler-config", '{"step_tag_id": 7}']


def test_a_process_reward_model_continues_cached_prefixes() -> None:
    spec = replace(TRIO[2], task=Task.POOL, continues=True)
    [placed] = plan([spec], gpus(1))
    assert arguments(placed, 1)[-1] == "--enable-prefix-caching"
    assert environment(placed, {})["RSD_VLLM_PREFIX_CACHE"] == "1"
    assert "RSD_VLLM_PREFIX_CACHE" not in environment(placed, {"RSD_VLLM_PREFIX_CACHE": "0"})
    [other] = plan([replace(spec, continues=False)], gpus(1))
    assert "--enable-prefix-caching" not in arguments(other, 1)
    assert "RSD_VLLM_PREFIX_CACHE" not in environment(other, {})


@given(
    weights=st.lists(st.floats(0.1, 30.0), min_size=1, max_size=4),
    count=st.integers(1, 4),
    kv=st.integers(1, 200),
)
def test_no_gpu_is_promised_twice(weights: list[float], count: int, kv: int) -> None:
    specs = [spec(f"m{i}", weight, kv * (i + 1)) for i, weight in enumerate(weights)]
    try:
        plans = plan(specs, gpus(count))
    except ConfigError as error:
        assert "do not fit" in str(error) or "no room" in str(error)  # noqa: PT017
        return
    promised: dict[str, float] = {}
    for placed in plans:
        needed = placed.spec.footprint.weight_bytes + placed.kv_bytes
        assert needed <= placed.memory * GPU_BYTES * len(placed.gpus)
        assert placed.kv_bytes >= placed.spec.kv_bytes
        for name in names(placed):
            promised[name] = promised.get(name, 0.0) + placed.memory
    assert all(total <= USABLE + 1e-9 for total in promised.values())


def test_a_qwen_with_a_head_size_of_its_own_is_served_as_a_llama() -> None:
    own = Footprint(GIB, 1024, 4096, 2, "Qwen2ForCausalLM", own_head_size=True)
    [odd, usual] = plan([replace(TRIO[0], footprint=own), TRIO[1]], gpus(1))
    assert arguments(odd, 1)[-2] == "--hf-overrides"
    assert "--hf-overrides" not in arguments(usual, 1)
