"""Every decoder-only family of the installed transformers: our engine against `generate`.

    python -m benchmarks.architectures [FAMILY ...] [--write docs/architectures.md] [--json]

Of each family a tiny random model is saved, loaded as a user's model is, and writes the answers to
three problems side by side, each in two steps of which the second follows a rejected one. All
tokens must be `generate`'s, or the family must be refused with a reason. The exit code is 1 where
a family differs silently.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from benchmarks.tiny_families import families, model_class, tiny_model
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.families import (
    Reading,
    attention_of,
    attention_windows,
    reading_of,
)
from rsdecode.backends.transformers.jobs import Decode, Decoded
from rsdecode.backends.transformers.load import LoadOptions, load_pretrained
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.core.errors import ModelLoadError, RsdError
from rsdecode.text.pretrained import load_tokenizer

WRITTEN = 12
PROMPTS = tuple(tuple((7 * i * i + 3 * i + 5) % 90 + 3 for i in range(n)) for n in (5, 17, 29))
WRONG = (9, 4, 31)
"""Tokens of a step that is rejected."""


class Verdict(StrEnum):
    """What became of a family."""

    EQUAL = "equal"
    REFUSED = "refused"
    DIFFERS = "differs"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """One family.

    Attributes:
        attention: the code of transformers it was run with; empty where it was not run.
        reason: of a refusal, or why it was not tried.
    """

    family: str
    model: str
    verdict: Verdict
    attention: str = ""
    reason: str = ""


def main() -> None:
    """Try the families and print, or write, the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("families", nargs="*", help="these alone")
    parser.add_argument("--write", type=Path, help="Markdown file for the table")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    findings: list[Finding] = []
    for family in options.families or families():
        findings.append(try_family(family))
        print(f"{family}: {findings[-1].verdict} {findings[-1].reason}", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    elif options.write:
        options.write.write_text(page(findings), encoding="utf-8")
    else:
        print(page(findings))
    raise SystemExit(any(finding.verdict is Verdict.DIFFERS for finding in findings))


def try_family(family: str) -> Finding:
    """Load a tiny model of a family and compare its tokens with `generate`'s."""
    known = model_class(family)
    try:
        attention_of(known, CONFIG_MAPPING[family]())
        model = tiny_model(family)
    except ModelLoadError as refused:
        return Finding(family, known.__name__, Verdict.REFUSED, reason=_reason(refused))
    except Exception as error:  # noqa: BLE001 - each family has errors of its own
        return _untold(family, known, f"no tiny model: {_short(error)}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                model.save_pretrained(folder)
                plain: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            expected = [_by_steps(plain.eval(), prompt) for prompt in PROMPTS]
        except Exception as error:  # noqa: BLE001
            return _untold(family, known, f"`generate` fails on the tiny model: {_short(error)}")
        try:
            ours = load_pretrained(AutoModelForCausalLM, folder, LoadOptions(device="cpu"))
            written = asyncio.run(_write(ours, expected))
        except RsdError as refused:
            return Finding(family, known.__name__, Verdict.REFUSED, reason=_reason(refused, folder))
    attention = str(getattr(ours.config, "_attn_implementation", ""))
    reading = reading_of(ours)
    if reading is not Reading.PADDED:
        attention = (
            f"{attention if attention_windows(ours.config) else 'none'}, states: {reading.value}"
        )
    verdict = Verdict.EQUAL if written == expected else Verdict.DIFFERS
    return Finding(family, known.__name__, verdict, attention)


def page(findings: Sequence[Finding]) -> str:
    """The table, in Markdown."""
    counted = Counter(finding.verdict for finding in findings)
    summary = ", ".join(f"{counted[verdict]} {verdict}" for verdict in Verdict)
    rows = [
        f"| `{f.family}` | {f.model} | {f.verdict} | {f.attention or f.reason} |" for f in findings
    ]
    return "\n".join([_HEAD.format(version=transformers.__version__, summary=summary), *rows, ""])


_HEAD = """\
# Architectures

Which families of transformers the in-process engine runs: {summary}, with transformers {version}.

- *equal*: of each decoder-only family a tiny random model was loaded as a user's is; three problems
  side by side, each with a rejected step, gave the tokens of a `generate` that reads all from the
  start at every step. The last column is the attention code, and for models with states how their
  forward passes are made up ([hybrid models](guide/hybrid-models.md)).
- *refused*: loading says so, with the reason.
- *not tried*: the command can make no tiny model of it, or `generate` itself fails on that model.

Whatever the family, each model that is loaded is first compared, on two short sequences, with its
own plain forward pass, and refused if its outputs in the engine's cache are others. Written by

    python -m benchmarks.architectures --write docs/architectures.md

| `model_type` | class | | attention or reason |
|---|---|---|---|"""


def _untold(family: str, known: Any, reason: str) -> Finding:
    """A family of which no tiny model runs; its class may be refused all the same."""
    return Finding(family, known.__name__, Verdict.NOT_TRIED, reason=reason)


def _by_steps(model: Any, prompt: tuple[int, ...]) -> list[int]:
    """Tokens of two steps, each by a `generate` of its own that reads all before it anew."""
    first = _generate(model, prompt, WRITTEN // 2)
    return [*first, *_generate(model, (*prompt, *first), WRITTEN - WRITTEN // 2)]


@torch.inference_mode()
def _generate(model: Any, prompt: tuple[int, ...], count: int) -> list[int]:
    """Greedy tokens of `generate`, alone, with its own cache and masks."""
    model.generation_config.eos_token_id = None
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    out = model.generate(ids, attention_mask=mask, max_new_tokens=count, do_sample=False)
    return out[0, len(prompt) :].tolist()


async def _write(model: Any, expected: Sequence[Sequence[int]]) -> list[list[int]]:
    """The engine's tokens: a first step, a step that is taken back, and the rest.

    Raises:
        RsdError: a request failed.
    """
    half = WRITTEN // 2
    engine = Engine(CausalNetwork(model), tokenizer=_words(), slots=3, max_context=128)
    try:
        first = await _decode(engine, PROMPTS, half)
        begun = [(*p, *ids) for p, ids in zip(PROMPTS, first, strict=True)]
        await _decode(engine, [(*ids, *WRONG) for ids in begun], 2)
        second = await _decode(engine, begun, WRITTEN - half)
    finally:
        engine.close()
    return [[*a, *b] for a, b in zip(first, second, strict=True)]


async def _decode(
    engine: Engine, prompts: Sequence[tuple[int, ...]], count: int
) -> list[list[int]]:
    jobs = [Decode(str(i), ids, count) for i, ids in enumerate(prompts)]
    replies = await engine.decode(jobs)
    for reply in replies:
        if not isinstance(reply, Decoded):
            raise reply.error
    return [list(reply.ids) for reply in replies if isinstance(reply, Decoded)]


def _words() -> Any:
    """A tokenizer for the step's text, which nobody reads here."""
    from rsdecode.models.abacus import model_path

    return load_tokenizer(str(model_path("draft")))


def _reason(error: BaseException, folder: str = "") -> str:
    """A refusal without the remedy, which is the same for all, and without the folder's name."""
    text = " ".join(str(error).split()).removeprefix(f"{folder!r} ")
    return text.partition(": serve it by")[0].replace("|", "\\|")


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1].strip()[:120]}".replace("|", "\\|")


if __name__ == "__main__":
    main()
