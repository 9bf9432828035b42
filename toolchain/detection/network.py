"""A PyTorch network as something that finds faces."""

from __future__ import annotations

import torch

from toolchain.deploy import detect
from toolchain.detection.finders import RawNetwork
from toolchain.errors import ModelError
from toolchain.exporting.fold import fold_batch_norm
from toolchain.exporting.metadata import KEY, Provenance, metadata_of
from toolchain.system.memory import keep_freed_memory
from toolchain.zoo.sources import Loaded, example_input

FOLDING_SIZE = (128, 128)
"""Height and width of the input by which batch norm is folded."""


def torch_network(loaded: Loaded, threads: int) -> tuple[RawNetwork, detect.Specification]:
    """Return the network with batch norm folded (three times faster), and its specification.

    Folding rounds: outputs differ by about 1e-6 of their range.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    network = fold_batch_norm(loaded.network, example_input(loaded.network, *FOLDING_SIZE)).eval()
    provenance = Provenance(loaded.source, None, None, None)
    text = metadata_of(loaded.recipe, provenance, dynamic=True)[KEY]

    def run(tensor: detect.Floats | detect.Image) -> tuple[detect.Floats, detect.Floats]:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(tensor))
        if not (isinstance(outputs, tuple) and len(outputs) == 2):
            raise ModelError(
                f"{loaded.recipe.model.name} must return (loc, logits), as face detectors here do"
            )
        loc, logits = outputs
        return loc[0].numpy(), logits[0].numpy()

    return run, detect.Specification.from_json(text)
