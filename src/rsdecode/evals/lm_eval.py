"""RSD as a model of the lm-evaluation-harness: its generation tasks run over RSD.

    rsd lm-eval --model_args config=FILE --tasks gsm8k --limit 100

The harness finds models by name in its own list alone (0.4.13), so a name of ours must be entered
before its command starts: `rsd lm-eval` is `lm_eval` with that done. In your own scripts, importing
this module registers `rsd`.
"""

# lm_eval is an extra, and its types are partial:
# pyright: reportMissingImports=false, reportUntypedBaseClass=false
# pyright: reportUntypedClassDecorator=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import asyncio
import json
import logging
import sys
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from rsdecode.config import config_hash, load_config
from rsdecode.config.build import build_method, build_models
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Message, MessageRole, Problem
from rsdecode.session.events import Decided
from rsdecode.session.handle import Handle
from rsdecode.session.session import Session

logger = logging.getLogger(__name__)

KNOWN_SETTINGS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"}
NO_LIKELIHOODS = (
    "rsd writes text and gives no likelihood of a given one: choose generation tasks "
    "(output_type: generate_until), for example gsm8k or minerva_math"
)


class Chat(str):
    """Messages as the harness carries them: JSON in a text, told apart by its type."""

    __slots__ = ()


@dataclass(frozen=True)
class Settings:
    """What a task asks of a generation.

    Attributes:
        until: the text ends before the first of these.
        sampling: keys of the configuration that the task sets.
    """

    until: tuple[str, ...]
    overrides: tuple[tuple[str, Any], ...]

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Settings:
        """Read a task's `generation_kwargs`.

        `do_sample: false` is temperature 0, as everywhere in the harness.
        """
        unknown = sorted(given.keys() - KNOWN_SETTINGS)
        if unknown:
            logger.warning("generation settings without a meaning for rsd: %s", ", ".join(unknown))
        until: Any = given.get("until") or ()
        overrides: dict[str, Any] = {}
        if "max_gen_toks" in given:
            overrides["limits.max_tokens"] = int(given["max_gen_toks"])
        values = {key: given[key] for key in ("temperature", "top_p", "top_k") if key in given}
        if given.get("do_sample") is False:
            values["temperature"] = 0.0
        for key, value in values.items():
            overrides |= {f"sampling.{role}.{key}": value for role in ("draft", "target")}
        texts = (until,) if isinstance(until, str) else tuple(text for text in until if text)
        return cls(texts, tuple(overrides.items()))


@register_model("rsd")
class RSDModel(LM):
    """A configuration of rsdecode as a model of the harness.

    Args:
        config: a YAML file, as for `rsd solve --config`; None for the defaults.
        batch_size: not used; the configuration's `run.concurrency` says how many are in flight.
        max_batch_size: not used.
        device: not used, as the harness always gives one; set `engine.device`.
        overrides: keys of the configuration, such as `weighting.threshold`.

    Raises:
        ConfigError: the configuration is wrong.
        ModelLoadError: a model cannot be loaded.
    """

    def __init__(
        self,
        config: str | None = None,
        batch_size: object = None,
        max_batch_size: object = None,
        device: object = None,
        **overrides: Any,
    ) -> None:
        super().__init__()
        self._file, self._overrides = config, overrides
        self.config = load_config(config, overrides)
        self._models = build_models(self.config)
        self.close = weakref.finalize(self, self._models.close)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answer each request, all of them in flight together."""
        groups: dict[Settings, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(Settings.read(request.args[1]), []).append(place)
        texts = [""] * len(requests)
        problems = self._problems(requests)
        for settings, places in groups.items():
            asked = [problems[place] for place in places]
            answers = asyncio.run(self._answer(settings, asked))
            for place in places:
                texts[place] = text = answers[problems[place].id]
                self.cache_hook.add_partial("generate_until", requests[place].args, text)
        return texts

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not possible."""
        raise NotImplementedError(NO_LIKELIHOODS)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Not possible."""
        raise NotImplementedError(NO_LIKELIHOODS)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Keep the messages: each model renders its own chat template.

        Raises:
            NotImplementedError: the task wants the answer to begin with a text of its own.
        """
        if not add_generation_prompt:
            raise NotImplementedError(
                "rsd begins its answers itself: tasks with gen_prefix cannot run"
            )
        return Chat(json.dumps(chat_history))

    @property
    def tokenizer_name(self) -> str:
        """Names the prompts in the harness's cache."""
        return f"rsd-{config_hash(self.config)}"

    def _problems(self, requests: Sequence[Instance]) -> list[Problem]:
        """One for each request, with an id of its own, from which its random draws follow."""
        seen: Counter[str] = Counter()
        problems: list[Problem] = []
        for request in requests:
            name = f"{request.task_name}/{request.doc_id}/{request.idx}"
            seen[name] += 1
            own = f"{name}#{seen[name]}" if seen[name] > 1 else name
            problems.append(Problem(own, self._messages(request.args[0])))
        return problems

    def _messages(self, context: str) -> tuple[Message, ...]:
        if isinstance(context, Chat):
            turns = cast("list[dict[str, str]]", json.loads(context))
            return tuple(
                Message(cast("MessageRole", turn["role"]), turn["content"]) for turn in turns
            )
        return Problem.ask(context, system=self.config.system_prompt).messages

    async def _answer(self, settings: Settings, problems: Sequence[Problem]) -> dict[str, str]:
        """The text of each problem by id; a problem is given up as soon as `until` cuts it."""
        config = load_config(self._file, {**self._overrides, **dict(settings.overrides)})
        method, run = build_method(config), config.run
        texts: dict[str, str] = {}

        async def read(handle: Handle) -> None:
            name, text = handle.job.problem.id, ""
            async for event in handle:
                if isinstance(event, Decided):
                    text += event.step.text
                    if cut(text, settings.until) is not None:
                        handle.cancel()
            whole = cut(text, settings.until)
            error = (await handle.result()).error
            if whole is None and error is not None:
                logger.error("%s: %s", name, error)
            texts[name] = text if whole is None else whole

        async with (
            Session(self._models, concurrency=run.concurrency) as session,
            asyncio.TaskGroup() as readers,
        ):
            for problem in problems:
                handle = session.submit(
                    problem, method, seed=run.seed, deadline_s=run.timeout_s, events="steps"
                )
                readers.create_task(read(handle))
                await session.room()
        return texts


def cut(text: str, until: Sequence[str]) -> str | None:
    """The text before the first of `until`; None if it holds none of them."""
    places = [place for stop in until if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else None


def main(arguments: Sequence[str]) -> None:
    """Run the harness's own command with `rsd` among its models.

    Args:
        arguments: of `lm_eval`; `--model rsd` is understood.
    """
    from lm_eval.__main__ import cli_evaluate

    given = list(arguments)
    if not any(argument.partition("=")[0] in ("--model", "-m") for argument in given):
        given = ["--model", "rsd", *given]
    sys.argv = ["lm_eval", *given]
    try:
        cli_evaluate()
    except NotImplementedError as error:
        raise ConfigError(str(error)) from error
