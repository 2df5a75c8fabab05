"""What the default boundary keeps whole; the text is cut alike however it comes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.paragraph import BLANK_LINES
from rsdecode.core.segment import PARAGRAPH, Boundary, parse_boundary

PIECES = [
    "a", " ", "\n", "\n\n", "\n \n", "\r\n", "```", "```py\n", "~~~", "$$", "\\[", "\\]", "\\\\",
    "\\begin{x}", "\\end{x}", "| a | b |\n", "|---|---|\n", "# b", "**c**", "\u2003", "---",
    "</think>", "1. **d:**",
]  # fmt: skip
MARKDOWN = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)

WHOLE = {
    "fence": "```python\nx = 1\n\ny = 2\n```\n\n",
    "fence with a fence in it": "````\n```\n\n```\n\n````\n\n",
    "fence of tildes, never closed by backticks": "~~~\n```\n\n~~~\n\n",
    "fence in a list": "- ```\n  a\n\n  b\n  ```\n\n",
    "fence after text": "We run:\n```\na\n\n\n\nb\n```\nIt works.\n\n",
    "formula": "$$\nx = 1\n\n+ 2\n$$\n\n",
    "formula in brackets": "So\n\\[\nx\n\n\\]\n\n",
    "formula with a line break of some length": "\\[ a \\\\[2pt]\n\nb \\]\n\n",
    "environment": "\\begin{align}\na\n\n\\begin{cases}1\n\n2\\end{cases}\n\n\\end{align}\n\n",
    "a formula in one line": "$$x$$ and \\[y\\] and \\begin{a}z\\end{a}\n\n",
    "heading": "## Step 1\n\nWe add.\n\n",
    "heading, twice": "# Solution\n\n### Step 1\n\nWe add.\n\n",
    "bold heading": "**Step 1: a_1**\n\nWe add.\n\n",
    "bold heading with a colon": "\n\n__Step 1__:\n\n\n\nWe add.\n\n",
    "bold heading with a product": "**Step 2: $a*b$ by *hand***\n\nWe add.\n\n",
    "bold and slanted heading": "***Step 1***\n\nWe add.\n\n",
    "numbered heading": "1. **Simplify:**\n\nWe add.\n\n",
    "heading in a list": "- **Simplify**:\n\nWe add.\n\n",
    "plain heading": "Step 1:\n\nCase B.\n\nWe add.\n\n",
    "heading of LaTeX": "\\section*{A}\n\n\\textbf{Step 1.}\n\nWe add.\n\n",
    "rule": "---\n\nWe add.\n\n",
    "rule and heading": "* * *\n\n### Step 1\n\n___\n\nWe add.\n\n",
    "thoughts begin": "<think>\n\nWe add.\n\n",
    "thoughts end": "</think>\n\n**Answer**\n\nWe add.\n\n",
    "thoughts of Mistral": "[THINK]\n\nWe add.\n\n",
    "thoughts end with their paragraph": "We add.\n</think>\n\n",
    "item in bold": "1. **x = 5**\n\n",
    "sum with a rule": "12\n+ 3\n---\n15\n\n",
    "a case that is told": "Case 2 is easy.\n\n",
    "heading and code": "# Code\n\n```\n# no heading\n\nx\n```\n\n",
    "heading and formula": "**So:**\n\n$$\n\na\n\n$$\n\n",
    "table and what follows": "| a | b |\n|---|---|\n| 1 | 2 |\n\n| 3 | 4 |\n\nSo 3.\n\n",
    "table with blank lines": "|a|b|\n\n|:-:|--|\n\n|1|2|\n \nSo 3.\n\n",
    "white space": "a\n \t\n",
    "carriage returns": "a\r\n\r\n",
    "text with absolute values": "|a| + |b|\n\n",
    "one absolute value": "|x - 3| = 5\n\n",
    "bold at the end of a text": "We add.\n**It is 4.**\n\n",
    "a number sign": "a\n#1 is odd\n\n",
    "escaped dollars": "It costs \\$\\$5.\n\n",
    "code in a line": "Call ```f()``` now.\n\n",
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_kept_whole(name: str) -> None:
    text = WHOLE[name]
    assert PARAGRAPH.split(text + "Then.\n\nEnd.") == [text, "Then.\n\n", "End."]
    assert PARAGRAPH.split(text.replace("\n", "\r\n") + "Then.") == [
        text.replace("\n", "\r\n"),
        "Then.",
    ]


def test_a_formula_that_is_never_closed_is_none() -> None:
    paragraphs = [f"{n}\n\n" for n in range(2 * BLANK_LINES)]
    steps = PARAGRAPH.split("It costs $$5.\n\n" + "".join(paragraphs))
    assert steps[0] == "It costs $$5.\n\n" + "".join(paragraphs[: BLANK_LINES - 1])
    assert steps[1:] == paragraphs[BLANK_LINES - 1 :]


def test_separators_that_were_asked_for_are_taken_at_their_word() -> None:
    text, plain = "# A\n\n```\na\n\nb\n```\n \nc", parse_boundary("separator:\\n\\n")
    assert plain.split(text) == [
        "# A\n\n",
        "```\na\n\n",
        "b\n```\n \nc",
    ]


@given(MARKDOWN)
def test_the_steps_joined_are_the_text(text: str) -> None:
    steps = PARAGRAPH.split(text)
    assert "".join(steps) == text
    assert all(step.strip() for step in steps) or len(steps) <= 1


@given(MARKDOWN, MARKDOWN, st.lists(st.integers(0, 400), max_size=40))
def test_the_end_is_the_same_however_the_text_comes(text: str, more: str, cuts: list[int]) -> None:
    """At once, by characters or in pieces; before what follows and with it."""
    end = PARAGRAPH.end(text)
    if end is not None:
        assert PARAGRAPH.end(text[:end]) == end
        assert PARAGRAPH.end(text + more) == end
    for places in (range(len(text)), sorted({min(cut, len(text)) for cut in cuts})):
        reader, start, found = PARAGRAPH.reader(), 0, None
        for place in [*places, len(text)]:
            found = reader.add(text[start:place])
            assert found == PARAGRAPH.end(text[:place])
            start = place
        assert found == end


@given(MARKDOWN)
def test_a_step_ends_where_its_first_prefix_that_ends_does(text: str) -> None:
    ends = [n for n in range(len(text) + 1) if PARAGRAPH.end(text[:n]) is not None]
    assert PARAGRAPH.end(text) == (ends[0] if ends else None)


@pytest.mark.parametrize("start", ["", "```\n", "a "])
def test_a_long_answer_takes_time_in_proportion(start: str) -> None:
    """Four times the tokens, each looked at as it comes: about four times the time, not sixteen."""

    def seconds(tokens: int, boundary: Boundary = PARAGRAPH) -> float:
        reader = boundary.reader()
        reader.add(start)
        started = time.process_time()
        for _ in range(tokens):
            reader.add("word" if start != "```\n" else "x\n\n")
        return time.process_time() - started

    short = min(seconds(4_096) for _ in range(3))
    assert min(seconds(16_384) for _ in range(3)) < 9 * short + 0.01
    assert short < 0.5
