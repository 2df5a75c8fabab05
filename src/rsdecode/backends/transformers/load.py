"""Load Hugging Face checkpoints, with errors that say what to do."""

from __future__ import annotations

import pickle
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError

from rsdecode.backends.transformers.adapters import given_by, merge_adapter, require_peft
from rsdecode.backends.transformers.families import attention_of
from rsdecode.backends.transformers.int8 import to_int8
from rsdecode.backends.transformers.probe import require_equal_outputs
from rsdecode.backends.transformers.worker import run_in_temporary_thread
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ModelLoadError, OutOfMemory
from rsdecode.text.adapter import Adapter, find_adapter, require_base
from rsdecode.text.pretrained import (
    PLAIN_PROMPT,
    first_line,
    gguf_argument,
    read_config,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_UNREADABLE = (
    OSError, ValueError, KeyError, RuntimeError, ImportError, EOFError, pickle.PickleError,
    SafetensorError,
)  # fmt: skip
INT8 = "int8"
DTYPES = ("auto", "float32", "bfloat16", "float16", INT8)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded and served.

    Attributes:
        device: `auto` (CUDA if there is one), `cpu`, `cuda`, `cuda:1`.
        dtype: `auto` (the checkpoint's on a GPU, float32 on a CPU), `float32`, `bfloat16`,
            `float16`; `int8` for bfloat16 with weights of 8 bits (see `int8`).
        slots: sequences in the KV cache, and requests in one batch at most.
        max_context: tokens of a sequence at most; None for what the model was made for.
        threads: of a forward pass on a processor; None for as many as help.
        cuda_graphs: record decode passes, on a GPU (see `cuda_graphs`).
        revision: of a model on the hub.
        plain_prompt: with `{question}`; for models without a chat template.
        template: arguments of the chat template, such as `enable_thinking`.
    """

    device: str = "auto"
    dtype: str = "auto"
    slots: int = 32
    max_context: int | None = None
    threads: int | None = None
    cuda_graphs: bool = False
    revision: str | None = None
    plain_prompt: str = PLAIN_PROMPT
    template: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.dtype!r}: use one of {', '.join(DTYPES)}")
        if self.slots < 1:
            raise ValueError(f"slots {self.slots!r} must be at least 1")
        if self.max_context is not None and self.max_context < 2:
            raise ValueError(f"max_context {self.max_context!r} must be at least 2")
        if "{question}" not in self.plain_prompt:
            raise ValueError(f"the plain prompt {self.plain_prompt!r} must contain {{question}}")


def resolve_device(name: str) -> torch.device:
    """The device itself.

    Raises:
        ModelLoadError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelLoadError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelLoadError(
            f"device {name!r} is not available here ({torch.cuda.device_count()} CUDA devices): "
            "use --device cpu or auto"
        )
    return device


def resolve_dtype(name: str, device: torch.device, config: PreTrainedConfig) -> torch.dtype:
    """The dtype itself; `auto` is float32 on a CPU and the checkpoint's, or bfloat16, on a GPU.

    With `int8` it is that of all but the weights.
    """
    if name == INT8:
        return torch.bfloat16
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cpu":
        return torch.float32
    stored: Any = getattr(config, "dtype", None)
    return stored if isinstance(stored, torch.dtype) else torch.bfloat16


def _usable_adapter(path_or_id: str, revision: str | None) -> Adapter | None:
    """The adapter that a folder holds, if it does.

    Raises:
        ModelLoadError: its base model or peft is missing, or the base is an adapter too.
    """
    adapter = find_adapter(path_or_id, revision)
    if adapter is None:
        return None
    require_base(adapter)
    require_peft(adapter)
    if find_adapter(adapter.base) is not None:
        raise ModelLoadError(
            f"{path_or_id!r} is an adapter of {adapter.base!r}, which is an adapter itself: "
            "merge that one into its base model first"
        )
    return adapter


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """Where weights are: a folder or an id, and the adapter that it turned out to be."""

    path_or_id: str
    revision: str | None
    adapter: Adapter | None
    int8: bool

    def read(
        self, auto_class: Any, device: torch.device, **arguments: Any
    ) -> tuple[PreTrainedModel, list[str]]:
        """The model on its device, its adapter merged; names of weights that are missing."""
        adapter = self.adapter
        model: Any
        model, report = auto_class.from_pretrained(
            self.path_or_id if adapter is None else adapter.base,
            revision=self.revision if adapter is None else None,
            output_loading_info=True,
            **arguments,
        )
        missing = sorted(report["missing_keys"])
        if adapter is not None:
            missing = [name for name in missing if not given_by(adapter, name)]
            model = merge_adapter(model, adapter)
        placed: Any = model
        model = placed.to(device)
        if not missing and self.int8:
            to_int8(model, self.path_or_id)
        if not missing:
            require_equal_outputs(model, self.path_or_id)
        return model, missing

    @contextmanager
    def telling_faults(self, device: torch.device) -> Generator[None]:
        """Say of what fails in loading what to do about it."""
        what = f"the weights of {self.path_or_id!r}"
        if self.adapter is not None:
            what = f"the base model {self.adapter.base!r} of the adapter {self.path_or_id!r}"
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(
                f"{self.path_or_id!r} does not fit into the memory of {device}: choose a smaller "
                "model, --dtype bfloat16 or int8, or --device cpu"
            ) from error
        except ModelLoadError:
            raise
        except _UNREADABLE as error:
            raise ModelLoadError(
                f"cannot load {what} ({first_line(error)}): the folder needs model.safetensors "
                "that fit its config.json"
            ) from error


def load_pretrained(
    auto_class: Any,
    path_or_id: str,
    options: LoadOptions,
    gguf_file: str | None = None,
    **arguments: Any,
) -> PreTrainedModel:
    """A model with its weights, on its device; an adapter is merged into its base model.

    Args:
        auto_class: `AutoModelForCausalLM`, `AutoModel`, ...
        path_or_id: a folder, or the id of a model on the hub.
        options: device, dtype and revision are taken from here.
        gguf_file: name of a GGUF file in that folder.
        arguments: more of `from_pretrained`.

    Raises:
        ModelLoadError: no weights, weights that do not fit the configuration, an unknown type, a
            family that the engine cannot run, an adapter without its base.
        OutOfMemory: the device is too small.
    """
    adapter = None if gguf_file else _usable_adapter(path_or_id, options.revision)
    if adapter is not None:
        arguments["config"] = read_config(path_or_id, options.revision)
    config = read_config(path_or_id, options.revision, gguf_file)
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device, config)
    attention = attention_of(_model_class(auto_class, config), config)

    where = _Checkpoint(path_or_id, options.revision, adapter, options.dtype == INT8)
    with where.telling_faults(device):
        model, missing = run_in_temporary_thread(
            lambda: where.read(
                auto_class,
                device,
                dtype=dtype,
                attn_implementation=attention,
                **_dequantised(gguf_file),
                **arguments,
            )
        )
    if missing:
        raise ModelLoadError(
            f"{path_or_id!r} lacks {len(missing)} weights, {missing[0]} among them: its checkpoint "
            f"is incomplete, or not one of {type(model).__name__}"
        )
    return model


def _dequantised(gguf_file: str | None) -> dict[str, Any]:
    """The arguments with which the weights of a GGUF file are floats, whatever is installed.

    Where the package `kernels` is there, transformers (5.17, 5.24) would fetch code for the device
    and, of some families, leave the weights as they are in the file: such a model can be neither
    trained nor saved.
    """
    import transformers

    arguments: dict[str, Any] = {**gguf_argument(gguf_file)}
    config: Any = getattr(transformers, "GgufConfig", None)
    if gguf_file is not None and config is not None:
        arguments["quantization_config"] = config(dequantize=True)
    return arguments


def _model_class(auto_class: Any, config: PreTrainedConfig) -> Any:
    """The class that `auto_class` would load; None where only loading tells."""
    mapping: Any = getattr(auto_class, "_model_mapping", {})
    try:
        found: Any = mapping[type(config)]
    except KeyError:
        return None
    return cast(Any, found)[0] if isinstance(found, tuple) else found


WITHOUT_ATTENTION = frozenset({"linear_attention", "mamba", "recurrent", "conv", "moe", "mlp"})
"""Kinds of layers, in `layer_types` of a configuration, that hold no keys and values."""


def declared_shape(auto_class: Any, config: PreTrainedConfig, **sizes: int) -> ModelShape:
    """The sizes of the model that a configuration describes; no weights are read or allocated."""
    with torch.device("meta"):
        return model_shape(auto_class.from_config(config), **sizes)


def model_shape(model: PreTrainedModel, *, vocabulary: int | None = None) -> ModelShape:
    """The sizes that FLOPs depend on; `vocabulary` is 0 for a backbone under a small head."""
    anything: Any = model
    config = anything.config.get_text_config()
    heads, hidden = getattr(config, "num_attention_heads", 0), config.hidden_size
    head_size = getattr(config, "head_dim", None) or hidden // max(heads, 1)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    embedding, output = anything.get_input_embeddings(), anything.get_output_embeddings()
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()),
        layers=sum(kind not in WITHOUT_ATTENTION for kind in kinds) if heads else 0,
        attention_width=heads * head_size,
        hidden=hidden,
        vocabulary=config.vocab_size if vocabulary is None else vocabulary,
        embedding_parameters=embedding.weight.numel(),
        tied=output is None or output.weight is embedding.weight,
    )
