"""The exceptions of rsdecode.

    RsdError
    ├── ConfigError (ValueError)      an option, key, spec or file of the configuration is wrong
    ├── InputError (ValueError)       a question or an input line cannot be used
    ├── ModelLoadError (OSError)      a model, tokenizer or reward head cannot be loaded
    ├── StorageError (OSError)        results cannot be written any more: the disk is full, say
    ├── RequestError (RuntimeError)   one request failed; its problem ends with `error`, no other
    │   ├── PromptTooLong             the question alone does not fit the model's context
    │   ├── ContextFull               the answer has outgrown a model: it ends with `length`
    │   ├── RewardError               a reward is not a finite number in [0, 1]
    │   └── OutOfMemory               the device ran out of memory
    ├── Cancelled (RuntimeError)      the caller gave up on the problem, or its deadline passed
    ├── WorkersLost (RuntimeError)    workers on other machines are lost, one after the other
    ├── Overloaded (RuntimeError)     too many problems wait already
    └── SessionClosed (RuntimeError)  a closed session was asked to solve a problem

Every message names the offending value and the remedy. All of them pickle.
"""

from __future__ import annotations


class RsdError(Exception):
    """Root of all errors that rsdecode raises on purpose."""


class ConfigError(RsdError, ValueError):
    """An option, a key, a model spec or a configuration file is wrong."""


class InputError(RsdError, ValueError):
    """A question or a line of an input file cannot be used."""


class ModelLoadError(RsdError, OSError):
    """A model, its tokenizer or its reward head cannot be loaded."""


class StorageError(RsdError, OSError):
    """Results cannot be written any more; what was written is kept."""


class RequestError(RsdError, RuntimeError):
    """One request failed. Only the problem that made it is affected."""


class PromptTooLong(RequestError):
    """The question alone does not fit into the model's context."""


class ContextFull(RequestError):
    """The question fits into the model's context, but not with the answer so far."""


class RewardError(RequestError):
    """A reward is not a finite number in [0, 1]."""


class OutOfMemory(RequestError):
    """The device ran out of memory while serving the request."""


class Cancelled(RsdError, RuntimeError):
    """The caller gave up on the problem, or its deadline passed."""


class WorkersLost(RsdError, RuntimeError):
    """Workers on other machines are lost, one after the other; what was answered is kept."""


class Overloaded(RsdError, RuntimeError):
    """Too many problems wait already."""


class SessionClosed(RsdError, RuntimeError):
    """A closed session was asked to solve a problem."""
