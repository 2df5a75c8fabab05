"""Results: trajectories as JSON, the files that keep them, their keys, and what they come to."""
