"""Solve many problems together, and compare methods on them."""

import rsdecode
from rsdecode.models.abacus import problems

some = problems("test", limit=20)
questions = [rsdecode.Problem.ask(p.question, id=p.id, answer=p.answer) for p in some]

with rsdecode.load() as rsd:
    for method in ("draft", "target", "rsd", "rsd@0.9"):
        trajectories = rsd.solve_many(questions, method=method)
        right = sum(t.answer == t.problem.answer for t in trajectories)
        by_target = sum(t.ledger.target.decoded_tokens for t in trajectories)
        print(
            f"{method:8} {right:2} of {len(trajectories)} right, {by_target} tokens by the target"
        )

    for trajectory in rsd.as_completed(questions[:3]):  # each as soon as it is there
        print(trajectory.problem.id, trajectory.answer)
