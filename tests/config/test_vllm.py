from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.vllm_server import Machine, Task, arguments
from rsdecode.config import RunConfig, config_hash, load_config
from rsdecode.config.vllm import describe_servers, machine_of, plan_servers, served
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.types import Role
from rsdecode.models.abacus import model_path

DRAFT, TARGET, PRM = (f"vllm:{model_path(role)}" for role in ("draft", "target", "prm"))
CPU = Machine((), 4, 2**34)


def config(**overrides: Any) -> RunConfig:
    models = {"draft": DRAFT, "target": TARGET, "reward.spec": PRM}
    return load_config(overrides=models | {k.replace("__", "."): v for k, v in overrides.items()})


def test_only_the_roles_that_are_used_are_served() -> None:
    assert list(served(config(), Role).values()) == list(Role)
    assert list(served(config(), [Role.TARGET]).values()) == [Role.TARGET]
    assert served(RunConfig(), Role) == {}


def test_roles_share_a_server_but_not_for_another_task() -> None:
    shared = served(config(target=DRAFT, reward__spec=f"judge:{DRAFT}"), Role)
    assert list(shared.values()) == [Role.DRAFT]
    both = served(config(target=DRAFT, reward__spec=DRAFT), Role)
    assert [task for _, task in both] == [Task.GENERATE, Task.POOL]


def test_wishes_follow_the_configuration() -> None:
    draft, target, reward = plan_servers(
        config(
            limits__max_tokens=100,
            engine__slots=5,
            vllm__draft__max_model_len=512,
            vllm__target__arguments=["--seed", "1"],
        ),
        Role,
        CPU,
    )
    assert (draft.spec.max_context, target.spec.max_context) == (512, 2048)
    assert draft.spec.slots == 5
    assert draft.spec.dtype == "float32"
    assert target.spec.arguments == ("--seed", "1")
    assert (draft.spec.task, reward.spec.task) == (Task.GENERATE, Task.POOL)
    assert reward.spec.footprint.architecture == "Qwen2ForPrmModel"


def test_what_cannot_be_planned() -> None:
    with pytest.raises(ConfigError, match=r"vllm\.draft\.max_model_len 4096: .* at most"):
        plan_servers(config(vllm__draft__max_model_len=4096), Role, CPU)
    with pytest.raises(ModelLoadError, match=r"draft: cannot read the config\.json"):
        plan_servers(config(draft="vllm:./nowhere/at/all"), Role, CPU)
    with pytest.raises(ConfigError, match="head of a reward-head reward model is no part of vLLM"):
        plan_servers(config(reward__kind="reward-head"), Role, CPU)
    with pytest.raises(ConfigError, match="draft: --dtype int8 is for hf: models; for vllm:"):
        plan_servers(config(engine__dtype="int8"), Role, CPU)


def test_signs_are_read_from_a_server_that_writes() -> None:
    *_, reward = plan_servers(config(reward__kind="plus-minus"), Role, CPU)
    assert reward.spec.task is Task.GENERATE
    assert "pooling" not in arguments(reward, 1)


def test_a_model_that_vllm_would_read_wrongly_is_refused(tmp_path: Path) -> None:
    """The family's heads are larger than hidden size over heads; vLLM would load half of them."""
    keys = json.loads((model_path("prm") / "config.json").read_text())
    keys["architectures"] = ["Qwen2ForProcessRewardModel"]
    (tmp_path / "config.json").write_text(json.dumps(keys))
    with pytest.raises(ConfigError, match="takes the head size"):
        plan_servers(config(reward__spec=f"vllm:{tmp_path}"), Role, CPU)
    draft, *_ = plan_servers(config(), Role, CPU)
    assert "--hf-overrides" in arguments(draft, 1)


def test_a_machine_of_the_configuration() -> None:
    machine = machine_of(config(vllm__gpus=2, vllm__gpu_memory_gib=24.0))
    assert [gpu.memory_bytes >> 30 for gpu in machine.gpus] == [24, 24]
    assert machine_of(config(engine__device="cpu", vllm__gpus=2)).gpus == ()


def test_the_plan_in_words() -> None:
    settings = config(target=DRAFT, vllm__gpus=1, vllm__gpu_memory_gib=24.0)
    told = describe_servers(settings, Role, "/bin/vllm")
    assert told[Role.TARGET]["server"] == "the one of the draft"
    assert told[Role.TARGET]["command"] == told[Role.DRAFT]["command"]
    words = shlex.split(told[Role.REWARD]["command"])
    assert words[:4] == ["CUDA_VISIBLE_DEVICES=0", "RSD_VLLM_PREFIX_CACHE=1", "/bin/vllm", "serve"]
    assert "GiB" in told[Role.REWARD]["memory"]


def test_the_hash_names_what_changes_answers() -> None:
    plain = config_hash(config())
    assert config_hash(config(vllm__draft__gpus=[0], vllm__logs="logs")) == plain
    assert config_hash(config(vllm__draft__max_model_len=512)) != plain


def test_doctor_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rsdecode.cli.examination import examine

    mark = tmp_path / "started"
    command = tmp_path / "vllm"
    command.write_text(f"#!/bin/sh\ntouch {mark}\n")
    command.chmod(0o755)
    monkeypatch.setenv("RSD_VLLM", str(command))
    findings = examine(config(reward__spec=f"judge:{TARGET}"))
    assert findings.failures == []
    assert all(f"{command} serve" in facts["command"] for facts in findings.roles.values())
    assert not mark.exists()
    monkeypatch.setenv("RSD_VLLM", str(tmp_path / "nothing"))
    findings = examine(config())
    assert ["RSD_VLLM" in failure for failure in findings.failures] == [True]
    assert " vllm serve" in findings.roles["reward"]["command"]
