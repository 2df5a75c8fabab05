"""A plan in vLLM's words: the executable, its arguments and its environment."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rsdecode.backends.vllm_server.placement import GIB, ServerPlan, Task
from rsdecode.core.errors import ConfigError

HOST = "127.0.0.1"
VARIABLE = "RSD_VLLM"
AS_LLAMA = {"architectures": ["LlamaForCausalLM"], "qkv_bias": True}
"""vLLM's Qwen 2 takes the head size for hidden size over heads, whatever `head_dim` says, and loads
a part of the weights without complaint. Its Llama, with these biases, is the same network."""
CPU_BLOCK_TOKENS = 32
"""Of the prefix cache on processors, where vLLM takes 128: a cached prefix ends with a whole block,
so each request would read up to 127 tokens again, more than many a step has."""

__all__ = ["HOST", "Task", "arguments", "environment", "executable"]


def executable(configured: str | None = None) -> str:
    """The `vllm` command: as configured, $RSD_VLLM, beside this Python, or on the PATH.

    Raises:
        ConfigError: there is none.
    """
    named = configured or os.environ.get(VARIABLE)
    if named:
        found = shutil.which(os.path.expanduser(named))
        if found is None:
            source = "vllm.executable" if configured else VARIABLE
            raise ConfigError(f"{source} {named!r} is not a program that can be run")
        return found
    beside = str(Path(sys.executable).parent)
    found = shutil.which("vllm", path=beside) or shutil.which("vllm")
    if found is None:
        raise ConfigError(
            f"vllm: models need the program `vllm`, which is neither beside {sys.executable} nor "
            f"on the PATH: pip install vllm, or name that of another environment with {VARIABLE}"
        )
    return found


def arguments(plan: ServerPlan, port: int | str) -> list[str]:
    """What follows `vllm` to serve as planned."""
    spec = plan.spec
    given = ["serve", spec.model, "--served-model-name", spec.name]
    given += ["--host", HOST, "--port", str(port), "--dtype", spec.dtype]
    given += [
        "--max-model-len",
        str(spec.max_context),
        "--max-num-seqs",
        str(spec.slots),
    ]
    if plan.gpus:
        given += ["--gpu-memory-utilization", f"{plan.memory:.3f}"]
    else:
        given += ["--enforce-eager", "--block-size", str(CPU_BLOCK_TOKENS)]
    if len(plan.gpus) > 1:
        given += ["--tensor-parallel-size", str(len(plan.gpus))]
    if spec.task is Task.POOL:
        given += ["--runner", "pooling"]
        if spec.step_tag is not None:
            given += ["--pooler-config", json.dumps({"step_tag_id": spec.step_tag})]
        if spec.continues:
            given.append("--enable-prefix-caching")
    else:
        # The model's own sampling defaults would change what we ask for.
        given += ["--generation-config", "vllm", "--enable-prompt-tokens-details"]
    if spec.footprint.own_head_size and spec.footprint.architecture == "Qwen2ForCausalLM":
        given += ["--hf-overrides", json.dumps(AS_LLAMA)]
    return [*given, *spec.arguments]


def environment(plan: ServerPlan, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables that the plan adds; the user's own word on how to work wins.

    Those that begin with RSD_ are our plugin's, where it is installed beside vLLM.
    """
    ways = {"RSD_VLLM_PREFIX_CACHE": "1"} if plan.spec.continues else {}
    if plan.gpus:
        place = {"CUDA_VISIBLE_DEVICES": ",".join(gpu.name for gpu in plan.gpus)}
    else:
        place = {"VLLM_CPU_KVCACHE_SPACE": str(plan.kv_bytes // GIB)}
        ways |= {
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(plan.threads),
            "RSD_VLLM_SPIN_S": "0.001",
        }
    if "VLLM_API_KEY" in inherited:  # meant for another server: we ask ours without a key
        place["VLLM_API_KEY"] = ""
    return place | {name: value for name, value in ways.items() if name not in inherited}
