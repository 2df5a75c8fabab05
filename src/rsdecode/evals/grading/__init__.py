"""Whether an answer is right, and why."""

from rsdecode.evals.grading.grade import grade, grade_at_once, is_correct
from rsdecode.evals.grading.pool import GradingPool
from rsdecode.evals.grading.verdict import AnswerKind, Rule, Verdict

__all__ = [
    "AnswerKind",
    "GradingPool",
    "Rule",
    "Verdict",
    "grade",
    "grade_at_once",
    "is_correct",
]
