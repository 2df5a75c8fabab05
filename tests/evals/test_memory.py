from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from itertools import takewhile

from rsdecode import RSD, Problem, Role, Single
from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.cost import ModelShape
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Failed, Generate, Sampling, Score, Scored
from rsdecode.core.types import Trajectory, Usage
from rsdecode.evals.memory import remembering
from rsdecode.methods import Method
from rsdecode.methods.fallback import Fallback
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from rsdecode.testing.categorical import CategoricalModel

PROBLEMS = [Problem.ask(f"What is {i} + 1?", id=str(i), answer=str(i + 1)) for i in range(8)]
SHAPE = ModelShape(parameters=100)


class Counted:
    """Draft, target and reward that count how often they are asked.

    The draft is wrong on odd numbers, the target on 6 alone; the reward sees through the draft.
    """

    def __init__(self) -> None:
        self.asked = 0

    def models(self) -> Models:
        return Models(
            ScriptedModel(self.draft, shape=ModelShape(parameters=10)),
            ScriptedModel(self.target, shape=SHAPE),
            ScriptedReward(self.reward, shape=ModelShape(parameters=5)),
        )

    def draft(self, request: Generate) -> str:
        self.asked += 1
        number = int(request.context.question.split()[2])
        return f"\\boxed{{{number + 1 + number % 2}}}"

    def target(self, request: Generate) -> str:
        self.asked += 1
        number = int(request.context.question.split()[2])
        return f"It is \\boxed{{{number + 1 + (number == 6)}}}"

    def reward(self, request: Score) -> float:
        self.asked += 1
        return 0.4 if int(request.context.question.split()[2]) % 2 else 0.8


async def solve(method: Method, models: Models, seed: int = 0) -> list[Trajectory]:
    jobs = [Job(problem, method, seed) for problem in PROBLEMS]
    solved = {t.problem.id: t async for t in Session(models).run(jobs)}
    return [solved[problem.id] for problem in PROBLEMS]


async def test_a_memory_gives_the_same_results_for_less() -> None:
    plain, counted = Counted(), Counted()
    shared = remembering(counted.models())
    for delta in (0.0, 0.5, 0.9, 0.5):
        method = RSD(weighting=lambda reward, delta=delta: float(reward >= delta))
        expected = await solve(method, plain.models())
        found = await solve(method, shared)
        assert [t.text for t in found] == [t.text for t in expected]
        assert [t.ledger.target.decoded_tokens for t in found] == [
            t.ledger.target.decoded_tokens for t in expected
        ]
    assert shared.shapes() == counted.models().shapes()
    assert counted.asked == 24  # each of 8 problems: one draft, one score, one target
    assert plain.asked > 2 * counted.asked


class PrefixReward:
    """Pays for what its session has not read yet; likes a fourth of all texts."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}

    def clear(self) -> None:
        self.held.clear()

    def end(self, session: str) -> None:
        pass

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        return [self._score(request) for request in requests]

    def _score(self, request: Score) -> Scored:
        segments = (*request.context.answer, *request.steps)
        text = request.context.question + "".join(segment.text for segment in segments)
        held = self.held.get(request.session, "")
        cached = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, held, strict=False))
        )
        self.held[request.session] = text
        usage = Usage(len(text) - cached, cached, 0, 1)
        return Scored((zlib.crc32(text.encode()) % 100 / 100,), usage)


async def test_a_remembered_reply_costs_no_more_later() -> None:
    """A session's cache is as if it had been asked for all that was remembered."""

    def words(by: str) -> Callable[[Generate], str]:
        return lambda request: (
            f"{by}{len(request.context.answer)} "
            + ("\n\n" if len(request.context.answer) < 5 else "\\boxed{1}")
        )

    def models() -> Models:
        return Models(ScriptedModel(words("d")), ScriptedModel(words("t")), PrefixReward())

    shared = remembering(models())
    for delta in (0.3, 0.0, 0.6, 0.9):
        shared.clear()
        method = RSD(weighting=lambda reward, delta=delta: float(reward >= delta))
        expected, found = await solve(method, models()), await solve(method, shared)
        assert [t.text for t in found] == [t.text for t in expected]
        read = [[t.ledger.reward.prefill_tokens for t in ended] for ended in (found, expected)]
        assert read[0] == read[1], delta


async def test_sampled_requests_are_never_remembered() -> None:
    counted = Counted()
    shared = remembering(counted.models())
    for seed in (0, 1):
        await solve(Single(Role.DRAFT, sampling=Sampling(1.0)), shared, seed)
    assert counted.asked == 16


async def test_parts_of_a_step_are_told_apart() -> None:
    """The target is asked several times for one step, from one context."""

    def table(*order: int) -> CategoricalModel:
        words = ("", "a ", "b ", "c\n\n")
        rows = [[float(token == next_) for token in range(4)] for next_ in order]
        return CategoricalModel(words, lambda before: rows[len(before)])

    models = Models(table(2, 1, 2, 3, 0), table(1, 1, 2, 3, 0), ScriptedReward(lambda _: 0.0))
    method = RSD(fallback=Fallback("speculate", 1))
    [alone] = {t.text for t in await solve(method, models)}
    [remembered] = {t.text for t in await solve(method, remembering(models))}
    assert remembered == alone == "a a b c\n\n"
