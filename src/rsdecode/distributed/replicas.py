"""One model in a replica of Ray Serve, and what others must know of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rsdecode.config import RunConfig
from rsdecode.config.build import ModelBuilder
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import (
    Assessor,
    Caching,
    Chooser,
    Closeable,
    LanguageModel,
    MayNotAssess,
    MayNotContinue,
    Measurer,
    Proposer,
    ReadsDraft,
    RewardModel,
    Sized,
    TellsLogprobs,
    Verifier,
)
from rsdecode.core.types import Role
from rsdecode.distributed.worker import check_version
from rsdecode.text.codec import Codec, HasCodec

Ability = Literal["generate", "score", "choose", "measure", "propose", "verify", "assess"]
"""What a model can be asked, by the name of its method."""
_PROTOCOLS: dict[Ability, type[Any]] = {
    "generate": LanguageModel,
    "score": RewardModel,
    "choose": Chooser,
    "measure": Measurer,
    "propose": Proposer,
    "verify": Verifier,
    "assess": Assessor,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model tells of itself.

    Attributes:
        abilities: what it can be asked.
        shape: for FLOPs, where it is known.
        codec: its tokenizer, where there is one.
        vocabulary: fingerprint of the tokenizer, of models that exchange single tokens.
        cannot: what it would say to a check, by the check's name; a check that is missing passes.
        reads_draft: see `protocols.ReadsDraft`.
        tells_logprobs: whether it can be told to keep log-probabilities.
    """

    abilities: frozenset[Ability]
    shape: ModelShape | None = None
    codec: Codec | None = None
    vocabulary: str | None = None
    cannot: tuple[tuple[str, str], ...] = ()
    reads_draft: bool = False
    tells_logprobs: bool = False

    @classmethod
    def of(cls, model: object) -> Facts:
        """Ask a model."""
        proposes = isinstance(model, Proposer | Verifier)
        return cls(
            abilities=frozenset(name for name, of in _PROTOCOLS.items() if isinstance(model, of)),
            shape=model.shape if isinstance(model, Sized) else None,
            codec=model.codec if isinstance(model, HasCodec) else None,
            vocabulary=model.vocabulary if proposes else None,
            cannot=tuple(_refusals(model)),
            reads_draft=isinstance(model, ReadsDraft) and model.reads_draft,
            tells_logprobs=isinstance(model, TellsLogprobs),
        )


def _refusals(model: object) -> list[tuple[str, str]]:
    checks: list[tuple[str, Any]] = []
    if isinstance(model, MayNotContinue):
        checks.append(("check_steps", model.check_steps))
    if isinstance(model, MayNotAssess):
        checks.append(("check_assesses", model.check_assesses))
        checks.append(("check_logprobs", model.check_logprobs))
    refused: list[tuple[str, str]] = []
    for name, check in checks:
        try:
            check()
        except ConfigError as error:
            refused.append((name, str(error)))
    return refused


class ModelReplica:
    """Loads the model of one role and answers requests; it keeps nothing but its prefix cache.

    A request that is asked again gets the same reply: all that decides it is in the request.

    Args:
        role: whose model.
        config: of the run, as `RunConfig.model_dump` gives it.
        code: version of the code of whoever deploys.

    Raises:
        RsdError: the model cannot be loaded, or this node has another version of the code.
    """

    def __init__(self, role: str, config: dict[str, Any], code: str | None = None) -> None:
        if code is not None:
            check_version(code)
        settings = RunConfig.model_validate(config)
        builder = ModelBuilder(settings, {Role(role)})
        self._model: Any = builder.reward() if role == Role.REWARD else builder.writer(Role(role))
        self._logprobs = False

    async def ask(
        self, ability: Ability, requests: Sequence[Any], *, logprobs: bool = False
    ) -> list[Any]:
        """Serve requests; replies in their order.

        Args:
            ability: the method that serves them.
            requests: as it takes them.
            logprobs: whether log-probabilities are to be kept in what is written.
        """
        if logprobs and not self._logprobs:
            self._model.tell_logprobs()
            self._logprobs = True
        return await getattr(self._model, ability)(requests)

    async def end(self, session: str) -> None:
        """No request of the session will follow."""
        if isinstance(self._model, Caching):
            self._model.end(session)

    async def facts(self) -> Facts:
        """What the model tells of itself."""
        return await asyncio.to_thread(Facts.of, self._model)

    def __del__(self) -> None:
        model = getattr(self, "_model", None)
        if isinstance(model, Closeable):
            model.close()
