from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from rsdecode.backends.vllm_server import executable, read_footprint
from rsdecode.backends.vllm_server.footprint import parameters
from rsdecode.backends.vllm_server.machine import visible_gpus
from rsdecode.core.errors import ConfigError, ModelLoadError

QWEN_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
}  # fmt: skip
LLAMA_1B = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "tie_word_embeddings": True,
}  # fmt: skip
MIXTRAL = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
    "num_local_experts": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "architecture", "published"),
    [
        (QWEN_7B, "Qwen2ForCausalLM", 7.616e9),
        (QWEN_7B, "Qwen2ForPrmModel", 7.071e9),
        (LLAMA_1B, "LlamaForCausalLM", 1.236e9),
        (MIXTRAL, "MixtralForCausalLM", 46.70e9),
    ],
)
def test_parameters(config: dict[str, int], architecture: str, published: float) -> None:
    assert parameters(config, architecture) == pytest.approx(published, rel=0.002)


def model(folder: Path, **keys: object) -> str:
    names = {"architectures": ["Qwen2ForCausalLM"], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(QWEN_7B | names | keys))
    return str(folder)


def test_a_folder(tmp_path: Path) -> None:
    place = model(tmp_path, max_position_embeddings=4096)
    found = read_footprint(place)
    assert found.kv_bytes_per_token == 2 * 28 * 4 * 128 * 2
    assert (found.heads, found.max_context) == (28, 4096)
    assert found.weight_bytes == pytest.approx(2 * 7.616e9, rel=0.002)
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    assert read_footprint(place).weight_bytes == 1000
    assert not found.own_head_size
    wide = read_footprint(place, "float32")
    assert wide.weight_bytes == 2000
    assert wide.kv_bytes_per_token == 2 * found.kv_bytes_per_token


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"num_attention_heads": "many"}'])
def test_no_language_model(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        read_footprint(str(tmp_path))


def smi(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    name = "rsdecode.backends.vllm_server.machine.subprocess.run"
    monkeypatch.setattr(name, lambda *_, **__: SimpleNamespace(stdout=text))


def test_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch, "0, GPU-a, 81559\n1, GPU-b, 40960\n2, GPU-c, [N/A]\n")
    both = visible_gpus(None)
    assert [(gpu.name, gpu.memory_bytes >> 20) for gpu in both] == [("0", 81559), ("1", 40960)]
    assert visible_gpus("1,0") == both[::-1]
    assert visible_gpus("GPU-b") == both[1:]
    assert visible_gpus("") == visible_gpus("7") == ()


def test_the_executable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vllm: str) -> None:
    monkeypatch.delenv("RSD_VLLM", raising=False)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="pip install vllm"):
        executable()
    monkeypatch.setenv("PATH", str(Path(vllm).parent))
    assert executable() == vllm
    monkeypatch.setenv("RSD_VLLM", "/nowhere/vllm")
    with pytest.raises(ConfigError, match="RSD_VLLM '/nowhere/vllm'"):
        executable()
    assert executable(vllm) == vllm
