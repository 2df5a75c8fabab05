"""The gates over real vLLM servers give what they give in process."""

from __future__ import annotations

import asyncio

import pytest

from rsdecode.config import load_config
from rsdecode.config.build import build_models
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem, Trajectory
from rsdecode.core.weighting import BinaryStep
from rsdecode.methods import RSD
from rsdecode.models.abacus import problems
from rsdecode.rewards.gates import CascadeReward
from rsdecode.session.drive import advance
from tests.integration.vllm.conftest import family

pytestmark = pytest.mark.integration
BOTH = {"reward.spec": "cascade:confidence:draft,likelihood:target", "reward.bounds": "0,1"}
METHOD = RSD(weighting=BinaryStep(0.97))


async def solve(models: Models, place: int) -> list[Trajectory]:
    """RSD with one part of the cascade as its reward."""
    assert isinstance(models.reward, CascadeReward)
    gate = Models(models.draft, models.target, models.reward.parts[place])
    asked = [Problem.ask(p.question, id=p.id) for p in problems("validation", limit=5)]
    return [await advance(METHOD(problem), gate) for problem in asked]


def test_rewards_and_answers_are_those_of_this_process() -> None:
    far = build_models(family(**BOTH))
    near = build_models(load_config(overrides=BOTH))

    async def both() -> list[tuple[list[Trajectory], list[Trajectory]]]:
        return [(await solve(near, place), await solve(far, place)) for place in (0, 1)]

    try:
        for here, there in asyncio.run(both()):
            assert [t.text for t in there] == [t.text for t in here]
            for ours, theirs in zip(there, here, strict=True):
                expected = pytest.approx([step.reward for step in theirs.steps], abs=1e-4)
                assert [step.reward for step in ours.steps] == expected
    finally:
        far.close()
        near.close()
