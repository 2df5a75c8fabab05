"""Weights in torch's older file format, and files that hold something else than tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rsdecode.core.errors import ModelLoadError
from rsdecode.rewards import load_reward_model
from tests.rewards import tiny
from tests.rewards.tiny import OPTIONS, PROBLEMS, rewards


async def scored(path: Path) -> list[tuple[float, ...]]:
    reward = load_reward_model(str(path), OPTIONS)
    replies = rewards(await reward.score(PROBLEMS))
    reward.close()
    return replies


def as_older_file(path: Path, tensors: dict[str, Any], name: str = "pytorch_model.bin") -> None:
    torch.save(tensors, path / name, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [tiny.save_value_head, tiny.save_qwen_prm])
async def test_an_older_file_gives_the_same_rewards(save, tmp_path):
    path = save(tmp_path)[0]
    expected = await scored(path)
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    as_older_file(path, tensors)
    assert await scored(path) == [pytest.approx(listed, abs=1e-6) for listed in expected]


async def test_older_files_may_be_shards(tmp_path):
    path = tiny.save_value_head(tmp_path)[0]
    expected = await scored(path)
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.bin": names[:5], "b.bin": names[5:]}
    for shard, listed in shards.items():
        as_older_file(path, {name: tensors[name] for name in listed}, shard)
    weight_map = {name: shard for shard, listed in shards.items() for name in listed}
    index = {"metadata": {}, "weight_map": weight_map}
    (path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert await scored(path) == [pytest.approx(listed, abs=1e-6) for listed in expected]


class Trap:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("content", [Trap(), {"v_head.summary.weight": Trap()}])
def test_code_in_an_older_file_is_not_run(tmp_path, capsys, content):
    path = tiny.save_value_head(tmp_path)[0]
    (path / "model.safetensors").unlink()
    as_older_file(path, content)
    with pytest.raises(ModelLoadError, match=r"pytorch_model.bin' is not a readable weights file"):
        load_reward_model(str(path), OPTIONS)
    assert "run" not in capsys.readouterr().out.split()


def test_a_damaged_shard_is_named_when_it_is_read(tmp_path):
    path = tiny.save_value_head(tmp_path)[0]
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    (path / "a.bin").write_bytes(b"\x80\x02not weights")
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "a.bin")}
    (path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelLoadError, match=r"a.bin' is not a readable weights file"):
        load_reward_model(str(path), OPTIONS)
