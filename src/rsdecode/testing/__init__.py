"""Models for tests of methods, backends and rewards: exact distributions instead of networks."""
