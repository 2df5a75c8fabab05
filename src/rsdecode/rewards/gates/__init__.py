"""Rewards without a reward model: what draft and target know of a step themselves."""

from __future__ import annotations

from rsdecode.rewards.gates.agreement import AgreementReward
from rsdecode.rewards.gates.cascade import CascadeReward
from rsdecode.rewards.gates.confidence import ConfidenceReward
from rsdecode.rewards.gates.likelihood import LikelihoodReward
from rsdecode.rewards.gates.pooling import Pooling

__all__ = ["AgreementReward", "CascadeReward", "ConfidenceReward", "LikelihoodReward", "Pooling"]
