"""How long a vLLM process that waits for a message of another keeps a core busy.

It is one second after the last message, for workers and for the engine that waits for them, so that
a server under load takes two cores whatever it has to do. Several servers on a few cores then keep
each other from working.
"""

from __future__ import annotations

import time
from typing import Any, cast


def spin_for(seconds: float) -> None:
    """Let this process's readers sleep so soon after a message, until they are woken.

    vLLM wakes its sleeping readers through a socket that drops what is sent within about a
    millisecond of the message before. A reader that misses its message would sleep for five
    seconds, so the socket is told to drop nothing.
    """
    try:
        from vllm.distributed.device_communicators.shm_broadcast import (  # pyright: ignore[reportMissingImports]
            SpinCondition,  # pyright: ignore[reportUnknownVariableType]
            zmq,  # pyright: ignore[reportUnknownVariableType]
        )
    except ImportError:
        return  # a vLLM that waits in another way

    condition, options_of = cast(Any, SpinCondition), cast(Any, zmq)
    create = condition.__init__

    def create_reliably(self: Any, is_reader: bool, *arguments: Any, **options: Any) -> None:
        create(self, is_reader, *arguments, **options)
        if not is_reader:
            self.local_notify_socket.setsockopt(options_of.XPUB_NODROP, 1)

    def record_read(self: Any) -> None:
        self.last_read = time.monotonic() - self.busy_loop_s + seconds

    condition.__init__, condition.record_read = create_reliably, record_read
