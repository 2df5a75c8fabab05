"""Reward models: where the scores of steps come from. Nothing heavy is imported here."""

from __future__ import annotations

from rsdecode.rewards.arithmetic import ArithmeticReward
from rsdecode.rewards.detect import RewardKind
from rsdecode.rewards.function import FunctionReward
from rsdecode.rewards.judge import JudgeReward
from rsdecode.rewards.load import load_reward_model

__all__ = ["ArithmeticReward", "FunctionReward", "JudgeReward", "RewardKind", "load_reward_model"]
