"""The model that a reward model is made of: its weights, its tokenizer, a head."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rsdecode.config.specs import SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ConfigError, ModelLoadError, RsdError
from rsdecode.models.abacus import ModelName, model_path
from rsdecode.rewards.checkpoint import checkpoint_file
from rsdecode.rewards.value_head import SUMMARY
from rsdecode.rewards.weights import RewardCheckpoint
from rsdecode.training.train_settings import Layout, Part, TrainSettings

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from rsdecode.text.vocabulary import Vocabulary

LABELS = {0: "wrong", 1: "right"}
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "chat_template.jinja",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone and the head on it, ready to be trained.

    Attributes:
        whole: what is saved: the backbone itself, or a token classifier around it.
        network: gives hidden states.
        head: a linear layer on them, in float32.
        words: weights of the language model's output layer; None where there is none.
        context: tokens that it can read.
        continued: whether the head is that of a reward model which is trained further.
    """

    name: str
    source: RewardCheckpoint
    whole: PreTrainedModel
    network: PreTrainedModel
    head: nn.Linear
    words: nn.Parameter | None
    context: int
    continued: bool

    @property
    def vocabulary(self) -> Vocabulary:
        """Its tokenizer."""
        return self.source.vocabulary


def place_of(spec: str) -> str:
    """The folder, file or hub id of a backbone: `abacus:NAME`, `hf:ID_OR_PATH`, `gguf:FILE`.

    Raises:
        ConfigError: it is no model whose weights can be trained.
    """
    try:
        parsed = parse_reward_spec(spec)
    except ConfigError:
        parsed = parse_model_spec(spec)
    if parsed.kind is SpecKind.ABACUS:
        return str(model_path(cast("ModelName", parsed.target)))
    if parsed.kind not in (SpecKind.HF, SpecKind.GGUF):
        raise ConfigError(
            f"--backbone {spec}: only weights in this process can be trained: give hf:ID_OR_PATH, "
            "gguf:FILE, abacus:target or abacus:draft"
        )
    path = Path(parsed.target).expanduser()
    if parsed.kind is SpecKind.GGUF and not path.is_file():
        raise ConfigError(f"--backbone {spec}: there is no such file")
    return str(path) if path.exists() else parsed.target


def source_of(
    spec: str, device: str, dtype: str, folder: Path, tell: Callable[[str], None]
) -> RewardCheckpoint:
    """The checkpoint of a backbone's spec; only a GGUF file is read yet.

    Args:
        spec: of the backbone.
        device: to load onto.
        dtype: of the weights.
        folder: of the training, where the weights of a GGUF file are kept dequantised.
        tell: is told what takes long.

    Raises:
        ConfigError: it cannot be trained.
        ModelLoadError: a GGUF file cannot be read.
        StorageError: its weights cannot be written.
    """
    from rsdecode.backends.transformers.load import LoadOptions
    from rsdecode.training.gguf_backbone import dequantised

    place = place_of(spec)
    if place.endswith(".gguf") and Path(place).is_file():
        place = str(dequantised(Path(place), folder, device, dtype, tell))
    return RewardCheckpoint(place, LoadOptions(device=device, dtype=dtype))


def load_backbone(source: RewardCheckpoint, settings: TrainSettings) -> Backbone:
    """Load the weights, and put a new head on them; that of a reward model is kept.

    Raises:
        ConfigError: it is not what the settings are for.
        ModelLoadError: they cannot be loaded, or are not of a decoder.
        OutOfMemory: the device is too small.
    """
    import torch
    from transformers import AutoModelForTokenClassification

    from rsdecode.text.pretrained import context_length
    from rsdecode.training.growth import add_layers, train_only_new
    from rsdecode.training.widening import widen

    source.require_decoder()
    torch.manual_seed(settings.seed)
    words: Any = None
    continued = False
    if settings.layout is Layout.TOKEN_CLASSIFIER:
        auto: Any = AutoModelForTokenClassification
        whole: Any = _classifier(source, auto)
        network, head = whole.base_model, _head_of(whole, source.path_or_id)
    else:
        network = whole = source.backbone()
        head = torch.nn.Linear(network.config.get_text_config().hidden_size, 1)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        continued = source.has_weights(f"{SUMMARY}.weight")
        if continued:
            with torch.no_grad():
                head.weight.copy_(source.checkpoint.read(f"{SUMMARY}.weight"))
                head.bias.copy_(source.checkpoint.read(f"{SUMMARY}.bias"))
    _check_widened(network, source.path_or_id, settings, continued=continued)
    if settings.widen:
        network, reads = widen(network, settings.new_layers, source.path_or_id)
        whole, head = network, torch.nn.Linear(len(reads), 1)
        with torch.no_grad():
            head.weight.copy_(reads[None])
            head.bias.zero_()
    elif settings.new_layers:
        add_layers(network, settings.new_layers, source.path_or_id)
        if settings.part is Part.LAYERS:
            train_only_new(network, settings.new_layers)
    head.to(device=network.device, dtype=torch.float32)
    if settings.language_weight:
        words = _output_weights(source, network)
    context = context_length(source.config, source.tokenizer, None)
    return Backbone(source.path_or_id, source, whole, network, head, words, context, continued)


def _check_widened(network: Any, name: str, settings: TrainSettings, *, continued: bool) -> None:
    """What carries the tokens past a widened backbone is too small for updates of all weights."""
    from rsdecode.training.widening import WIDENED

    widened = getattr(network.config, WIDENED, 0)
    if settings.widen and (continued or widened):
        known = "is widened already" if widened else "is a reward model, not a language model"
        raise ConfigError(f"--widen: {name!r} {known}: leave it out")
    if not widened:
        return
    if settings.part in (Part.FULL, Part.LORA):
        raise ConfigError(
            f"--part {settings.part}: {name!r} was made with --widen, and would lose which token "
            "was read: use --part head, or --part layers with --new-layers"
        )


def reward_logits(outputs: Any) -> Any:
    """Outputs of a head [S, W] to logits of the reward [S]: of one output, or of two labels."""
    return outputs[:, 0] if outputs.shape[-1] == 1 else outputs[:, 1] - outputs[:, 0]


def scale_head(head: nn.Linear, scale: float, shift: float) -> None:
    """Make the head's reward logits `scale` times what they are, plus `shift`; in place."""
    import torch

    with torch.no_grad():
        head.weight.mul_(scale)
        head.bias.mul_(scale)
        head.bias[-1] += shift


def copy_tokenizer(source: RewardCheckpoint, folder: Path) -> None:
    """The files of the tokenizer, as they are: written anew, some families would be read otherwise.

    Raises:
        ModelLoadError: there are none.
    """
    found = 0
    for name in TOKENIZER_FILES:
        if path := checkpoint_file(source.path_or_id, name):
            shutil.copyfile(path, folder / name)
            found += 1
    if not found:
        tokenizer: Any = source.tokenizer  # of an adapter's base, or of a GGUF file
        tokenizer.save_pretrained(folder)


def _classifier(source: RewardCheckpoint, auto: Any) -> Any:
    from rsdecode.backends.transformers.load import resolve_device, resolve_dtype

    device = resolve_device(source.options.device)
    dtype = resolve_dtype(source.options.dtype, device, source.config)
    load: Callable[..., Any] = auto.from_pretrained
    try:
        model = load(
            source.path_or_id,
            num_labels=2,
            id2label=LABELS,
            label2id={name: index for index, name in LABELS.items()},
            dtype=dtype,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelLoadError(
            f"cannot make a token classifier of {source.path_or_id!r} ({error}): choose --layout "
            "value-head, which takes any decoder"
        ) from error
    return model.to(device)


def _head_of(classifier: Any, name: str) -> Any:
    import torch

    for attribute in ("score", "classifier"):
        layer = getattr(classifier, attribute, None)
        if isinstance(layer, torch.nn.Linear):
            bias: Any = layer.bias
            if bias is None:
                layer.bias = torch.nn.Parameter(torch.zeros(layer.out_features))
            return layer
    raise ModelLoadError(f"{name!r}: its token classifier has no linear head; use value-head")


def _output_weights(source: RewardCheckpoint, network: Any) -> Any:
    """The weights that turn hidden states into words: the input's, where they are shared."""
    text: Any = source.config.get_text_config()
    if getattr(text, "tie_word_embeddings", False):
        return network.get_input_embeddings().weight
    try:
        weight = source.checkpoint.read("lm_head.weight")
    except RsdError as error:
        raise ConfigError(
            f"--language-weight: {source.path_or_id!r} has no output layer (lm_head.weight) to "
            "predict words with: leave it out"
        ) from error
    import torch

    return torch.nn.Parameter(weight.to(network.device, network.dtype), requires_grad=False)
