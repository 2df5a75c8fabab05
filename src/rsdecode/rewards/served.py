"""Reward models behind a vLLM server: the same formats, read over HTTP.

Process reward models (value-head, qwen-prm, token-classifier) are asked at `/pooling` with the task
`token_classify`, and answer with a row of label probabilities for each token or, served with a
`step_tag_id`, for each step mark. Outcome models are asked at `/classify` and answer with one row.
Language models that say + or - are asked at `/generative_scoring` (see `served_signs`).

vLLM reads a token classifier's prompt whole for each request. With our plugin and
`RSD_VLLM_PREFIX_CACHE` it continues a cached prefix, and there is a row for each token that it did
read: the last ones. So the new step alone is computed, as in this process.

The server applies sigmoid (one label) or soft-max; a row's entry for the label that means a right
step is the reward. Tokens are counted by the server; `/classify` does not tell which were cached.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.reading import count, entry, is_list, numbers
from rsdecode.backends.openai_http.transport import Exchange, Transport
from rsdecode.core.cost import ModelShape, attended_tokens
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Usage
from rsdecode.rewards.checkpoint import checkpoint_file
from rsdecode.rewards.detect import SIGNED, RewardKind, detect_kind, parse_kind
from rsdecode.rewards.format import Format
from rsdecode.rewards.labels import Label, good_label, labels_of, qwen_label
from rsdecode.rewards.outcome import ChatAnswerFormat
from rsdecode.rewards.plus_minus import sign_facts, sign_format
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.reader import Marked, Rewards
from rsdecode.rewards.reward_head import BareAnswerFormat
from rsdecode.rewards.served_reader import ServedReader
from rsdecode.rewards.served_signs import SignReader
from rsdecode.rewards.settings import SKYWORK_MARK, RewardSettings, settle
from rsdecode.rewards.token_classifier import TRL_SEPARATOR, SeparatorFormat, qwen_prm_format
from rsdecode.rewards.value_head import ValueHeadFormat
from rsdecode.text.pretrained import context_length, load_tokenizer, read_config
from rsdecode.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def head_format(kind: RewardKind, vocabulary: Vocabulary, settings: RewardSettings) -> Format:
    """The format of a kind with a head.

    Raises:
        ModelLoadError: the tokenizer does not fit it.
    """
    match kind:
        case RewardKind.VALUE_HEAD:
            return ValueHeadFormat(vocabulary, settings.mark or SKYWORK_MARK)
        case RewardKind.QWEN_PRM:
            return qwen_prm_format(vocabulary, settings)
        case RewardKind.TOKEN_CLASSIFIER | RewardKind.PURE:
            return SeparatorFormat(vocabulary, settings.separator or TRL_SEPARATOR)
        case RewardKind.REWARD_HEAD:
            return BareAnswerFormat(vocabulary)
        case _:
            return ChatAnswerFormat(vocabulary)


class PoolingReader(ServedReader):
    """Reads with a vLLM server.

    Args:
        transport: carries the requests; closed with the reader.
        column: of a row, the label whose probability is the reward.
        whole: whether the server classifies whole sequences (`/classify`), not their tokens.
    """

    def __init__(self, transport: Transport, column: int, *, whole: bool = False) -> None:
        super().__init__(transport)
        self._column = column
        self._whole = whole
        self._forms: dict[str, Form] = {}

    async def _attempt(self, exchange: Exchange, job: Marked) -> Rewards:
        if self._whole:
            reply, usage = await self._post(exchange, "classify", job)
            return self._rewards([numbers(entry(reply, "data", 0, "probs"))], usage)
        form = self._forms.get(exchange.url)
        if form is None:
            return await self._in_full(exchange, job)
        rows, usage = await self._pool(exchange, job)
        if form is Form.MARKS:
            return self._rewards(rows_of_marks(job, rows), usage)
        if not 0 < len(rows) <= len(job.ids):
            raise Fault(f"the reply has {len(rows)} rows for {len(job.ids)} tokens")
        cached = len(job.ids) - len(rows)
        usage = _continued(usage, cached, len(rows))
        if job.marks[0] < cached:  # another request has read that step before
            again = await self._in_full(exchange, job)
            return replace(again, usage=usage + again.usage)
        return self._rewards([rows[mark - cached] for mark in job.marks], usage)

    async def _in_full(self, exchange: Exchange, job: Marked) -> Rewards:
        """Read with nothing cached, which also tells what this server's rows stand for."""
        rows, usage = await self._pool(exchange, job, cache_salt=secrets.token_hex(16))
        form = self._forms[exchange.url] = form_of(job, rows)
        if form is Form.MARKS:
            rows = rows_of_marks(job, rows)
        else:
            rows = [rows[mark] for mark in job.marks]
        return self._rewards(rows, usage)

    async def _pool(
        self, exchange: Exchange, job: Marked, **more: str
    ) -> tuple[list[list[float]], Usage]:
        reply, usage = await self._post(exchange, "pooling", job, task="token_classify", **more)
        return _rows(entry(reply, "data", 0, "data")), usage

    async def _post(
        self, exchange: Exchange, route: str, job: Marked, **more: str
    ) -> tuple[object, Usage]:
        """The reply, and what it cost if nothing was cached."""
        body = {
            "model": self._transport.address.name,
            "input": list(job.ids),
            "use_activation": True,
            **self._salted,
            **more,
        }
        started = time.perf_counter()
        reply = await exchange.post(f"{root_of(exchange.url)}/{route}", body)
        seconds = time.perf_counter() - started
        read = count(reply, "usage", "prompt_tokens")
        return reply, _continued(Usage(calls=1, seconds=seconds), 0, read)

    def _rewards(self, rows: list[list[float]], usage: Usage) -> Rewards:
        if any(len(row) <= self._column for row in rows):
            raise Fault(f"the reply has {len(rows[0])} labels, not {self._column + 1} or more")
        return Rewards(tuple(row[self._column] for row in rows), usage)


class Form(Enum):
    """What the rows of a server's replies stand for."""

    TOKENS = auto()
    MARKS = auto()


def form_of(job: Marked, rows: list[list[float]]) -> Form:
    """What the rows for all of a job stand for.

    Raises:
        Fault: neither tokens nor marks; they are not as many.
    """
    if len(rows) == len(job.ids):
        return Form.TOKENS
    rows_of_marks(job, rows)
    return Form.MARKS


def rows_of_marks(job: Marked, rows: list[list[float]]) -> list[list[float]]:
    """The rows at a job's marks, of one row for each occurrence of the mark.

    A mark can also occur inside the question or a step; those rows are passed over.

    Raises:
        Fault: there are not so many.
    """
    tag = job.ids[job.marks[-1]]
    tagged = [place for place, token in enumerate(job.ids) if token == tag]
    if len(rows) == len(tagged) and set(job.marks) <= set(tagged):
        return [rows[tagged.index(mark)] for mark in job.marks]
    raise Fault(
        f"the reply has {len(rows)} rows for {len(job.ids)} tokens, {len(tagged)} of them step "
        f"marks: serve the model with --pooler-config '{{\"step_tag_id\": {tag}}}'"
    )


def load_served_reward(
    transport: Transport,
    tokenizer: str,
    kind: str | None = None,
    max_context: int | None = None,
    settings: RewardSettings = RewardSettings(),  # noqa: B008 - frozen
) -> PrefixScorer:
    """The reward model behind a server.

    Args:
        transport: to the server.
        tokenizer: folder or hub id of the model: its tokenizer and its config.json are read.
        kind: a name of `detect.RewardKind`; None to read it off config.json.
        max_context: tokens of a sequence at most; None for what the model was made for.
        settings: mark, separator, good and bad label, where the checkpoint does not tell.

    Raises:
        ConfigError: no such kind, one that is not served, or a setting that it does not read.
        ModelLoadError: kind, mark or label cannot be told, or the tokenizer does not fit it.
    """
    config = read_config(tokenizer)
    words = load_tokenizer(tokenizer)
    if kind is not None:
        chosen = parse_kind(kind)
    else:
        chosen = detect_kind(tokenizer, config.architectures or (), lambda: False)
    if chosen is RewardKind.REWARD_HEAD:
        raise ConfigError(
            f"the head of a {chosen} reward model is computed here: load it with hf:{tokenizer}"
        )
    trained = checkpoint_file(tokenizer, "training_args.bin")
    settled = settle(chosen, settings, config, trained, tokenizer)
    if chosen in SIGNED:
        signed = sign_format(chosen, Vocabulary(words), settled)
        reader, form = SignReader(transport, signed.candidates), signed
        facts = sign_facts(signed, settled)
    else:
        form = head_format(chosen, Vocabulary(words), settled)
        label = label_for(chosen, config, settled, tokenizer)
        column = label.column or 0 if label else 0
        reader = PoolingReader(transport, column, whole=chosen is RewardKind.OUTCOME)
        facts = label.facts if label else {}
    reward = PrefixScorer(
        reader,
        form,
        max_context=context_length(config, words, max_context),
        kind=f"{chosen}, served at {', '.join(transport.address.urls)}",
        shape=_shape(chosen, config),
        reads=facts,
    )
    reward.warnings = settled.warnings
    reward.at, reward.calibration = settled.at, settled.calibration
    return reward


def _continued(usage: Usage, cached: int, read: int) -> Usage:
    """That of a request which read so many tokens after so many cached ones."""
    attended = attended_tokens(cached, read)
    return replace(usage, prefill_tokens=read, cached_tokens=cached, attended_tokens=attended)


def _rows(data: object) -> list[list[float]]:
    if not is_list(data):
        raise Fault(f"the reply has {str(data)[:80]} in place of rows")
    return [numbers(row if is_list(row) else [row]) for row in data]


def label_for(
    kind: RewardKind, config: PreTrainedConfig, settings: RewardSettings, name: str
) -> Label | None:
    """The label of right steps; None for a head without labels."""
    if kind in (RewardKind.VALUE_HEAD, RewardKind.REWARD_HEAD):
        return None
    told = qwen_label if kind in (RewardKind.QWEN_PRM, RewardKind.PURE) else good_label
    return told(labels_of(config), settings, name)


def _shape(kind: RewardKind, config: PreTrainedConfig) -> ModelShape | None:
    """Sizes by config.json; None where there is no torch to work them out."""
    try:
        from transformers import AutoModel, AutoModelForCausalLM

        from rsdecode.backends.transformers.load import declared_shape
    except ImportError:
        return None
    if kind in SIGNED:
        return declared_shape(AutoModelForCausalLM, config)
    shape = declared_shape(AutoModel, config, vocabulary=0)
    return replace(shape, parameters=shape.parameters + _head_size(kind, shape.hidden, config))


def _head_size(kind: RewardKind, hidden: int, config: PreTrainedConfig) -> int:
    labels: int = len(config.id2label or ())
    match kind:
        case RewardKind.VALUE_HEAD:
            return hidden + 1
        case RewardKind.QWEN_PRM:
            return hidden * (hidden + 1) + 2 * (hidden + 1)
        case RewardKind.TOKEN_CLASSIFIER | RewardKind.PURE:
            return labels * (hidden + 1)
        case _:
            return labels * hidden
