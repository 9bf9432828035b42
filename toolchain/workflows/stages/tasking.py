"""Whether what a network gives is what its recipe's ``[task]`` says, before anything is done."""

from __future__ import annotations

import numpy as np

from toolchain.checking.parity import run_network
from toolchain.deploy import detect
from toolchain.deploy.detector.preparing import Placement
from toolchain.deploy.detector.tasks.outputs import Given
from toolchain.deploy.detector.tasks.running import READERS
from toolchain.deploy.detector.tasks.specification import TaskSpecification
from toolchain.errors import InputError
from toolchain.exporting.metadata import KEY
from toolchain.models.sizes import image_size
from toolchain.workflows.stages.origin import onnx_metadata
from toolchain.zoo.sources import Loaded


def check_task(loaded: Loaded) -> None:
    """Read what the network gives as the board will; raise :class:`InputError` if that fails.

    Of ``raw`` there is nothing to read. Faces are proved by their anchors, and a decoder of the
    user's own runs on the board alone.
    """
    if loaded.recipe.task.labels_file is not None:
        raise InputError(
            "task.labels_file is read where a recipe is read from a file; give task.labels here"
        )
    if loaded.recipe.task_kind == "faces":
        return
    try:
        which = TaskSpecification.from_json(onnx_metadata(loaded)[KEY])
        if which.decoder or which.kind == "raw":
            return
        READERS[which.kind](_given(loaded, which), None)
    except detect.DetectError as error:
        raise InputError(f"{loaded.recipe.model.name}: {error}") from error


def _given(loaded: Loaded, which: TaskSpecification) -> Given:
    found = run_network(loaded.network.eval())(*loaded.example)
    outputs = {
        name: np.nan_to_num(array) for name, array in zip(loaded.outputs, found, strict=True)
    }
    height, width = image_size(loaded.example) or (1, 1)
    return Given(outputs, which, (height, width), Placement(1.0, 1.0, 0, 0, width, height))
