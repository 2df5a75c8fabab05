r"""How generative verifiers are asked: their prompts, and where their verdict is read.

ThinkPRM (Khalifa et al., "Process Reward Models That Think", arXiv 2504.16828; model cards of
launch/ThinkPRM-1.5B to -14B) verifies the solution so far at once: the prompt below in the model's
chat template, and a verification that begins with "Let's verify step by step:" and ends with "Is
the solution correct? Yes" or "No".

GenPRM (Zhao et al., arXiv 2504.00891; RyanLiu112/GenPRM, `genprm_inference.py`) judges paragraph
by paragraph in a conversation: the question and the first step, an analysis with its verdict, the
second step, and so on. The template opens no reply; the analysis begins it,

    <analyze>\nLet's analyze the Paragraph 2 step by step: ...</analyze>\n
    <output>\n**Judgement**: $\boxed{Yes}$\n</output>\n

and the verdict is read behind `\boxed{`. The original also has the model write a program between
analysis and verdict, and runs it; none is run here, which is its mode without `verify`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from rsdecode.core.errors import ConfigError
from rsdecode.core.requests import Sampling
from rsdecode.core.types import Context, LastMessage, Message, Segment

PROMPT = """\
You are given a math problem and a proposed step-by-step solution:

[Math Problem]

{problem}

[Solution]

{solution}

Review and critique each step in the proposed solution to determine whether each step is correct. \
If the solution is incomplete, only verify the provided steps."""
LEAD = "\nLet's verify step by step:"
QUESTION = "Is the solution correct?"
TEACHER = (
    "You are a math teacher. Your task is to review and critique the paragraphs in solution step "
    "by step."
)
ANALYSIS = "<analyze>\nLet's analyze the Paragraph {number} step by step: "
ANALYSED = "</analyze>\n"
VERDICT = "<output>\n**Judgement**: $\\boxed{"
JUDGED = "}$\n</output>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form(ABC):
    """How a verifier is asked.

    Attributes:
        name: of the form, in specs.
        title: for people.
        yes: what it says of right steps.
        no: what it says of wrong ones.
        stop: text that ends what it writes before its verdict.
        verdict: what follows that, up to `yes` or `no`.
        unfinished: what stands for `stop` where the writing did not come to it.
        tokens: of what it writes at most, where nothing else is set.
        alone: how it is drawn where there is one.
        several: how several are drawn.
        follows: whether it reads its earlier verdicts.
    """

    name: str
    title: str
    yes: str
    no: str
    stop: str
    verdict: str
    unfinished: str
    tokens: int
    alone: Sampling
    several: Sampling
    follows: bool

    @abstractmethod
    def asked(self, problem: str, steps: Sequence[str], earlier: Sequence[str]) -> Context:
        """What it reads before it writes.

        Args:
            problem: the question.
            steps: up to the one that is judged.
            earlier: what it wrote of each step before that, verdicts included (`follows`).
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkPrm(Form):
    """One verification of the solution so far."""

    name: str = "thinkprm"
    title: str = "ThinkPRM's prompt"
    yes: str = " Yes"
    no: str = " No"
    stop: str = QUESTION
    verdict: str = ""
    unfinished: str = f"\n{QUESTION}"
    tokens: int = 4096
    alone: Sampling = Sampling()
    several: Sampling = Sampling(temperature=0.6)
    follows: bool = False

    def asked(self, problem: str, steps: Sequence[str], earlier: Sequence[str]) -> Context:
        """The prompt, and the words with which a verification begins (see `Form`)."""
        solution = "\n\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, 1))
        text = _valid(PROMPT.format(problem=problem.strip(), solution=solution))
        return Context((Message("user", text),), (Segment(LEAD),))


@dataclass(frozen=True, slots=True, kw_only=True)
class GenPrm(Form):
    """A conversation in which each step is analysed and judged."""

    name: str = "genprm"
    title: str = "GenPRM's conversation, no program run"
    yes: str = "Yes"
    no: str = "No"
    stop: str = ANALYSED
    verdict: str = VERDICT
    unfinished: str = ANALYSED
    tokens: int = 2048
    alone: Sampling = Sampling(0.6, 0.95, 20)
    several: Sampling = Sampling(0.6, 0.95, 20)
    follows: bool = True

    def asked(self, problem: str, steps: Sequence[str], earlier: Sequence[str]) -> Context:
        """The conversation up to the step, and how its analysis begins (see `Form`)."""
        first, *others = steps
        turns = [Message("system", TEACHER), Message("user", f"{problem.strip()}\n{first}")]
        for number, (said, step) in enumerate(zip(earlier, others, strict=True), 1):
            reply = f"{ANALYSIS.format(number=number)}{said}{JUDGED}"
            turns += [Message("assistant", reply), Message("user", step)]
        turns = [Message(turn.role, _valid(turn.content)) for turn in turns]
        last = LastMessage("user", turns[-1].content, opens=False)
        lead = Segment(ANALYSIS.format(number=len(steps)))
        return Context((*turns[:-1], last), (lead,))


FORMS: dict[str, Form] = {form.name: form for form in (ThinkPrm(), GenPrm())}


def form_named(name: str) -> Form:
    """The form of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FORMS:
        raise ConfigError(f"unknown form of a verifier {name!r}: use one of {', '.join(FORMS)}")
    return FORMS[name]


def _valid(text: str) -> str:
    """Lone surrogates, which no tokenizer takes, become question marks."""
    return text.encode(errors="replace").decode()
