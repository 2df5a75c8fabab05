"""Score steps with a function of your own instead of a process reward model."""

import rsdecode

QUESTION = (
    "Ben has 24 buttons. Ben gets 3 packs of 15 buttons. Ben loses 19 of them. "
    "How many buttons are there at the end?"
)


def short_steps(question: str, steps: list[str]) -> float:
    """The reward of the last step, in [0, 1]: steps of up to ten words are good."""
    words = len(steps[-1].split())
    return min(1.0, 10 / max(words, 1))


with rsdecode.load(reward=short_steps, threshold=0.8) as rsd:
    trajectory = rsd.solve(QUESTION)

for step in trajectory.steps:
    print(f"[{step.source}, {step.reward}] {step.text.strip()}")
