"""Networks by name: the two detectors, or a user's ``module:factory``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import nn

from toolchain.errors import ModelError
from toolchain.models.eresfd import EResFD
from toolchain.models.extd import EXTD

BUILDERS: dict[str, Callable[[], nn.Module]] = {"eresfd": EResFD, "extd": EXTD}


def build(name: str, seed: int = 0) -> nn.Module:
    """Return the network ``name`` in eval mode with weights drawn from ``seed``.

    ``module:factory`` imports ``module`` (from the current folder, too) and calls ``factory``
    without arguments. Raises :class:`ModelError`.
    """
    factory = BUILDERS.get(name) or _user_factory(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = factory()
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            raise ModelError(f"{name} failed to build: {_in_one_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name} must return a torch.nn.Module (got {type(network).__name__})")
    return network.eval()


def _in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _user_factory(name: str) -> Callable[[], object]:
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise ModelError(
            f"no model {name!r}: must be one of {', '.join(BUILDERS)}, or module:factory for a "
            f"network of your own"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing a user's code may raise anything
        raise ModelError(
            f"cannot import {module_name!r} from {here} or the environment ({_in_one_line(error)})"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ModelError(f"module {module_name} has no callable {attribute!r}")
    return cast(Callable[[], object], factory)
