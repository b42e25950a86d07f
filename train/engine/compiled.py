"""A function that is compiled whole, the gradients that it takes included."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


class Compiled:
    """``function``, compiled at its first call for the shapes and networks that it is then given.

    Compiling takes tens of seconds, which are said. Where it fails, that is said and the function runs as it is; it
    must be pure, for the call that failed is repeated.

    Args:
        function: computes gradients with ``torch.autograd.grad``; its results must carry no graph.
        name: what messages call it.
        say: where to say how it went.
    """

    def __init__(self, function: Callable[..., Any], name: str, say: Callable[[str], None]) -> None:
        self._function, self._name, self._say = function, name, say
        self._compiled: Callable[..., Any] | None = None
        self._failed = False

    def __call__(self, *args: Any) -> Any:
        if not self._failed:
            try:
                return self._call(args)
            except Exception as error:
                if isinstance(error, torch.OutOfMemoryError) or _capturing():
                    raise  # not about compiling; op by op takes more memory, and a capture is invalid by now
                # Whatever is wrong with the call itself, the function will say.
                self._failed = True
                reason = " ".join(str(error).strip().partition("\n\n")[0].split())  # advice on debugging follows
                self._say(f"the {self._name} runs without being compiled: {type(error).__name__}: {reason}")
        return self._function(*args)

    def _call(self, args: tuple[Any, ...]) -> Any:
        # torch counts code by function: a step may have more graphs than the 8 that it allows one of them.
        with torch._dynamo.config.patch(trace_autograd_ops=True, recompile_limit=64):
            if self._compiled is not None:
                return self._compiled(*args)
            self._compiled = torch.compile(self._function, fullgraph=True, dynamic=False)
            start = time.perf_counter()
            result = self._compiled(*args)
        self._say(f"compiled the {self._name} in {time.perf_counter() - start:.0f} s")
        return result

    def release(self) -> None:
        """Frees the compiled code, and all other that torch holds: it keeps code by function, not by shape."""
        self._compiled = None
        torch.compiler.reset()


def _capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
