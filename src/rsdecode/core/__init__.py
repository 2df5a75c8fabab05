"""Pure building blocks: types, requests, weighting, acceptance, segmentation, cost. No I/O, no torch."""
