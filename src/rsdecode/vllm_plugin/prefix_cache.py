"""vLLM reads a token classifier's prompt whole for every request; here it learns to go on.

It leaves its prefix cache alone there because a row comes back for each token that it reads, and
after a cached prefix those are not all. Who scores an answer step by step wants the last ones only.
"""

from __future__ import annotations

from typing import Any, cast

TASK = "token_classify"


def continue_prefixes() -> None:
    """Let this process's token classifications read the prefix cache.

    A reply then has a row for each token that was read, the prompt's last ones, and none for those
    that were cached; a step mark that the server was told chooses no rows. A request with a
    `cache_salt` of its own is answered in full.
    """
    try:
        from vllm import PoolingParams  # pyright: ignore[reportMissingImports,reportUnknownVariableType]
    except ImportError:
        return

    parameters = cast(Any, PoolingParams)
    if not hasattr(parameters, "skip_reading_prefix_cache"):
        return
    verify = parameters.verify

    def verify_and_continue(self: Any, *arguments: Any, **options: Any) -> None:
        verify(self, *arguments, **options)
        if self.task == TASK:
            self.skip_reading_prefix_cache = False
            self.step_tag_id = None

    parameters.verify = verify_and_continue
