"""A decoding method of your own: a coin decides for each step which model writes it."""

from dataclasses import dataclass

import rsdecode
from rsdecode.core.acceptance import accept
from rsdecode.core.requests import Decoding, Generate, generate, tell
from rsdecode.core.segment import PARAGRAPH
from rsdecode.methods.trajectory import TrajectoryBuilder

QUESTION = (
    "Ben has 24 buttons. Ben gets 3 packs of 15 buttons. Ben loses 19 of them. "
    "How many buttons are there at the end?"
)


@dataclass(frozen=True, slots=True)
class CoinFlip:
    """The draft writes a step with probability `share`, else the target."""

    share: float = 0.5
    roles = frozenset({rsdecode.Role.DRAFT, rsdecode.Role.TARGET})

    def __call__(self, problem: rsdecode.Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem: yield requests, receive replies, return the trajectory."""
        trajectory = TrajectoryBuilder(problem, rsdecode.Limits(), seed, sample)
        while True:
            draft = accept(self.share, trajectory.seed_for("coin"))
            role = rsdecode.Role.DRAFT if draft else rsdecode.Role.TARGET
            request = Generate(role, trajectory.context, 512, PARAGRAPH, session=trajectory.session)
            [written] = yield from generate([request])
            trajectory.charge(role, written)
            step = rsdecode.Step(
                written.segment,
                role,
                written.finish_reason,
                accepted=draft,
                token_count=written.token_count,
            )
            trajectory.steps.append(step)
            yield from tell(step)
            if reason := trajectory.stop_after(step):
                return trajectory.end(reason)


with rsdecode.load() as rsd:
    for seed in range(2, 5):
        trajectory = rsd.solve(QUESTION, method=CoinFlip(), seed=seed)
        print(f"answer: {trajectory.answer}", [step.source.value for step in trajectory.steps])
