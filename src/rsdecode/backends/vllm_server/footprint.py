"""What a model needs of memory, read off its config.json and its weight files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rsdecode.core.errors import ModelLoadError

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
WEIGHT_FILES = "*.safetensors"


@dataclass(frozen=True, slots=True)
class Footprint:
    """Sizes of a model as it is served.

    Attributes:
        weight_bytes: of all shards together.
        kv_bytes_per_token: keys and values of all layers, all shards together.
        max_context: tokens that the model was made for.
        heads: query heads; the number of shards must divide it.
        architecture: the first one that its config.json names.
        own_head_size: whether a head's size is not the hidden size over the heads.
    """

    weight_bytes: int
    kv_bytes_per_token: int
    max_context: int
    heads: int
    architecture: str
    own_head_size: bool = False


def read_footprint(model: str, dtype: str = "auto") -> Footprint:
    """The footprint of a folder, or of a model on the hub.

    The size of the weights is that of the files in a folder; for a model on the hub, which may not
    have been downloaded yet, it is computed from its configuration. Layers with a sliding window
    are counted as if they had none.

    Raises:
        ModelLoadError: it has no readable config.json, or one of no language model.
    """
    config = _read_config(model)
    text: Mapping[str, Any] = config.get("text_config") or config
    stored = str(text.get("dtype") or text.get("torch_dtype") or "bfloat16")
    served = DTYPE_BYTES.get(stored if dtype == "auto" else dtype, 2)
    if dtype == "auto":
        served = min(served, 2)  # vLLM serves float32 checkpoints in 16 bits
    try:
        architectures = cast("list[str]", config.get("architectures") or [""])
        heads = int(text["num_attention_heads"])
        kv_heads = int(text.get("num_key_value_heads") or heads)
        head_size = int(text.get("head_dim") or text["hidden_size"] // heads)
        return Footprint(
            weight_bytes=_file_bytes(model, served, DTYPE_BYTES.get(stored, 2))
            or parameters(text, architectures[0]) * served,
            kv_bytes_per_token=2 * int(text["num_hidden_layers"]) * kv_heads * head_size * served,
            max_context=int(text.get("max_position_embeddings") or 4096),
            heads=heads,
            architecture=architectures[0],
            own_head_size=head_size * heads != int(text["hidden_size"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(
            f"the config.json of {model!r} is not one of a decoder-only language model that can be "
            f"sized ({type(error).__name__}: {error}): give its share of the memory in the "
            "configuration's vllm section"
        ) from error


def parameters(config: Mapping[str, Any], architecture: str) -> int:
    """Parameters of a decoder with gated feed-forward layers, experts included.

    Norms and biases are left out (under 0.1 %).
    """
    hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
    heads = int(config["num_attention_heads"])
    head_size = int(config.get("head_dim") or hidden // heads)
    kv_heads = int(config.get("num_key_value_heads") or heads)
    attention = 2 * hidden * head_size * (heads + kv_heads)
    experts = int(config.get("num_experts") or config.get("num_local_experts") or 1)
    inner = config["intermediate_size"]
    if experts > 1:
        inner = config.get("moe_intermediate_size") or inner
    feed_forward = 3 * hidden * int(inner) * experts
    embedding = int(config["vocab_size"]) * hidden
    writes = architecture.endswith(("ForCausalLM", "ForConditionalGeneration"))
    output = embedding if writes and not config.get("tie_word_embeddings", False) else 0
    return layers * (attention + feed_forward) + embedding + output


def _file_bytes(model: str, served: int, stored: int) -> int:
    """Bytes of the weight files of a folder, once loaded; 0 where there are none."""
    files = Path(model).glob(WEIGHT_FILES) if Path(model).is_dir() else ()
    return sum(file.stat().st_size for file in files) * served // stored


def _read_config(model: str) -> dict[str, Any]:
    path = Path(model) / "config.json"
    try:
        if not Path(model).is_dir():
            import huggingface_hub

            hub: Any = huggingface_hub
            path = Path(hub.hf_hub_download(model, "config.json"))
        loaded: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelLoadError(
            f"cannot read the config.json of {model!r} ({reason}): give a folder that holds the "
            "model, or the id of a model on the hub that can be reached"
        ) from error
    if not isinstance(loaded, dict):
        raise ModelLoadError(f"{str(path)!r} is not a JSON object: it is damaged")
    return cast("dict[str, Any]", loaded)
