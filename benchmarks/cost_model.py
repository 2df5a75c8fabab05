"""How much faster than the target alone RSD should be, by what a token of each model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rsdecode.core.types import Ledger, Trajectory


@dataclass(frozen=True, slots=True)
class Run:
    """Problems solved in the engine.

    Attributes:
        answers: to them.
        seconds: of the whole run.
        cpu_s: seconds of all processors; 0 where they were not taken.
    """

    answers: Sequence[Trajectory]
    seconds: float
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Problems a second."""
        return len(self.answers) / self.seconds

    @property
    def ledger(self) -> Ledger:
        """What all problems cost."""
        return sum((answer.ledger for answer in self.answers), Ledger())


def predicted(rsd: Run, target: Run, draft: Run, scored: Run) -> float:
    """The speed-up over the target by what a token takes where its model runs alone.

    Args:
        rsd: of which the tokens are counted.
        target: the target alone.
        draft: the draft alone.
        scored: RSD that accepts everything: what it takes beyond the draft alone is the reward's.
    """
    per_draft = draft.seconds / draft.ledger.draft.decoded_tokens
    per_target = target.seconds / target.ledger.target.decoded_tokens
    beyond = scored.seconds - per_draft * scored.ledger.draft.decoded_tokens
    per_reward = max(beyond, 0.0) / scored.ledger.reward.prefill_tokens
    used = rsd.ledger
    seconds = (
        per_draft * used.draft.decoded_tokens
        + per_target * used.target.decoded_tokens
        + per_reward * used.reward.prefill_tokens
    )
    return target.seconds / seconds
