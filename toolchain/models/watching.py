"""Watching every operator of a run, without loading PyTorch's compiler for it.

PyTorch keeps its compiler from compiling what a ``TorchDispatchMode`` does, and loads it to say so
at the first operator: two CPU seconds in every process. Where it is not loaded it compiles nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorMode(TorchDispatchMode):
    """A ``TorchDispatchMode`` that is kept from the compiler once that is loaded, and not before.

    A subclass defines ``__torch_dispatch__``.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell PyTorch not to wrap the method when the class is made."""
        return False

    def __enter__(self) -> Any:
        """Begin to watch; wrap the method as PyTorch would, if a compiler may see it."""
        cls = type(self)
        if "torch._dynamo" in sys.modules and "_is_wrapped" not in vars(cls):
            cls.__torch_dispatch__ = torch._disable_dynamo(cls.__torch_dispatch__)  # type: ignore
            cls._is_wrapped = True  # type: ignore[attr-defined]
        return super().__enter__()  # type: ignore[no-untyped-call]
