"""Which of some tokens comes next, as an engine job: what an LLM judge is asked."""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.backends.transformers.failures import too_long
from rsdecode.backends.transformers.jobs import Prefill, Prefilled
from rsdecode.core.errors import RequestError
from rsdecode.core.protocols import Choose, Chosen
from rsdecode.core.requests import Failed
from rsdecode.text.prompt import Prompts


@dataclass(frozen=True, slots=True)
class Choosing:
    """Turns requests to choose into engine jobs, and the engine's replies into probabilities.

    Attributes:
        max_context: tokens of a sequence at most.
        name: of the model, for messages.
    """

    prompts: Prompts
    max_context: int
    name: str

    def job(self, request: Choose) -> Prefill | Failed:
        """Read the messages: the outputs after them, of the choices alone."""
        choices = [self.prompts.text_ids(choice) for choice in request.choices]
        for choice, tokens in zip(request.choices, choices, strict=True):
            if len(tokens) != 1:
                return Failed(
                    RequestError(
                        f"{choice!r} is {len(tokens)} tokens for {self.name}, but a choice must "
                        "be one: use another model as the judge"
                    )
                )
        ids = self.prompts.bare_ids(request.messages)
        if len(ids) > self.max_context:
            return Failed(too_long(len(ids), self.name, self.max_context))
        columns = tuple(tokens[0] for tokens in choices)
        return Prefill(request.session, ids, (len(ids) - 1,), columns)

    def chosen(self, _: Choose, read: Prefilled) -> Chosen:
        """The probability of each choice among them."""
        probabilities = read.outputs[0].double().softmax(-1)
        return Chosen(tuple(float(probability) for probability in probabilities), read.usage)
