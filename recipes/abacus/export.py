"""Writes the trained networks as ordinary checkpoint folders in bf16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save_file,  # pyright: ignore[reportUnknownVariableType]
)
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from recipes.abacus import checkpoint
from recipes.abacus.attention import use_standard_attention
from recipes.abacus.config import Shape
from recipes.abacus.network import (
    RewardNetwork,
    language_model,
    parameter_count,
    qwen2_config,
    reward_network,
)
from recipes.abacus.tokenizer import build_tokenizer


def load_trained(name: str, shape: Shape, folder: Path) -> Qwen2ForCausalLM:
    """The draft or target from its training checkpoint, rounded to bf16, computing in fp32."""
    state = checkpoint.load(folder / f"{name}.pt")
    if state is None:
        raise FileNotFoundError(f"{folder / name}.pt: this model is not trained yet")
    model = language_model(shape, build_tokenizer(), 0)
    model.load_state_dict(state["network"])
    return model.bfloat16().float()


def load_trained_prm(shape: Shape, folder: Path) -> RewardNetwork:
    """The PRM from its training checkpoint, in fp32."""
    state = checkpoint.load(folder / "prm.pt")
    if state is None:
        raise FileNotFoundError(f"{folder}/prm.pt: the PRM is not trained yet")
    network = reward_network(shape, build_tokenizer(), 0)
    network.load_state_dict(state["network"])
    use_standard_attention(network)
    return network


def export_language_model(name: str, shape: Shape, folder: Path, out: Path) -> None:
    """Writes the draft or the target to ``out / name``."""
    model = load_trained(name, shape, folder).bfloat16()
    use_standard_attention(model)
    compact = build_tokenizer(compact=True)
    small = language_model(shape, compact, 0).bfloat16()
    small.load_state_dict(_compact_tensors(model.state_dict()))
    small.generation_config.do_sample = False
    small.save_pretrained(out / name)
    _finish(out / name, parameter_count(small))


def export_prm(network: RewardNetwork, shape: Shape, out: Path) -> None:
    """Writes the PRM in the layout of Skywork-o1-Open-PRM to ``out / prm``."""
    target = out / "prm"
    target.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.bfloat16() for k, v in _compact_tensors(network.state_dict()).items()}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = qwen2_config(shape, build_tokenizer(compact=True)).to_dict()
    config |= {"architectures": ["Qwen2ForPrmModel"], "dtype": "bfloat16"}
    (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    _finish(target, sum(tensor.numel() for tensor in tensors.values()))


def _compact_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drops the embeddings of bytes that no text contains."""
    full, compact = build_tokenizer(), build_tokenizer(compact=True)
    words = compact.convert_ids_to_tokens(list(range(len(compact))))
    kept = torch.tensor(full.convert_tokens_to_ids(words))
    return {
        key: (tensor[kept] if len(tensor) == len(full) else tensor).contiguous()
        for key, tensor in tensors.items()
    }


def load_exported_prm(folder: Path) -> RewardNetwork:
    """The PRM as it was exported, computing in fp32."""
    network = RewardNetwork(Qwen2Config.from_pretrained(folder))
    tensors = load_file(folder / "model.safetensors")
    network.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    return network


def _finish(folder: Path, parameters: int) -> None:
    build_tokenizer(compact=True).save_pretrained(folder)
    _declare_generic_tokenizer(folder / "tokenizer_config.json")
    for file in folder.iterdir():
        file.chmod(0o644)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{folder}: {parameters:,} parameters, {size / 1e6:.2f} MB", flush=True)


def _declare_generic_tokenizer(path: Path) -> None:
    """Makes AutoTokenizer take tokenizer.json as it is.

    For the model type qwen2 it would rebuild Qwen's own tokenizer around our vocabulary. An
    ``auto_map`` that names nothing switches that off, and no code is ever loaded through it.
    """
    settings = json.loads(path.read_text())
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["auto_map"] = {"AutoTokenizer": [None, None]}
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def install(exported: Path, package: Path) -> None:
    """Copies the exported folders over those of the package."""
    for name in ("draft", "target", "prm"):
        shutil.copytree(exported / name, package / name, dirs_exist_ok=True)
