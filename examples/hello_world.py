"""Solve one problem with the models that the package ships: no download, no configuration."""

import rsdecode

QUESTION = (
    "Ben has 24 buttons. Ben gets 3 packs of 15 buttons. Ben loses 19 of them. "
    "How many buttons are there at the end?"
)

with rsdecode.load() as rsd:  # your own: load(draft="hf:...", target="hf:...", reward="hf:...")
    trajectory = rsd.solve(QUESTION)

for step in trajectory.steps:
    reward = "not scored" if step.reward is None else f"reward {step.reward:.2f}"
    print(f"[{step.source}, {reward}] {step.text.strip()}")
print(f"answer: {trajectory.answer} ({trajectory.stop_reason})")
