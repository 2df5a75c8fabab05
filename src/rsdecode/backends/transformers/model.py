"""A local language model: the engine behind the `LanguageModel` and `Chooser` seams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rsdecode.backends.transformers.assessor import Assessor
from rsdecode.backends.transformers.choosing import Choosing
from rsdecode.backends.transformers.cuda_graphs import recorder_for
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.failures import too_long
from rsdecode.backends.transformers.int8 import described_dtype
from rsdecode.backends.transformers.jobs import Decode, Decoded, Prefill, Prefilled, WrittenToken
from rsdecode.backends.transformers.load import LoadOptions, load_pretrained, model_shape
from rsdecode.backends.transformers.measuring import PIECE, Measuring
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.backends.transformers.speculator import Speculator
from rsdecode.core.cost import ModelShape
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError, ModelLoadError, PromptTooLong, RequestError
from rsdecode.core.protocols import Choose, Chosen, Measure, Measured, Show
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Begin,
    Begun,
    Failed,
    Generate,
    Generated,
    Propose,
    Proposed,
    Verified,
    Verify,
)
from rsdecode.core.types import FinishReason, Role, Segment, Tokens, ToldToken
from rsdecode.text.codec import Codec
from rsdecode.text.pretrained import context_length, load_tokenizer, read_config
from rsdecode.text.prompt import Prompts
from rsdecode.text.rendering import characters, render_all

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


Request = TypeVar("Request")
Reply = TypeVar("Reply")


def load_model(
    path_or_id: str, options: LoadOptions = LoadOptions(), *, gguf_file: str | None = None
) -> LocalModel:
    """Load a causal language model and its tokenizer.

    Args:
        path_or_id: a folder, or the id of a model on the hub.
        options: device, dtype, slots and the like.
        gguf_file: name of a GGUF file in that folder; its weights are dequantised.

    Raises:
        ModelLoadError: no such model, no weights, no end-of-sequence token, unsupported layers.
        OutOfMemory: the device is too small.
    """
    from transformers import AutoModelForCausalLM

    read_config(path_or_id, options.revision, gguf_file)
    tokenizer = load_tokenizer(path_or_id, options.revision, gguf_file)
    model = load_pretrained(AutoModelForCausalLM, path_or_id, options, gguf_file)
    return LocalModel(model, tokenizer, options, name=str(Path(path_or_id, gguf_file or "")))


class LocalModel:
    """Serves requests on a model in this process.

    Requests of all problems that wait at the same moment are served as one batch, and each reply
    is independent of its batch.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        options: slots, context and the plain prompt are taken from here.
        name: for messages.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        options: LoadOptions = LoadOptions(),
        *,
        name: str = "model",
    ) -> None:
        self._name = name
        self._model = model
        self._prompts = Prompts(tokenizer, options.plain_prompt, options.template)
        self._tokenizer = tokenizer
        self._stated_eos = _end_of_sequence(model, tokenizer)
        self._eos = self._ends_of_answers()
        self._shape = model_shape(model)
        self._engine = Engine(
            CausalNetwork(model),
            tokenizer=tokenizer,
            eos=self._eos,
            slots=options.slots,
            max_context=context_length(model.config, tokenizer, options.max_context),
            threads=options.threads,
            recorder=recorder_for(model.device) if options.cuda_graphs else None,
        )
        self._speculator = Speculator(
            self._prompts, tokenizer, self._eos, self._engine.max_context, name
        )
        self._codec = Codec(tokenizer, self._prompts, self._engine.max_context)
        self._assessor = Assessor(self._prompts, self._eos, self._engine.max_context, name)
        self._choosing = Choosing(self._prompts, self._engine.max_context, name)
        self._tells_logprobs = False

    @property
    def shape(self) -> ModelShape:
        """Sizes, for FLOPs."""
        return self._shape

    @property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer; models that share it exchange token ids."""
        return self._prompts.vocabulary

    @property
    def codec(self) -> Codec:
        """Its tokenizer."""
        return self._codec

    @property
    def load(self) -> int:
        """Requests that are being served or wait, up to a full batch; 0 when idle."""
        return self._engine.load

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._write(requests, None)

    async def stream(self, requests: Sequence[Generate], show: Show) -> list[Generated | Failed]:
        """As `generate`; new text goes to `show` as each token comes, and is never taken back."""
        return await self._write(requests, show)

    async def _write(
        self, requests: Sequence[Generate], show: Show | None
    ) -> list[Generated | Failed]:
        jobs = await render_all(self._job, requests, self._length)
        places = [place for place, job in enumerate(jobs) if isinstance(job, Decode)]
        told = None if show is None else partial(_show_at, show, places)
        decoded = iter(
            await self._engine.decode([job for job in jobs if isinstance(job, Decode)], told)
        )
        replies = [next(decoded) if isinstance(job, Decode) else job for job in jobs]
        return [
            self._generated(request, reply) if isinstance(reply, Decoded) else reply
            for request, reply in zip(requests, replies, strict=True)
        ]

    async def choose(self, requests: Sequence[Choose]) -> list[Chosen | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._read(
            requests,
            self._choosing.job,
            lambda request: characters(request.messages),
            self._choosing.chosen,
        )

    async def measure(self, requests: Sequence[Measure]) -> list[Measured | Failed]:
        """Serve each request; replies in the order of the requests."""
        return list(await asyncio.gather(*(self._measure(request) for request in requests)))

    async def propose(self, requests: Sequence[Propose]) -> list[Proposed | Failed]:
        """Serve each request; replies in the order of the requests."""
        jobs = await render_all(self._proposal, requests, self._length)
        decoded = iter(await self._engine.decode([job for job in jobs if isinstance(job, Decode)]))
        replies = [next(decoded) if isinstance(job, Decode) else job for job in jobs]
        return [
            self._speculator.proposed(reply) if isinstance(reply, Decoded) else reply
            for reply in replies
        ]

    async def verify(self, requests: Sequence[Verify]) -> list[Verified | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._read(
            requests, self._verification, self._length, self._speculator.verified
        )

    async def assess(self, requests: Sequence[Assess]) -> list[Assessed | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._read(requests, self._assessment, self._length, self._assessor.assessed)

    async def _read(
        self,
        requests: Sequence[Request],
        job: Callable[[Request], Prefill | Reply | Failed],
        length: Callable[[Request], int],
        conclude: Callable[[Request, Prefilled], Reply | Failed],
    ) -> list[Reply | Failed]:
        """Serve requests that write nothing; `conclude` makes the reply, in the engine's thread."""
        jobs = await render_all(job, requests, length)
        places = [place for place, job in enumerate(jobs) if isinstance(job, Prefill)]

        def concluded(place: int, read: Prefilled) -> Reply | Failed:
            return conclude(requests[places[place]], read)

        prefills = [job for job in jobs if isinstance(job, Prefill)]
        replies = iter(await self._engine.conclude(prefills, concluded))
        return [next(replies) if isinstance(job, Prefill) else job for job in jobs]

    def check_guesses(self) -> None:
        """See that it reads guesses, and goes on with a step (see `TakesGuesses`)."""
        if self._engine.has_states:
            raise ConfigError(
                f"{self._name} has layers with a state, which cannot go back within a step: its "
                "guesses are not read; use fallback decode"
            )

    async def begin(self, requests: Sequence[Begin]) -> list[Begun | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await render_all(
            lambda request: self._prompts.begun(request.messages, request.marks),
            requests,
            lambda request: characters(request.messages),
        )

    def tell_logprobs(self) -> None:
        """From now on, segments carry the log-probabilities of their tokens."""
        self._tells_logprobs = True

    def check_tokens(self) -> None:
        """It tells how likely its tokens were (see `protocols.TellsTokens`)."""

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        model: Any = self._model
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        return {
            "model": f"{type(model).__name__}, {self._shape.parameters:,} parameters",
            "tokenizer": f"{type(self._tokenizer).__name__}, {len(self._tokenizer)} tokens",
            "vocabulary": self.vocabulary,
            "prompt": "chat template" if self._prompts.has_template else "plain prompt",
            "end of sequence": self._spelled(self._eos),
            "context": f"{self._engine.max_context} tokens",
            "device": f"{model.device}, {described_dtype(model)}"
            + ("" if (n := self._engine.threads) is None else f", {counted(n, 'thread')}"),
            "memory": f"{weights / 2**20:.0f} MiB of weights",
            "cache": self._engine.describe_cache(),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know; complete once requests were served."""
        notes = [*self._prompts.notes]
        if (why := self._engine.why_no_graphs) is not None:
            notes.append(f"CUDA graphs are not used: {why}")
        if unstated := self._eos - self._stated_eos:
            ends, named = self._spelled(unstated), self._spelled(self._stated_eos)
            listed = ", ".join(str(token) for token in sorted(self._eos))
            notes.append(
                f"the chat template ends turns with {ends}, which the checkpoint does not list as "
                f"an end of sequence ({named or 'it lists none'}): answers end there here; for "
                f'other tools set "eos_token_id": [{listed}] in its generation_config.json'
            )
        return tuple(f"{self._name}: {note}" for note in notes)

    def end(self, session: str) -> None:
        """A session is over: its place in the cache is free."""
        self._engine.end(session)

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        self._engine.clear()

    def close(self) -> None:
        """Free the engine; requests under way are answered with `Failed`."""
        self._engine.close()

    def _ends_of_answers(self) -> frozenset[int]:
        """The stated ends of a sequence, and the token that ends turns in the chat template.

        Raises:
            ModelLoadError: there is none.
        """
        turn_end = self._prompts.turn_end
        ends = self._stated_eos if turn_end is None else self._stated_eos | {turn_end}
        if not ends:
            raise ModelLoadError(
                f"the tokenizer of {self._name!r} has no end-of-sequence token, so no answer would "
                "ever end: set eos_token in its tokenizer_config.json"
            )
        return ends

    def _spelled(self, ids: frozenset[int]) -> str:
        return ", ".join(str(self._tokenizer.convert_ids_to_tokens(i)) for i in sorted(ids))

    def _job(self, request: Generate) -> Decode | Generated | Failed:
        prompt = self._prompts.prompt_ids(request.context.messages)
        if len(prompt) >= self._engine.max_context:
            return Failed(self._too_long(len(prompt)))
        begun = request.begun or Segment("", Tokens(self.vocabulary, ()))
        if (begun_ids := begun.ids_in(self.vocabulary)) is None:
            return Failed(RequestError(f"{self._name} cannot go on with another model's tokens"))
        ids = (*self._prompts.context_ids(request.context), *begun_ids)
        if len(ids) >= self._engine.max_context:
            return Generated(begun, FinishReason.LENGTH)
        return Decode(
            session=request.session,
            ids=ids,
            max_tokens=request.max_tokens,
            boundary=request.boundary,
            sampling=request.sampling,
            seed=request.seed,
            logprobs=self._tells_logprobs,
            guess=(request.guess and request.guess.ids_in(self.vocabulary)) or (),
            begun=len(begun_ids),
            pauses=request.pauses,
            told=request.told,
        )

    def _length(self, request: Generate | Propose | Verify | Assess) -> int:
        return characters(request.context.messages, request.context.answer, self.vocabulary)

    def _generated(self, request: Generate, reply: Decoded) -> Generated:
        told, logprobs, begun = reply.told, reply.logprobs, request.begun or Segment("")
        kept = len(reply.ids)  # a step's end may cut off tokens of earlier requests
        segment = Segment(
            reply.text,
            Tokens(self.vocabulary, reply.ids),
            None if logprobs is None else (*(begun.logprobs or ())[:kept], *logprobs),
            None if told is None else (*(begun.told or ())[:kept], *map(self._told, told)),
        )
        return Generated(segment, reply.finish_reason, reply.usage)

    def _told(self, token: WrittenToken) -> ToldToken:
        top = tuple((self._codec.piece(id), logprob) for id, logprob in token.top)
        return ToldToken(token.text, token.logprob, top)

    def _proposal(self, request: Propose) -> Decode | Proposed | Failed:
        job = self._job(
            Generate(
                Role.DRAFT,
                request.context,
                request.count,
                sampling=request.sampling,
                seed=request.seed,
                session=request.session,
            )
        )
        if isinstance(job, Generated):
            return Proposed(job.segment, None, job.finish_reason)
        return self._speculator.proposal_job(job) if isinstance(job, Decode) else job

    def _verification(self, request: Verify) -> Prefill | Verified | Failed:
        prompt = self._prompts.prompt_ids(request.context.messages)
        if len(prompt) >= self._engine.max_context:
            return Failed(self._too_long(len(prompt)))
        return self._speculator.verification_job(request)

    def _assessment(self, request: Assess) -> Prefill | Assessed | Failed:
        prompt = self._prompts.prompt_ids(request.context.messages)
        if len(prompt) >= self._engine.max_context:
            return Failed(self._too_long(len(prompt)))
        return self._assessor.job(request)

    def _too_long(self, tokens: int) -> PromptTooLong:
        return too_long(tokens, self._name, self._engine.max_context)

    async def _measure(self, request: Measure) -> Measured | Failed:
        """Piece by piece, as the outputs of a long text are large."""
        ids, reading = request.ids, Measuring(request)
        if not 0 < len(ids) <= self._engine.max_context:
            return Failed(self._too_long(len(ids)))
        try:
            for start in range(0, len(ids), PIECE):
                end = min(start + PIECE, len(ids))
                job = Prefill(request.session, ids[:end], tuple(range(start, end)))
                [failed] = await self._engine.conclude([job], reading.add)
                if failed is not None:
                    return failed
        finally:
            self._engine.end(request.session)
        return reading.measured


def _show_at(show: Show, places: Sequence[int], job: int, text: str) -> None:
    """Show the text of a job, given the places of all jobs among the requests."""
    show(places[job], text)


def _end_of_sequence(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """All ids that end a sequence, from tokenizer and generation config."""
    generation: Any = getattr(model, "generation_config", None)
    stated: Any = getattr(generation, "eos_token_id", None)
    own: Any = tokenizer.eos_token_id
    listed: list[Any] = [own, *(stated if isinstance(stated, list) else [stated])]
    return frozenset(int(token) for token in listed if token is not None)
