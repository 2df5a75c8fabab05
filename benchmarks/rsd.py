"""RSD in the engine against what one writes without it: a loop over three models of transformers.

    python -m benchmarks.rsd [--problems 1,8,32] [--acceptance 0,0.25,0.5,0.75,0.9,1] [--json]
    python -m benchmarks.rsd --fallback decode,verify,speculate:8 [--problems 1,8,32] [--json]

loop       the plain loop: `generate` of the draft until a step ends, a forward pass of the reward
           model over all that was written, `generate` of the target where the step is rejected;
           one problem after the other, no cache kept between the calls
generate   the target alone, problem by problem, by `generate`
assisted   the same with the draft as its assistant (speculative decoding of transformers)

How many steps are accepted is set: the reward is computed, and a draw with the seed of the step
decides. Both sides draw alike, so greedy decoding gives both the same answers, which is checked.

`predicted` is the cost model: every token takes the time that it takes in a run of its model alone,
with as many problems at a time; `of_predicted` is the speed-up over the target that was measured,
as a share of the predicted one.

With `--fallback` only RSD runs, with the family's reward model and threshold .9, greedy and at
temperature 1: how many passes of the target a rejected step takes in each way of writing in its
place, how many tokens the draft guesses for it, and the CPU time of the whole run, against decode's
(the median of `--rounds`, in turn). The answers are the same, which is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM
from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList

from benchmarks.cost_model import Run, predicted
from benchmarks.report import show
from rsdecode.backends.transformers.worker import run_in_temporary_thread
from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_models
from rsdecode.core.acceptance import accept
from rsdecode.core.protocols import Models
from rsdecode.core.seeds import derive_seed
from rsdecode.core.types import Problem, Trajectory
from rsdecode.models.abacus import model_path, problems
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from rsdecode.text.pretrained import load_tokenizer

LOOPED = 8
"""Problems that what runs one after the other is timed on."""
MAX_TOKENS, MAX_STEP_TOKENS, MAX_STEPS = 512, 128, 32
LIMITS = {"max_tokens": MAX_TOKENS, "max_step_tokens": MAX_STEP_TOKENS, "max_steps": MAX_STEPS}


def main() -> None:
    """Run all cases and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=_numbers(int), default=[1, 8, 32])
    parser.add_argument(
        "--acceptance", type=_numbers(float), default=[0.0, 0.25, 0.5, 0.75, 0.9, 1.0]
    )
    parser.add_argument("--fallback", type=_numbers(str), help="only these, NAME[:GUESS_TOKENS]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    asked = [
        Problem.ask(p.question, id=p.id)
        for p in problems("test", limit=max(*options.problems, 2 * LOOPED))
    ]
    if options.fallback:
        cases = [
            case
            for count in options.problems
            for case in _fallbacks(asked[: max(count, 2 * LOOPED)], count, options)
        ]
        show(cases, as_json=options.json)
        return
    plain = run_in_temporary_thread(Plain)
    cases = [
        case
        for count in options.problems
        for case in _cases(asked[: max(count, LOOPED)], count, options.acceptance, plain)
    ]
    show(cases, as_json=options.json)


def _cases(
    asked: Sequence[Problem], count: int, acceptances: Sequence[float], plain: Plain
) -> list[dict[str, Any]]:
    """The target alone, and RSD at each acceptance, `count` problems at a time."""
    models = build_models(_config("rsd", count))
    looped = asked[:LOOPED]
    try:
        _run(models, "draft", count, asked[:2])  # threads and memory are there from here on
        target = _run(models, "target", count, asked)
        alone = {name: _run(models, name, count, asked) for name in ("draft", "rsd@0")}
        generate = plain.timed(plain.target_alone, looped)
        assisted = plain.timed(plain.assisted, looped)
        assert [t.text for t in target.answers[: len(looped)]] == generate.texts == assisted.texts
        base = {"problems": count, "target": round(target.rate, 3)}
        cases: list[dict[str, Any]] = [
            {
                **base,
                "method": "target",
                "over_generate": round(target.rate / generate.rate, 2),
                "assisted_over_generate": round(assisted.rate / generate.rate, 2),
            }
        ]
        for acceptance in acceptances:
            ours = _run(models, f"rsd:weighting=constant:p={acceptance}", count, asked)
            loop = plain.timed(lambda problem, p=acceptance: plain.rsd(problem, p), looped)
            assert [t.text for t in ours.answers[: len(looped)]] == loop.texts
            speedup = ours.rate / target.rate
            foretold = predicted(ours, target, alone["draft"], alone["rsd@0"])
            cases.append(
                {
                    **base,
                    "method": f"rsd, {acceptance:g} accepted",
                    "rsd": round(ours.rate, 3),
                    "over_loop": round(ours.rate / loop.rate, 2),
                    "over_target": round(speedup, 2),
                    "predicted": round(foretold, 2),
                    "of_predicted": round(speedup / foretold, 2),
                }
            )
        return cases
    finally:
        models.close()


def _fallbacks(
    asked: Sequence[Problem], count: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """RSD with each way of writing in a rejected step's place, `count` problems at a time."""
    models = build_models(_config("rsd", count))
    names: list[str] = options.fallback
    try:
        _run(models, "rsd@0.9", count, asked[:2])  # threads and memory are there from here on
        cases = list[dict[str, Any]]()
        for temperature in (0.0, 1.0):
            rounds = [
                {n: _run(models, "rsd@0.9", count, asked, _fallback(n, temperature)) for n in names}
                for _ in range(options.rounds)
            ]
            cpu_s = {n: statistics.median(runs[n].cpu_s for runs in rounds) for n in names}
            first = rounds[0][names[0]]
            for name, run in rounds[0].items():
                assert [t.text for t in run.answers] == [t.text for t in first.answers]
                rejected = sum(not step.accepted for t in run.answers for step in t.steps)
                target, draft = run.ledger.target, run.ledger.draft
                guessed = draft.decoded_tokens - first.ledger.draft.decoded_tokens
                cases.append(
                    {
                        "problems": count,
                        "temperature": temperature,
                        "fallback": name,
                        "rejected": rejected,
                        "passes": round(target.decoded_tokens / rejected, 2),
                        "read": round(target.verified_tokens / rejected, 1),
                        "guessed": round(guessed / rejected, 1),
                        "cpu_s": round(cpu_s[name], 2),
                        f"over_{names[0]}": round(cpu_s[names[0]] / cpu_s[name], 2),
                    }
                )
        return cases
    finally:
        models.close()


def _fallback(name: str, temperature: float) -> dict[str, Any]:
    """Settings of a fallback, spelled NAME[:GUESS_TOKENS]."""
    name, _, tokens = name.partition(":")
    settings: dict[str, Any] = {
        "fallback": name,
        "sampling": {role: {"temperature": temperature} for role in ("draft", "target")},
    }
    return settings | ({"guess_tokens": int(tokens)} if tokens else {})


@dataclass(frozen=True, slots=True)
class Looped:
    """Problems solved one after the other."""

    texts: list[str]
    rate: float


def _run(
    models: Models,
    method: str,
    count: int,
    asked: Sequence[Problem],
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Run:
    """Solve problems, `count` at a time, from empty caches."""
    models.clear()
    config = _config(method, count, settings)

    async def solve() -> list[Trajectory]:
        session = Session(models, concurrency=count)
        found = {t.problem.id: t async for t in session.run(_jobs(config, asked))}
        return [found[problem.id] for problem in asked]

    started, used = time.perf_counter(), time.process_time()
    answers = asyncio.run(solve())
    return Run(answers, time.perf_counter() - started, time.process_time() - used)


def _jobs(config: RunConfig, asked: Sequence[Problem]) -> list[Job]:
    method = build_method(config)
    return [Job(problem, method) for problem in asked]


def _config(
    method: str, count: int, settings: Mapping[str, Any] = MappingProxyType({})
) -> RunConfig:
    return RunConfig.model_validate(
        {"method": method, "engine": {"slots": count}, "limits": LIMITS, **settings}
    )


class Plain:
    """The embedded family in transformers alone, as one would write it."""

    def __init__(self) -> None:
        torch.set_num_threads(1)  # as the engine does with models as small
        self._tokenizer: Any = load_tokenizer(str(model_path("draft")), None, None)
        self._draft = AutoModelForCausalLM.from_pretrained(
            model_path("draft"), dtype=torch.float32
        ).eval()
        self._target = AutoModelForCausalLM.from_pretrained(
            model_path("target"), dtype=torch.float32
        ).eval()
        self._backbone: Any = AutoModel.from_pretrained(
            model_path("prm"), dtype=torch.float32
        ).eval()
        self._head = _head()
        self._ends = StoppingCriteriaList([_StepEnds(self._tokenizer)])

    def timed(self, solve: Callable[[Problem], str], asked: Sequence[Problem]) -> Looped:
        """Solve problems one after the other."""

        def all_of_them() -> list[str]:
            torch.set_num_threads(1)
            with torch.inference_mode():
                return [solve(problem) for problem in asked]

        started = time.perf_counter()
        texts = run_in_temporary_thread(all_of_them)
        return Looped(texts, len(asked) / (time.perf_counter() - started))

    def target_alone(self, problem: Problem) -> str:
        """The whole answer by `generate`."""
        return self._text(self._write(self._target, self._prompt(problem), MAX_TOKENS))

    def assisted(self, problem: Problem) -> str:
        """The same, with the draft as assistant."""
        ids = self._prompt(problem)
        new = self._write(self._target, ids, MAX_TOKENS, assistant_model=self._draft)
        return self._text(new)

    def rsd(self, problem: Problem, acceptance: float) -> str:
        """Algorithm 1, each call from the beginning."""
        prompt, written = self._prompt(problem), list[int]()
        steps = list[str]()
        for index in range(MAX_STEPS):
            draft = self._step(self._draft, [*prompt, *written])
            ended = self._ended(draft)
            if self._text(draft) or steps:
                self._score(problem, [*steps, self._text(draft)])
            seed = derive_seed(0, problem.id, 0, index, "accept", 0)
            cut = not ended and not self._text(draft).endswith("\n\n")
            step = draft
            if cut or not accept(acceptance, seed):
                step = self._step(self._target, [*prompt, *written])
            written += step
            steps.append(self._text(step))
            if self._ended(step) or len(written) >= MAX_TOKENS:
                break
        return "".join(steps)

    def _step(self, model: Any, ids: list[int]) -> list[int]:
        return self._write(model, ids, MAX_STEP_TOKENS, stopping_criteria=self._ends)

    def _write(self, model: Any, ids: list[int], count: int, **options: Any) -> list[int]:
        """New tokens, the end of the sequence included."""
        given = torch.tensor([ids])
        criteria = options.get("stopping_criteria")
        if criteria is not None:
            criteria[0].start = len(ids)
        made = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            do_sample=False,
            max_new_tokens=count,
            **options,
        )
        return [int(token) for token in made[0, len(ids) :]]

    def _score(self, problem: Problem, steps: Sequence[str]) -> float:
        """The reward of the last step, from a pass over everything."""
        bos = self._tokenizer.bos_token or ""
        text = bos + problem.messages[-1].content + "\n" + "\n".join(s.strip() for s in steps)
        ids = self._tokenizer.encode(text + "\n", add_special_tokens=False)
        hidden = self._backbone(torch.tensor([ids])).last_hidden_state
        return float(self._head(hidden[0, -1]).sigmoid())

    def _prompt(self, problem: Problem) -> list[int]:
        messages = [{"role": m.role, "content": m.content} for m in problem.messages]
        return list(
            self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False
            )
        )

    def _ended(self, ids: Sequence[int]) -> bool:
        return bool(ids) and ids[-1] == self._tokenizer.eos_token_id

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))


class _StepEnds(StoppingCriteria):
    """Ends `generate` behind an empty line; its own stop strings also look at the prompt."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.start = 0

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        text = self._tokenizer.decode(input_ids[0, self.start :])
        return torch.tensor([bool(text.strip()) and text.endswith("\n\n")])


def _head() -> nn.Linear:
    """The value head of the shipped reward model."""
    weights = load_file(model_path("prm") / "model.safetensors")
    weight, bias = (weights[f"v_head.summary.{part}"].float() for part in ("weight", "bias"))
    head = nn.Linear(weight.shape[1], 1)
    head.weight.data, head.bias.data = weight, bias
    return head


def _numbers(kind: type) -> Callable[[str], list[Any]]:
    return lambda text: [kind(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
