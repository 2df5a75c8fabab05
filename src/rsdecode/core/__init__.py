"""Pure building blocks: types, requests, weighting, acceptance, steps, cost. No I/O, no torch."""
