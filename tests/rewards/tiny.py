"""Tiny random reward models, saved in the layouts of the real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import (
    save_file,  # pyright: ignore[reportUnknownVariableType]
)
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen2ForTokenClassification,
    Qwen2Model,
)

from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.core.requests import Score, Scored
from rsdecode.core.types import Context, Message, Segment

OPTIONS = LoadOptions(device="cpu", dtype="float32", slots=4)
CONTEXT = 1024
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<bos>", "<eos>", "<|im_start|>", "<|im_end|>")


def tokenizer(
    *, bos: bool = True, extra: bool = True, shepherd: bool = True, chat: bool = True
) -> PreTrainedTokenizerFast:
    """Bytes, a few merges, and the marks that are asked for."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), ("Ġ", "+"), ("Ġ", "-")]
    entries = [*letters, *(a + b for a, b in merges)]
    built = Tokenizer(models.BPE(vocab={e: i for i, e in enumerate(entries)}, merges=merges))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.decoder = decoders.ByteLevel()
    special = [*SPECIAL, *(["<extra_0>"] if extra else [])]
    built.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    if shepherd:
        built.add_tokens([AddedToken("ки", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        bos_token="<bos>" if bos else None,
        eos_token="<eos>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT if chat else None,
    )


def config(**changes: Any) -> Qwen2Config:
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": None,
        "eos_token_id": None,
        "initializer_range": 0.2,
    }
    return Qwen2Config(**(sizes | changes))


def backbone(kind: str = "qwen2") -> Any:
    """A random transformer without a head."""
    torch.manual_seed(0)
    vocabulary = len(tokenizer())
    if kind == "gpt2":
        sizes: dict[str, Any] = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT}
        return GPT2Model(GPT2Config(vocab_size=vocabulary, initializer_range=0.2, **sizes)).eval()
    if kind == "llama":
        same: dict[str, Any] = config().to_dict() | {"model_type": "llama"}
        return LlamaModel(LlamaConfig(**same)).eval()
    return Qwen2Model(config()).eval()


def linear(inputs: int, outputs: int, seed: int) -> torch.nn.Linear:
    torch.manual_seed(seed)
    layer = torch.nn.Linear(inputs, outputs)
    torch.nn.init.normal_(layer.weight, std=0.2)
    torch.nn.init.normal_(layer.bias, std=0.2)
    return layer


def save(
    folder: Path,
    model: Any,
    heads: dict[str, torch.nn.Linear],
    architecture: str,
    *,
    prefix: str = "model.",
    words: PreTrainedTokenizerFast | None = None,
    **keys: Any,
) -> Path:
    """Write backbone and heads as one checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {prefix + name: value for name, value in model.state_dict().items()}
    outer = "pretrained_model." if prefix.startswith("pretrained_model.") else ""
    for name, head in heads.items():
        tensors |= {f"{outer}{name}.{part}": value for part, value in head.state_dict().items()}
    save_file({n: t.clone().contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    settings = model.config.to_dict() | {"architectures": [architecture]} | keys
    (folder / "config.json").write_text(json.dumps(settings))
    (words or tokenizer()).save_pretrained(folder)
    return folder


def save_value_head(folder: Path, kind: str = "qwen2", **options: Any) -> tuple[Path, Any, Any]:
    """Skywork's layout; also gives backbone and head."""
    model, head = backbone(kind), linear(64, 1, seed=1)
    heads = {"v_head.summary": head}
    return save(folder, model, heads, "Qwen2ForPrmModel", **options), model, head


def save_qwen_prm(folder: Path, **options: Any) -> tuple[Path, Any, Any]:
    """Qwen2.5-Math-PRM's layout; also gives backbone and head."""
    model, first, second = backbone(), linear(64, 64, seed=1), linear(64, 2, seed=2)
    heads = {"score.0": first, "score.2": second}
    remote = {"auto_map": {"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"}}
    path = save(folder, model, heads, "Qwen2ForProcessRewardModel", **remote, **options)
    return path, model, torch.nn.Sequential(first, torch.nn.ReLU(), second)


def save_reward_head(folder: Path) -> tuple[Path, Any, Any]:
    """ReasonFlux-PRM-1.5B's layout; also gives backbone and head."""
    path, model = save_causal(folder)
    head = linear(64, 1, seed=1)
    torch.save(head.state_dict(), path / "reward_head.pt")
    return path, model.model, head


def save_classifier(folder: Path, task: str, **keys: Any) -> tuple[Path, Any]:
    """A `token` or `sequence` classifier, as transformers saves it.

    Its config.json tells how it is read, unless `rsd_reward` is given, which is None for nothing.
    """
    classes = {"token": Qwen2ForTokenClassification, "sequence": Qwen2ForSequenceClassification}
    torch.manual_seed(3)
    words = keys.pop("words", None) or tokenizer()
    told = {"separator": "\n"} if task == "token" else {}
    if "id2label" not in keys and keys.get("num_labels", 2) == 2:
        told["good"] = "LABEL_1"
    if (stated := keys.pop("rsd_reward", told)) is not None:
        keys["rsd_reward"] = stated
    model = classes[task](config(**keys)).eval()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder, model


def save_causal(folder: Path, words: PreTrainedTokenizerFast | None = None) -> tuple[Path, Any]:
    torch.manual_seed(4)
    model = Qwen2ForCausalLM(config()).eval()
    model.save_pretrained(folder)
    (words or tokenizer()).save_pretrained(folder)
    return folder, model


def request(question: str, answer: list[str], steps: list[str], session: str = "s") -> Score:
    """Score `steps` after `answer`."""
    context = Context((Message("user", question),), tuple(map(Segment, answer)))
    return Score(context, tuple(map(Segment, steps)), session)


STEPS = ["First, 2 + 3 = 5.\n\n", "Then 5 * 4 = 20,\nwhich is even.\n\n", "So it is 20.", "Done."]
PROBLEMS = [
    request("What is (2 + 3) * 4?", STEPS[:1], STEPS[1:2], "a"),
    request("What is (2 + 3) * 4?", STEPS[:2], STEPS[2:], "a"),
    request("How many?", [], ["One.\n\n"], "b"),
    request("A longer question, " * 9, [f"Step with {i}.\n\n" for i in range(9)], ["End."], "c"),
    request("How many?", ["One.\n\n"], ["Two.\n\n", "Three."], "b"),
]


def rewards(replies: list[Any]) -> list[tuple[float, ...]]:
    """The rewards of replies, all of which must have been served."""
    assert all(isinstance(reply, Scored) for reply in replies), replies
    return [reply.rewards for reply in replies]


def steps_of(score: Score) -> list[str]:
    """The texts of all steps, those of the answer first."""
    return [segment.text for segment in (*score.context.answer, *score.steps)]
