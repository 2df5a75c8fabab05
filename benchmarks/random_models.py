"""Networks that were never trained, in the shapes of real ones, and work for them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.backends.transformers.model import LocalModel
from rsdecode.backends.transformers.network import BackboneNetwork
from rsdecode.core.acceptance import accept
from rsdecode.core.protocols import Models
from rsdecode.core.seeds import derive_seed
from rsdecode.core.types import Problem, Role
from rsdecode.rewards.heads import linear_head, probability
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.reader import EngineReader
from rsdecode.rewards.value_head import ValueHeadFormat
from rsdecode.text.vocabulary import Vocabulary

ACCEPTANCE = 0.75
"""Share of the steps that RSD accepts."""
EOS = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the three models and of the work.

    Attributes:
        models: arguments of `Qwen2Config` of draft, target and reward model.
        words: of the tokenizer, which all three share.
        step: tokens of a step.
        steps: of an answer.
        prompt: tokens of a question.
        alone: problems that are solved one at a time.
        together: problems that are solved at the same time.
        buffer: bytes that the bandwidth is measured on.
    """

    models: dict[Role, dict[str, Any]]
    dtype: torch.dtype
    words: int
    step: int
    steps: int
    prompt: int
    alone: int
    together: int
    buffer: int

    @property
    def answer(self) -> int:
        """Tokens of an answer."""
        return self.step * self.steps


def random_model(role: Role, shape: Shape, device: torch.device) -> Any:
    """A network that was never trained, and never ends an answer.

    Rows of the output layer whose tokens must not come (the end, and those that the tokenizer does
    not have) are zero, which is never the highest of so many logits.
    """
    torch.manual_seed(list(Role).index(role))
    config = Qwen2Config(**shape.models[role], max_position_embeddings=4096, eos_token_id=EOS)
    auto: Any = AutoModel if role is Role.REWARD else AutoModelForCausalLM
    with torch.device(device):
        model = auto.from_config(config, dtype=shape.dtype, attn_implementation="sdpa").eval()
    if role is not Role.REWARD:
        with torch.no_grad():
            weight = model.get_output_embeddings().weight
            weight[EOS] = 0
            weight[shape.words :] = 0
    return model


def tokenizer(words: int) -> PreTrainedTokenizerFast:
    """One token for each word, so that texts and tokens are as long in all three models."""
    backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(words)}, unk_token="w1"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="w0")


def load_models(
    made: dict[Role, Any],
    words: PreTrainedTokenizerFast,
    shape: Shape,
    slots: int,
    *,
    cuda_graphs: bool = False,
) -> Models:
    """The three models in an engine each, as `rsd` has them in one process."""
    context = shape.prompt + shape.answer + shape.step
    options = LoadOptions(
        slots=slots, max_context=context, plain_prompt="{question}", cuda_graphs=cuda_graphs
    )
    draft, target = (
        LocalModel(made[role], words, options, name=role) for role in (Role.DRAFT, Role.TARGET)
    )
    reader = EngineReader(reward_engine(made[Role.REWARD], shape, slots), probability(None))
    form = ValueHeadFormat(Vocabulary(words), "w2")
    # each step has a mark behind it
    reward = PrefixScorer(reader, form, max_context=context + shape.steps, kind="value-head")
    return Models(draft, target, reward)


def reward_engine(model: Any, shape: Shape, slots: int) -> Engine:
    """The backbone under a value head."""
    torch.manual_seed(9)
    weight = torch.randn(1, model.config.hidden_size, device=model.device) / 10
    head = linear_head(weight, torch.zeros(1, device=model.device))
    context = shape.prompt + shape.answer + shape.step + shape.steps
    return Engine(BackboneNetwork(model, head), slots=slots, max_context=context)


def ask(shape: Shape, index: int) -> Problem:
    """A question, with a name for which as many steps are accepted as on average."""

    def accepted(name: str) -> int:
        seeds = [derive_seed(0, name, 0, step, "accept", 0) for step in range(shape.steps)]
        return sum(accept(ACCEPTANCE, seed) for seed in seeds)

    names = (f"{index}.{number}" for number in count())
    name = next(name for name in names if accepted(name) == round(ACCEPTANCE * shape.steps))
    return Problem.ask(" ".join(f"w{i}" for i in prompt(shape, index)), id=name)


def prompt(shape: Shape, index: int, length: int = 0) -> tuple[int, ...]:
    """Tokens without a common beginning: questions differ."""
    return tuple(
        3 + (101 * index + 37 * i * i + i) % (shape.words - 3)
        for i in range(length or shape.prompt)
    )
