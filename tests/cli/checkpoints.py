"""Checkpoints made of the embedded family, each with one thing wrong that nothing would tell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from rsdecode.models.abacus import model_path
from rsdecode.text.pretrained import load_tokenizer

PLAIN = (
    "{{ bos_token }}{% for m in messages %}{{ m.content }}"
    "{% if m.role == 'assistant' %}END{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)


def writer(folder: Path, template: str, **config: Any) -> str:
    """The family's draft with another chat template; gives its spec."""
    shutil.copytree(model_path("draft"), folder)
    (folder / "chat_template.jinja").write_text(template)
    _change(folder / "config.json", config)
    return f"hf:{folder}"


def classifier(
    folder: Path,
    *,
    separator: str = "\n",
    labels: dict[int, str] | None = None,
    context: int = 0,
    stated: str = "\n",
) -> str:
    """The family's reward model as a token classifier of two labels; gives its spec.

    Args:
        folder: where to write it.
        separator: one token, after which its rewards are to be read.
        labels: of its two outputs; the second one is that of right steps.
        context: tokens that it reads at most; as many as before by default.
        stated: the separator that its config.json states.
    """
    source = model_path("prm")
    folder.mkdir()
    tensors = {
        name.removeprefix("pretrained_model."): tensor
        for name, tensor in load_file(source / "model.safetensors").items()
    }
    for part in ("weight", "bias"):
        right = tensors.pop(f"v_head.summary.{part}")
        tensors[f"score.{part}"] = torch.cat([torch.zeros_like(right), right])
    words: Any = load_tokenizer(str(source))
    old, new = (words.encode(mark)[-1] for mark in ("\n", separator))
    rows = tensors["model.embed_tokens.weight"]
    rows[[old, new]] = rows[[new, old]].clone()
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    words.save_pretrained(folder)
    shutil.copy(source / "config.json", folder)
    changes: dict[str, Any] = {
        "architectures": ["Qwen2ForTokenClassification"],
        "rsd_reward": {"separator": stated},
    }
    if labels is not None:
        changes |= {"id2label": labels, "label2id": {name: i for i, name in labels.items()}}
    if context:
        changes["max_position_embeddings"] = context
    _change(folder / "config.json", changes)
    return f"hf:{folder}"


def _change(path: Path, keys: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
