"""A checkpoint that a reward model is loaded from, and the scorer that is built over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ModelLoadError
from rsdecode.rewards.checkpoint import FILES, Checkpoint, checkpoint_file
from rsdecode.rewards.format import Format, Ids
from rsdecode.rewards.heads import Head
from rsdecode.rewards.labels import labels_of
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.reader import EngineReader
from rsdecode.text.adapter import Adapter, find_adapter
from rsdecode.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from rsdecode.backends.transformers.load import LoadOptions
    from rsdecode.backends.transformers.network import Network

_TASKS = {"TOKEN_CLS": "ForTokenClassification", "SEQ_CLS": "ForSequenceClassification"}
"""What adapters are trained on, where their base model's architecture is another."""
ToRewards = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True)
class RewardCheckpoint:
    """A folder or a hub id, and how to load from it. Everything is read once, when needed."""

    path_or_id: str
    options: LoadOptions

    @cached_property
    def config(self) -> PreTrainedConfig:
        """Its config.json."""
        from rsdecode.text.pretrained import read_config

        return read_config(self.path_or_id, self.options.revision)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        from rsdecode.text.pretrained import load_tokenizer

        return load_tokenizer(self.path_or_id, self.options.revision)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its tokenizer, as formats use it."""
        return Vocabulary(self.tokenizer)

    @cached_property
    def adapter(self) -> Adapter | None:
        """What it is, if it is an adapter of another model."""
        return find_adapter(self.path_or_id, self.options.revision)

    @property
    def architectures(self) -> Sequence[str]:
        """Its architectures, by config.json; of an adapter those that it was trained on."""
        trained = _TASKS.get(self.adapter.task) if self.adapter else None
        return (trained,) if trained else self.config.architectures or ()

    @property
    def labels(self) -> dict[int, str]:
        """The names of its labels by id."""
        return labels_of(self.config)

    @cached_property
    def trained(self) -> Path | None:
        """The arguments that a trainer has left beside it."""
        return checkpoint_file(self.path_or_id, "training_args.bin", self.options.revision)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Its weights, one by one; those of an adapter's base where it has none beside it."""
        if self.adapter is not None and not self._has_weights_beside:
            return Checkpoint(self.adapter.base)
        return Checkpoint(self.path_or_id, self.options.revision)

    @property
    def _has_weights_beside(self) -> bool:
        """Whether a head is saved beside the adapter, as TRL does."""
        folder = self.adapter.folder if self.adapter else Path()
        return any((folder / name).is_file() for name in FILES)

    def has_weights(self, name: str) -> bool:
        """Whether there are weights of that name, with or without a prefix."""
        return any(found.endswith(name) for found in self.checkpoint.names)

    def causal(self) -> PreTrainedModel:
        """Its causal language model."""
        from transformers import AutoModelForCausalLM

        return self._load(AutoModelForCausalLM)

    def classifier(self, auto_class: Any) -> PreTrainedModel:
        """Its classifier: a backbone, and a linear layer that `heads.module_head` finds."""
        return self._load(auto_class)

    def backbone(self) -> PreTrainedModel:
        """Its transformer, without a head.

        Checkpoints of wrapped models put `pretrained_model.` before every name.
        """
        from transformers import AutoModel

        if self.adapter is not None and self.adapter.task == "CAUSAL_LM":
            return cast(Any, self.causal()).base_model
        if not any(name.startswith("pretrained_model.") for name in self.checkpoint.names):
            return self._load(AutoModel)
        renamed = {r"^pretrained_model\.(?:(?:model|transformer)\.)?": ""}
        return self._load(AutoModel, key_mapping=renamed)

    def _load(self, auto_class: Any, **arguments: Any) -> PreTrainedModel:
        from rsdecode.backends.transformers.load import load_pretrained

        return load_pretrained(auto_class, self.path_or_id, self.options, **arguments)

    def require_decoder(self) -> None:
        """Check that the backbone is causal.

        Raises:
            ModelLoadError: it is not.
        """
        from transformers.models.auto import modeling_auto as auto

        text: Any = self.config.get_text_config()
        kind: str = text.model_type
        decoders: Any = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        encoders: Any = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
        if kind not in decoders or kind in encoders:
            raise ModelLoadError(
                f"{self.path_or_id!r} is a {kind!r} model, not a decoder: reward models are read "
                "step by step, so their backbone must be causal (llama, qwen2, mistral, ...)"
            )

    def scorer(
        self,
        network: Network,
        format: Format,
        to_rewards: ToRewards,
        *,
        kind: str,
        shape: ModelShape,
        columns: Ids = (),
        reads: Mapping[str, str] | None = None,
    ) -> PrefixScorer:
        """The reward model itself, with an engine of its own."""
        from rsdecode.backends.transformers.engine import Engine
        from rsdecode.text.pretrained import context_length

        limit = context_length(self.config, self.tokenizer, self.options.max_context)
        options = self.options
        engine = Engine(network, slots=options.slots, max_context=limit, threads=options.threads)
        reader = EngineReader(engine, to_rewards, columns)
        return PrefixScorer(reader, format, max_context=limit, kind=kind, shape=shape, reads=reads)

    def headed_scorer(
        self,
        backbone: PreTrainedModel,
        head: Head,
        head_parameters: int,
        format: Format,
        to_rewards: ToRewards,
        *,
        kind: str,
        reads: Mapping[str, str] | None = None,
    ) -> PrefixScorer:
        """A reward model of a backbone and a small head."""
        from rsdecode.backends.transformers.load import model_shape
        from rsdecode.backends.transformers.network import BackboneNetwork

        shape = model_shape(backbone, vocabulary=0)
        shape = replace(shape, parameters=shape.parameters + head_parameters)
        network = BackboneNetwork(backbone, head)
        return self.scorer(network, format, to_rewards, kind=kind, shape=shape, reads=reads)
