"""vLLM processes that rsdecode starts, sizes, watches and stops itself (`vllm:ID_OR_PATH`).

`footprint.py` reads what a model needs of memory, `machine.py` what there is, `placement.py` puts
the one on the other, and `command.py` says it in vLLM's words: that is the plan, which `rsd doctor`
prints. `fleet.py` carries it out with one `Server` for each model; `supervisor.py` is the small
program between us and a vLLM process that lets none outlive us.
"""

from __future__ import annotations

from rsdecode.backends.vllm_server.command import Task, arguments, environment, executable
from rsdecode.backends.vllm_server.fleet import Fleet
from rsdecode.backends.vllm_server.footprint import Footprint, read_footprint
from rsdecode.backends.vllm_server.machine import Gpu, Machine
from rsdecode.backends.vllm_server.placement import ServerPlan, ServerSpec, plan
from rsdecode.backends.vllm_server.server import LogWatcher, Server, ServerProcess, State, Watcher
from rsdecode.backends.vllm_server.watched import watch_language_model, watch_reward_model

__all__ = [
    "Fleet",
    "Footprint",
    "Gpu",
    "LogWatcher",
    "Machine",
    "Server",
    "ServerPlan",
    "ServerProcess",
    "ServerSpec",
    "State",
    "Task",
    "Watcher",
    "arguments",
    "environment",
    "executable",
    "plan",
    "read_footprint",
    "watch_language_model",
    "watch_reward_model",
]
