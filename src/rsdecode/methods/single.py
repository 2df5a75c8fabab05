"""One model alone: the draft or the target."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Generate, Generated, Sampling, generate, tell
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import FinishReason, Problem, Role, Segment, Step
from rsdecode.methods.record import Record


@dataclass(frozen=True, slots=True)
class Single:
    """One model writes the whole answer in one request; no reward model.

    The answer is cut into steps afterwards, for reading; `limits.max_tokens` is the only limit.
    """

    role: Role = Role.TARGET
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        if self.role is Role.REWARD:
            raise ValueError("a reward model writes no answers: use the draft or the target")

    @property
    def roles(self) -> frozenset[Role]:
        """The one model."""
        return frozenset({self.role})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        record = Record(problem, self.limits, seed, sample)
        request = Generate(
            role=self.role,
            context=record.context,
            max_tokens=self.limits.max_tokens,
            boundary=WHOLE_ANSWER,
            sampling=self.sampling,
            seed=record.seed_for(self.role.value),
            session=record.session,
        )
        try:
            [written] = yield from generate([request])
            record.charge(self.role, written)
            record.steps.extend(self._steps(written))
            for step in record.steps:
                yield from tell(step)
        except RsdError as error:
            return record.fail(error)
        ended = written.finish_reason is FinishReason.EOS
        return record.end(FinishReason.EOS if ended else FinishReason.LENGTH)

    def _steps(self, written: Generated) -> list[Step]:
        """The answer's steps. Their token ids are not known one by one."""
        step = Step(
            segment=written.segment,
            source=self.role,
            finish_reason=FinishReason.STOP,
            accepted=self.role is Role.DRAFT,
        )
        texts = self.boundary.split(written.segment.text)
        steps = [replace(step, segment=Segment(text)) for text in texts]
        if steps:
            steps[-1] = replace(steps[-1], finish_reason=written.finish_reason)
        return steps
