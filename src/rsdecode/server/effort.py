"""What clients' `reasoning_effort` means.

`none` turns thoughts off, like `thinking.mode: off`: by the switches of the chat template, and what
a prompt or a model opens nevertheless is closed at once. Any other value turns them on. Templates
that have a switch of their own for it (gpt-oss) are told `low`, `medium` or `high`; where a model's
template has none, thoughts are given a budget of tokens instead. A budget of the configuration is
never exceeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from rsdecode.core.types import LastMessage, Message, RawPrompt
from rsdecode.methods import Method
from rsdecode.methods.thinking import Thinking

EffortName = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
"""What templates are told; `max` as `high`."""
BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576}
"""Tokens of thoughts, where the template has no switch; `xhigh` and `max` have no limit."""


def with_effort(messages: Sequence[Message], effort: str | None) -> tuple[Message, ...]:
    """A conversation whose template is told how much is to be thought."""
    *before, last = messages
    if effort is None or isinstance(last, RawPrompt):
        return tuple(messages)
    level = "none" if effort == "none" else LEVELS.get(effort, "high")
    return (*before, LastMessage(last.role, last.content, effort=level))


def thinking_with(method: Method, effort: str | None) -> Method:
    """A method whose thoughts are off, or have the budget of an effort."""
    changeable: Any = method
    thinking: Thinking | None = getattr(changeable, "thinking", None)
    if effort is None or thinking is None:
        return method
    off, budget = effort == "none", BUDGETS.get(effort)
    changed = replace(thinking, off=off, effort_budget=budget)
    return replace(changeable, thinking=changed)
