from __future__ import annotations

import pytest

from rsdecode.core.types import FinishReason, Role, Segment, Step
from rsdecode.methods import RSD, Majority, Single
from rsdecode.methods.thinking import Thinking
from rsdecode.server.final_text import FinalText, sure_writer
from rsdecode.session.events import Decided, Delta


def delta(role: Role, step: int, text: str, candidate: int = 0) -> Delta:
    return Delta(role, step, candidate, text)


def decided(index: int, text: str, role: Role = Role.DRAFT) -> Decided:
    return Decided(index, Step(Segment(text), role, FinishReason.STOP))


def test_a_draft_is_no_text_before_it_is_accepted() -> None:
    text = FinalText(sure_writer(RSD()))
    assert text.add(delta(Role.DRAFT, 0, "So it")) == ""
    assert text.add(decided(0, "So it is.\n\n")) == "So it is.\n\n"


def test_the_targets_step_is_given_out_as_it_is_written_but_for_its_newest_piece() -> None:
    text = FinalText(sure_writer(RSD()))
    text.add(decided(0, "One.\n\n"))
    assert text.add(delta(Role.TARGET, 1, "It")) == ""
    assert text.add(delta(Role.TARGET, 1, " is")) == "It"
    assert text.add(delta(Role.TARGET, 1, ".\n\nNow")) == " is"
    assert text.add(decided(1, "It is.\n\n", Role.TARGET)) == ".\n\n"
    assert text.given == "One.\n\nIt is.\n\n"


def test_drafts_that_are_written_ahead_do_not_disturb() -> None:
    text = FinalText(sure_writer(RSD(lookahead=1)))
    text.add(delta(Role.DRAFT, 1, "ahead"))
    text.add(delta(Role.TARGET, 0, "It"))
    assert text.add(delta(Role.TARGET, 0, " is")) == "It"


def test_one_model_alone_shows_all_that_it_writes() -> None:
    text = FinalText(sure_writer(Single(Role.DRAFT)))
    given = [text.add(delta(Role.DRAFT, 0, piece)) for piece in ("a", "\n\n", "b", "c")]
    assert given == ["", "a", "\n\n", "b"]
    assert text.add(decided(0, "a\n\n")) == ""
    assert text.add(decided(1, "bc")) == "c"


def test_thoughts_are_closed_between_two_requests_of_one_model() -> None:
    text = FinalText(sure_writer(Single(Role.DRAFT, thinking=Thinking(budget=2))))
    given = [text.add(delta(Role.DRAFT, 0, piece)) for piece in ("Hm", " so")]
    given += [text.add(decided(0, "Hm so")), text.add(decided(1, "</think>"))]
    given += [text.add(delta(Role.DRAFT, 2, piece)) for piece in ("It", " is")]
    given.append(text.add(decided(2, "It is.")))
    assert given == ["", "Hm", " so", "</think>", "", "It", " is."]


def test_an_answer_without_thoughts_goes_on_in_a_second_request() -> None:
    text = FinalText(sure_writer(Single(Role.DRAFT, thinking=Thinking(budget=2))))
    pieces = [(0, "One"), (0, " and"), (1, " two"), (1, ".")]
    given = [text.add(delta(Role.DRAFT, step, piece)) for step, piece in pieces]
    given.append(text.add(decided(0, "One and two.")))
    assert given == ["", "One", " and", " two", "."]


def test_votes_are_counted_before_anything_is_shown() -> None:
    text = FinalText(sure_writer(Majority(samples=2)))
    assert text.add(delta(Role.DRAFT, 0, "a")) == ""
    assert text.add(delta(Role.DRAFT, 0, "b")) == ""
    assert text.add(decided(0, "xy")) == "xy"


def test_a_step_that_became_another_is_an_error() -> None:
    text = FinalText(sure_writer(RSD()))
    for piece in ("It", " is", " so"):
        text.add(delta(Role.TARGET, 0, piece))
    with pytest.raises(ValueError, match="anew"):
        text.add(decided(0, "Or not.\n\n", Role.TARGET))
