"""Events of a session as the extension `rsd` sends them."""

from __future__ import annotations

from typing import Any

from rsdecode.core.types import Step
from rsdecode.session.events import Decided, Delta, Event, Proposed, Scored


def event_record(event: Event, choice: int, seconds: float) -> dict[str, Any]:
    """An event as JSON.

    Args:
        event: any but the last, which says more (see `answers`).
        choice: which of the request's answers it is about.
        seconds: since the step before was decided.
    """
    match event:
        case Delta(role=role, step=step, candidate=candidate, text=text):
            told = {"event": "delta", "role": role.value, "step": step, "candidate": candidate}
            return {**told, "choice": choice, "text": text}
        case Proposed():
            return {
                "event": "proposed",
                "choice": choice,
                "step": event.step,
                "candidate": event.candidate,
                "text": event.text,
                "finish_reason": event.finish_reason.value,
                "tokens": event.tokens,
            }
        case Scored(step=step, candidate=candidate, rewards=rewards):
            told = {"event": "scored", "choice": choice, "step": step, "candidate": candidate}
            return {**told, "rewards": list(rewards)}
        case Decided(index=index, step=step):
            return {"event": "decided", "choice": choice, **_decided(index, step, seconds)}
        case _:
            raise TypeError(f"{event!r} is told by its answer")


def _decided(index: int, step: Step, seconds: float) -> dict[str, Any]:
    alone = len(step.rejected) == 1 and not step.accepted
    return {
        "index": index,
        "source": step.source.value,
        "text": step.text,
        "reward": step.reward,
        "weight": step.weight,
        "tokens": step.token_count,
        "thought": step.thought,
        "seconds": round(seconds, 6),
        "rejected": [
            {
                "text": draft.text,
                "reward": draft.reward,
                "weight": step.weight if alone else None,
                "finish_reason": draft.finish_reason.value,
                "tokens": draft.token_count,
            }
            for draft in step.rejected
        ],
    }
