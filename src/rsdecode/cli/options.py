"""The options that describe a run, defined once for every command."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer

from rsdecode.cli.messages import ReaderGone
from rsdecode.config import RunConfig, load_config
from rsdecode.core.errors import ConfigError
from rsdecode.methods.fallback import GUESS_TOKENS


class RunOption(NamedTuple):
    """An option, and the keys of the configuration that it sets."""

    flag: str
    type: Any
    keys: tuple[str, ...]
    help: str
    panel: str
    parse: Callable[[Any], Mapping[str, Any]] | None = None
    """Reads values that name keys of their own, below the first of `keys`."""

    @property
    def parameter(self) -> str:
        """The name of the command's parameter."""
        return self.flag.removeprefix("--").replace("-", "_")

    def settings(self, value: Any) -> dict[str, Any]:
        """What a value sets, by key path."""
        if self.parse is None:
            return dict.fromkeys(self.keys, value)
        return {f"{self.keys[0]}.{name}": part for name, part in self.parse(value).items()}


_PYTHONS = {"True": "true", "False": "false", "None": "null"}
"""Words that JSON spells in its own way."""


def parse_template(values: Sequence[str]) -> dict[str, Any]:
    """Read arguments of a chat template: `KEY=VALUE`, or a JSON object of several.

    A value that is no JSON is text; True, False and None are read as Python spells them.

    Raises:
        ConfigError: one of `values` is neither.
    """
    arguments: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if text.lstrip().startswith("{"):
            try:
                arguments |= json.loads(text)
            except ValueError as error:
                raise ConfigError(f"--template {text}: not a JSON object: {error}") from None
        elif not equals or not name.strip():
            raise ConfigError(
                f"--template {text}: must be KEY=VALUE, for example enable_thinking=false"
            )
        else:
            try:
                arguments[name.strip()] = json.loads(_PYTHONS.get(value.strip(), value))
            except ValueError:
                arguments[name.strip()] = value
    return arguments


_MODELS, _METHOD, _LIMITS = "Models", "Method", "Limits"
_SAMPLING, _THINKING, _ENGINE = "Sampling", "Thinking", "Engine and run"
_BOTH = ("sampling.draft", "sampling.target")

RUN_OPTIONS = (
    RunOption("--draft", str, ("draft",), "Draft model; default abacus:draft.", _MODELS),
    RunOption("--target", str, ("target",), "Target model; default abacus:target.", _MODELS),
    RunOption(
        "--reward",
        str,
        ("reward.spec",),
        "Reward model; also judge:MODEL, arithmetic, python:MODULE:FUNCTION, likelihood:target, "
        "confidence:draft, agreement, implicit:MODEL,REFERENCE, verifier:MODEL, cascade:A,B; "
        "default abacus:prm.",
        _MODELS,
    ),
    RunOption(
        "--reward-kind", str, ("reward.kind",), "Kind of reward head; default detected.", _MODELS
    ),
    RunOption(
        "--reward-mark",
        str,
        ("reward.mark",),
        "Text that ends each step for the reward model; default: what the checkpoint tells.",
        _MODELS,
    ),
    RunOption(
        "--reward-separator",
        str,
        ("reward.separator",),
        "The same of token classifiers (TRL).",
        _MODELS,
    ),
    RunOption(
        "--reward-good",
        str,
        ("reward.good",),
        "Label, or sign, of right steps; default: what the checkpoint tells.",
        _MODELS,
    ),
    RunOption("--reward-bad", str, ("reward.bad",), "Label, or sign, of wrong steps.", _MODELS),
    RunOption(
        "--reward-at",
        str,
        ("reward.at",),
        "Where a chunk (--boundary tokens:K) inside a step is read: mark, token or lowest; "
        "default: what the checkpoint tells, else mark.",
        _MODELS,
    ),
    RunOption(
        "--reward-bounds",
        str,
        ("reward.bounds",),
        "LOW,HIGH of a cascade's first reward, between which the second is asked.",
        _MODELS,
    ),
    RunOption(
        "--draft-tokenizer",
        str,
        ("draft_tokenizer",),
        "Folder or hub id of a served draft's tokenizer; default: the server renders prompts.",
        _MODELS,
    ),
    RunOption(
        "--target-tokenizer",
        str,
        ("target_tokenizer",),
        "The same of a served target.",
        _MODELS,
    ),
    RunOption(
        "--reward-tokenizer",
        str,
        ("reward.tokenizer",),
        "The same of a served reward model; default: the served name.",
        _MODELS,
    ),
    RunOption(
        "--method",
        str,
        ("method",),
        "rsd[@THRESHOLD], draft, target, majority@N, best-of-N, process-best-of-N, beam@WIDTH, "
        "gsi@N or speculative[@GAMMA]; default rsd.",
        _METHOD,
    ),
    RunOption(
        "--weighting",
        str,
        ("weighting.kind",),
        "step, constant, clipping, sigmoidal, logistic or python:MODULE:FUNCTION; default step.",
        _METHOD,
    ),
    RunOption(
        "--threshold",
        float,
        ("weighting.threshold",),
        "Reward from which step accepts a draft, the middle of logistic; default 0.7.",
        _METHOD,
    ),
    RunOption("--alpha", float, ("weighting.alpha",), "Slope of logistic; default 10.", _METHOD),
    RunOption("--p", float, ("weighting.p",), "Weight of constant.", _METHOD),
    RunOption(
        "--budget",
        float,
        ("budget",),
        "Share of steps that the target may write; the threshold adapts to it.",
        _METHOD,
    ),
    RunOption(
        "--candidates", int, ("candidates",), "Draft proposals per step; default 1.", _METHOD
    ),
    RunOption(
        "--lookahead",
        int,
        ("lookahead",),
        "1: draft the next step while this one is scored; default 0.",
        _METHOD,
    ),
    RunOption(
        "--fallback",
        str,
        ("fallback",),
        "How the target writes in place of a rejected step: decode, verify it, or speculate, "
        "where the draft goes on guessing; default decode.",
        _METHOD,
    ),
    RunOption(
        "--guess-tokens",
        int,
        ("guess_tokens",),
        f"Tokens that the draft guesses at a time (speculate); default {GUESS_TOKENS}.",
        _METHOD,
    ),
    RunOption(
        "--boundary",
        str,
        ("boundary",),
        "End of a step: separator[:TEXT], newline, sentence or tokens:K; default separator.",
        _METHOD,
    ),
    RunOption(
        "--max-steps", int, ("limits.max_steps",), "Steps of an answer; default 100.", _LIMITS
    ),
    RunOption(
        "--max-step-tokens",
        int,
        ("limits.max_step_tokens",),
        "Tokens of a step; default 512.",
        _LIMITS,
    ),
    RunOption(
        "--max-tokens", int, ("limits.max_tokens",), "Tokens of an answer; default 4096.", _LIMITS
    ),
    RunOption(
        "--temperature",
        float,
        tuple(f"{role}.temperature" for role in _BOTH),
        "Of draft and target; 0 is greedy; default 0.",
        _SAMPLING,
    ),
    RunOption(
        "--draft-temperature", float, ("sampling.draft.temperature",), "Of the draft.", _SAMPLING
    ),
    RunOption(
        "--target-temperature", float, ("sampling.target.temperature",), "Of the target.", _SAMPLING
    ),
    RunOption(
        "--top-p", float, tuple(f"{role}.top_p" for role in _BOTH), "Nucleus; default 1.", _SAMPLING
    ),
    RunOption(
        "--top-k",
        int,
        tuple(f"{role}.top_k" for role in _BOTH),
        "Tokens to choose from; 0 for all; default 0.",
        _SAMPLING,
    ),
    RunOption(
        "--system",
        str,
        ("prompt.system",),
        "System message; '' for none; default auto: none for abacus models, else the paper's.",
        _SAMPLING,
    ),
    RunOption(
        "--template",
        list[str],
        ("prompt.template",),
        "Argument of the chat templates, KEY=VALUE or a JSON object, such as "
        "enable_thinking=false; may be given several times.",
        _SAMPLING,
        parse_template,
    ),
    RunOption(
        "--thinking",
        str,
        ("thinking.mode",),
        "on or off by the chat template's switch; default auto: as the models do it.",
        _THINKING,
    ),
    RunOption(
        "--thinking-effort",
        str,
        ("thinking.effort",),
        "low, medium or high, of gpt-oss and the like.",
        _THINKING,
    ),
    RunOption(
        "--thinking-budget",
        int,
        ("thinking.budget",),
        "Tokens of thoughts, which are then closed; default no limit.",
        _THINKING,
    ),
    RunOption(
        "--thinking-boundary",
        str,
        ("thinking.boundary",),
        "Steps of thoughts: paragraphs:N, markers:N, or as --boundary; default paragraphs:50.",
        _THINKING,
    ),
    RunOption(
        "--thinking-score",
        str,
        ("thinking.score",),
        "What the reward model judges: answer, steps or all; default answer.",
        _THINKING,
    ),
    RunOption(
        "--thinking-gate",
        str,
        ("thinking.gate",),
        "Reward that judges thoughts instead, such as confidence:draft.",
        _THINKING,
    ),
    RunOption(
        "--thinking-threshold",
        float,
        ("thinking.threshold",),
        "Of rsd for thoughts; default that of the answer.",
        _THINKING,
    ),
    RunOption(
        "--thoughts-by",
        str,
        ("thinking.thoughts_by",),
        "Who writes thoughts: draft, target or rsd; default draft unless they are judged.",
        _THINKING,
    ),
    RunOption(
        "--first-steps",
        int,
        ("thinking.first_steps",),
        "So many steps by the target; default 0.",
        _THINKING,
    ),
    RunOption("--seed", int, ("run.seed",), "Of every random draw; default 0.", _SAMPLING),
    RunOption("--samples", int, ("run.samples",), "Answers per question; default 1.", _SAMPLING),
    RunOption(
        "--concurrency", int, ("run.concurrency",), "Problems in flight; default 32.", _ENGINE
    ),
    RunOption(
        "--timeout", float, ("run.timeout_s",), "Seconds per problem; default none.", _ENGINE
    ),
    RunOption(
        "--device", str, ("engine.device",), "auto, cpu, cuda, cuda:1; default auto.", _ENGINE
    ),
    RunOption(
        "--dtype",
        str,
        ("engine.dtype",),
        "auto, float32, bfloat16, float16, or int8 (weights); default auto.",
        _ENGINE,
    ),
    RunOption(
        "--threads",
        int,
        ("engine.threads",),
        "Of a forward pass on a processor; default as many as help.",
        _ENGINE,
    ),
    RunOption("--slots", int, ("engine.slots",), "Sequences in the KV cache; default 32.", _ENGINE),
    RunOption(
        "--cuda-graphs",
        bool,
        ("engine.cuda_graphs",),
        "Record decode passes, on a GPU; default false.",
        _ENGINE,
    ),
    RunOption(
        "--dequantise",
        bool,
        ("llamacpp.dequantise",),
        "Run gguf: files in the engine, not on llama.cpp; default false.",
        _ENGINE,
    ),
)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the user gave of `RUN_OPTIONS`.

    Attributes:
        config: the configuration file.
        given: values by the option's parameter name.
    """

    config: Path | None
    given: Mapping[str, Any]

    def load(
        self,
        more: Mapping[str, Any] = MappingProxyType({}),
        called: Mapping[str, str] = MappingProxyType({}),
    ) -> RunConfig:
        """The configuration: file, then options. An option for one role beats the one for both.

        Args:
            more: what options of the command itself set, by key path.
            called: how those options are called.

        Raises:
            ConfigError: naming the option or key, its value and the remedy.
        """
        overrides: dict[str, Any] = {}
        names: dict[str, str] = {}
        for option in RUN_OPTIONS:
            if option.parameter in self.given:
                settings = option.settings(self.given[option.parameter])
                overrides |= settings
                names |= dict.fromkeys(settings, option.flag)
        return load_config(self.config, overrides | dict(more), names | dict(called))


def with_run_options(command: Callable[..., int]) -> Callable[..., None]:
    """Give a command the run options: its parameter `options` becomes all of them.

    The command returns its exit code.
    """

    @functools.wraps(command)
    def wrapped(config: Path | None, **values: Any) -> None:
        names = {option.parameter for option in RUN_OPTIONS}
        given = {k: v for k, v in values.items() if k in names and v not in (None, [])}
        rest = {k: v for k, v in values.items() if k not in names}
        try:
            code = command(options=RunOptions(config, given), **rest)
        except BrokenPipeError:
            raise ReaderGone from None  # typer would end the process at once, with 1
        raise typer.Exit(code)

    signature = inspect.signature(command, eval_str=True)
    own = [p for name, p in signature.parameters.items() if name != "options"]
    parameters = [*own, *_parameters()]
    wrapped.__signature__ = signature.replace(  # pyright: ignore[reportAttributeAccessIssue]
        parameters=parameters, return_annotation=None
    )
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _parameters() -> list[inspect.Parameter]:
    """The run options as parameters that typer understands."""
    config = typer.Option("--config", help="YAML file, or preset:NAME; options win over it.")
    parameters = [_parameter("config", Annotated[Path | None, config])]
    for option in RUN_OPTIONS:
        kind: Any = option.type | None
        declared = typer.Option(
            option.flag, help=option.help, rich_help_panel=option.panel, show_default=False
        )
        parameters.append(_parameter(option.parameter, Annotated[kind, declared]))
    return parameters


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object per result on stdout; messages on stderr.")
]
