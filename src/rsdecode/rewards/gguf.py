"""Reward models whose network is a GGUF file on llama.cpp.

The file holds the network alone: llama.cpp knows no such heads. Tokenizer, config.json and the
head's weights are those of the checkpoint that it was converted from, in the file's folder or in
another: `head.safetensors` with the head alone, or the whole model.safetensors. The head is
computed here, in float32, over the last hidden states that llama.cpp gives.

Language models that say + or - need no head: their next token's probabilities are read.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rsdecode.backends.llama_cpp import Connection, LlamaCppOptions, server_of
from rsdecode.backends.llama_cpp.choosing import chances_of
from rsdecode.backends.llama_cpp.embedding import hidden_states
from rsdecode.backends.llama_cpp.pieces import Pieces
from rsdecode.backends.vllm_server import Watcher, watch_reward_model
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ModelLoadError, RsdError
from rsdecode.core.protocols import RewardModel
from rsdecode.core.requests import Failed
from rsdecode.core.types import Message, Usage
from rsdecode.rewards.checkpoint import FILES, Checkpoint, checkpoint_file
from rsdecode.rewards.detect import SIGNED, RewardKind, detect_kind, parse_kind
from rsdecode.rewards.format import Format, Ids
from rsdecode.rewards.heads import Head, linear_head, probability, two_layer_head
from rsdecode.rewards.labels import Label
from rsdecode.rewards.plus_minus import sign_facts, sign_format
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.reader import Marked, Reader, Rewards
from rsdecode.rewards.reward_head import HEAD
from rsdecode.rewards.served import head_format, label_for
from rsdecode.rewards.settings import RewardSettings, settle
from rsdecode.rewards.value_head import SUMMARY
from rsdecode.text.pretrained import load_tokenizer, read_config
from rsdecode.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig

HEAD_FILE = "head.safetensors"


class _LlamaCppReader(ABC):
    """What both readers share: sessions and their slots."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self, jobs: Sequence[Marked]) -> list[Rewards | Failed]:
        """Serve all jobs at once; replies in their order."""
        return list(await asyncio.gather(*map(self._answer, jobs)))

    def end(self, session: str) -> None:
        """A session is over: its slot is free."""
        self._connection.places.end(session)

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        self._connection.clear()

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._connection.close()

    async def _answer(self, job: Marked) -> Rewards | Failed:
        try:
            return await self._read(job)
        except RsdError as error:
            return Failed(error)

    @abstractmethod
    async def _read(self, job: Marked) -> Rewards:
        """The rewards of one job."""


class HiddenStateReader(_LlamaCppReader):
    """Reads a head over the hidden states at the marks.

    Args:
        connection: to a process that gives hidden states.
        to_rewards: hidden states [marks, hidden], float32, to rewards [marks].
    """

    def __init__(self, connection: Connection, to_rewards: Callable[[Tensor], Tensor]) -> None:
        super().__init__(connection)
        self._to_rewards = to_rewards

    async def _read(self, job: Marked) -> Rewards:
        import torch

        rows, usage = await hidden_states(self._connection, job.session, job.ids, job.marks)
        with torch.inference_mode():
            rewards = self._to_rewards(torch.tensor(rows, dtype=torch.float32))
        return Rewards(tuple(cast("list[float]", rewards.tolist())), usage)


class SignReader(_LlamaCppReader):
    """Reads which of two tokens follows each mark: the first one's probability is the reward.

    Args:
        connection: to a process.
        signs: the good one and the bad one.
    """

    def __init__(self, connection: Connection, signs: Ids) -> None:
        super().__init__(connection)
        self._signs = signs

    async def _read(self, job: Marked) -> Rewards:
        values: list[float] = []
        usage = Usage()
        for mark in job.marks:
            prompt = job.ids[: mark + 1]
            chances, cost = await chances_of(self._connection, job.session, prompt, self._signs)
            values.append(chances[0])
            usage += cost
        return Rewards(tuple(values), usage)


def load_gguf_reward(
    file: Path,
    options: LlamaCppOptions,
    *,
    place: str | None = None,
    kind: str | None = None,
    settings: RewardSettings = RewardSettings(),  # noqa: B008 - frozen
    watcher: Watcher | None = None,
) -> RewardModel:
    """Start llama.cpp on the network of a reward model, and load what the file does not hold.

    Args:
        file: the GGUF file.
        options: how llama.cpp runs it.
        place: folder or hub id of tokenizer, config.json and head; None for the file's folder.
        kind: a name of `detect.RewardKind`; None to read it off config.json.
        settings: mark, separator, good and bad sign or label, where the checkpoint does not tell.
        watcher: is told what happens to the process.

    Raises:
        ConfigError: no such kind, or a setting that it does not read; llama.cpp is not installed.
        ModelLoadError: tokenizer, kind, mark, label or head are missing, or do not fit the file.
    """
    where = place or str(file.parent)
    config = _config(file, where)
    chosen = parse_kind(kind) if kind is not None else _detect(where, config)
    trained = checkpoint_file(where, "training_args.bin")
    settled = settle(chosen, settings, config, trained, where)
    words = load_tokenizer(where)
    options = replace(options, hidden_states=chosen not in SIGNED)
    gguf, server = server_of(file, options, watcher)
    connection = Connection(gguf, server, options)
    check_tokenizer(words, connection.pieces, where, str(file))
    if chosen in SIGNED:
        parts = _of_signs(chosen, connection, Vocabulary(words), settled)
    else:
        form = head_format(chosen, Vocabulary(words), settled)
        label = label_for(chosen, config, settled, where)
        parts = _of_head(chosen, connection, form, label, where)
    check_format(parts.format, connection.pieces, str(file))
    reward = PrefixScorer(
        parts.reader,
        parts.format,
        max_context=connection.context - 1,
        kind=f"{chosen}, its network on llama.cpp",
        shape=parts.shape,
        reads={"network": str(file), **parts.reads},
    )
    reward.warnings = settled.warnings
    reward.at, reward.calibration = settled.at, settled.calibration
    server.wait()
    return watch_reward_model(reward, server, server.close)


class _Parts(NamedTuple):
    """What a scorer is made of."""

    reader: Reader
    format: Format
    shape: ModelShape
    reads: Mapping[str, str]


def _of_signs(
    kind: RewardKind, connection: Connection, vocabulary: Vocabulary, settings: RewardSettings
) -> _Parts:
    form = sign_format(kind, vocabulary, settings)
    reads = sign_facts(form, settings)
    return _Parts(SignReader(connection, form.candidates), form, connection.file.shape, reads)


def _of_head(
    kind: RewardKind, connection: Connection, form: Format, label: Label | None, place: str
) -> _Parts:
    shape = connection.file.shape
    head, source, size = head_of(kind, place, shape.hidden)
    to_rewards = probability(label.column if label else None)
    reads = {**(label.facts if label else {}), "head": source}
    reader = HiddenStateReader(connection, lambda states: to_rewards(head(states)))
    return _Parts(reader, form, _backbone(shape, size), reads)


def head_of(kind: RewardKind, place: str, hidden: int) -> tuple[Head, str, int]:
    """The head of a checkpoint: itself, where it was found, and its parameters.

    Raises:
        ModelLoadError: there is none, or it is for networks of another size.
    """
    try:
        beside = kind is RewardKind.REWARD_HEAD
        checkpoint = Checkpoint(place, files=(HEAD,) if beside else (HEAD_FILE, *FILES))
        layers = [_layer(checkpoint, name) for name in _layer_names(kind, checkpoint)]
    except ModelLoadError as error:
        raise ModelLoadError(
            f"{error}. A GGUF file holds no reward head: the head's tensors are wanted in {place}, "
            f"in {HEAD_FILE} or in the whole {FILES[0]} of the model that it was converted from "
            f"(those of a {RewardKind.REWARD_HEAD} in {HEAD})"
        ) from error
    found: int = layers[0][0].shape[-1]
    if found != hidden:
        raise ModelLoadError(
            f"the head in {place} reads hidden states of {found} numbers, but the GGUF file's have "
            f"{hidden}: it is another model's"
        )
    parts = [linear_head(weight, bias) for weight, bias in layers]
    head = two_layer_head(*parts) if len(parts) == 2 else parts[0]
    tensors = [tensor for layer in layers for tensor in layer if tensor is not None]
    source = checkpoint.place(f"{_layer_names(kind, checkpoint)[0]}weight")
    return head, str(source), sum(tensor.numel() for tensor in tensors)


def check_tokenizer(words: Any, pieces: Pieces, place: str, file: str) -> None:
    """See that a tokenizer numbers the tokens as a GGUF file does.

    Raises:
        ModelLoadError: it does not.
    """
    numbers = range(min(len(words), len(pieces)))
    tokens: list[str | None] = words.convert_ids_to_tokens(list(numbers))
    for number, token in zip(numbers, tokens, strict=True):
        if token != pieces.spelling(number):
            raise ModelLoadError(
                f"the tokenizer in {place} is not that of {file}: its token {number} is {token!r}, "
                f"the file's is {pieces.spelling(number)!r}: name the folder of the checkpoint "
                "that the file was converted from by --reward-tokenizer"
            )


def check_format(form: Format, pieces: Pieces, file: str) -> None:
    """See that the tokens which a format puts around steps are in the file.

    Raises:
        ModelLoadError: one is not.
    """
    prompt = form.prompt_ids([Message("user", "1")])
    beyond = [i for i in (*prompt, *form.step_ids("1", 0), *form.closing_ids) if i >= len(pieces)]
    if beyond:
        raise ModelLoadError(
            f"{file} has {len(pieces)} tokens, but the reward model is read with token "
            f"{beyond[0]}: convert the checkpoint again, after its tokens were added to it"
        )


def _config(file: Path, place: str) -> PreTrainedConfig:
    if checkpoint_file(place, "config.json") is None:
        raise ModelLoadError(
            "a GGUF file holds no reward head and does not tell how it is read: copy config.json, "
            f"the tokenizer's files and the head ({HEAD_FILE} or {FILES[0]}) of the checkpoint "
            f"that {file.name} was converted from into {place}, or name their folder by "
            f"--reward-tokenizer. A language model grades steps as judge:gguf:{file}"
        )
    return read_config(place)


def _detect(place: str, config: PreTrainedConfig) -> RewardKind:
    if checkpoint_file(place, HEAD):
        return RewardKind.REWARD_HEAD

    def has_value_head() -> bool:
        names = Checkpoint(place, files=(HEAD_FILE, *FILES)).names
        return any(name.endswith(f"{SUMMARY}.weight") for name in names)

    return detect_kind(place, config.architectures or (), has_value_head)


def _layer_names(kind: RewardKind, checkpoint: Checkpoint) -> list[str]:
    """What the names of each layer's tensors begin with."""
    match kind:
        case RewardKind.VALUE_HEAD:
            return [f"{SUMMARY}."]
        case RewardKind.QWEN_PRM:
            return ["score.0.", "score.2."]
        case RewardKind.REWARD_HEAD:
            return [""]
        case _:
            named = any(name.endswith("classifier.weight") for name in checkpoint.names)
            return ["classifier." if named else "score."]


def _layer(checkpoint: Checkpoint, name: str) -> tuple[Tensor, Tensor | None]:
    weight = checkpoint.read(f"{name}weight")
    biased = any(n == f"{name}bias" or n.endswith(f".{name}bias") for n in checkpoint.names)
    return weight, checkpoint.read(f"{name}bias") if biased else None


def _backbone(shape: ModelShape, head: int) -> ModelShape:
    """The network without its output layer, and with a head."""
    output = 0 if shape.tied else shape.embedding_parameters
    return replace(shape, vocabulary=0, parameters=shape.parameters - output + head, tied=True)
