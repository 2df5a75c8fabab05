"""Watch a problem while it is solved: provisional text, scores, decisions."""

import rsdecode

QUESTION = (
    "Mia has 90 cards. Mia gives away half of them. Mia gets 4 packs of 12 cards. "
    "How many cards are there at the end?"
)

with rsdecode.load() as rsd:
    for event in rsd.stream(QUESTION):
        match event:
            case rsdecode.Delta(role, step, _, text):
                print(f"  {role} writes on step {step}: {text!r}")
            case rsdecode.Scored(step, _, rewards):
                print(f"  step {step} is scored {rewards[0]:.2f}")
            case rsdecode.Decided(index, step):
                print(f"step {index} is decided, by the {step.source}: {step.text.strip()}")
            case rsdecode.Finished(trajectory):
                print(f"answer: {trajectory.answer}")
            case _:  # Proposed: a candidate of the draft is complete
                pass
