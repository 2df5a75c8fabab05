from __future__ import annotations

from rsdecode import RSD, Problem, Role, Single
from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.cost import ModelShape
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Sampling, Score
from rsdecode.core.types import Trajectory
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
