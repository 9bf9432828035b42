"""The first stage: the network is loaded, with all that it will be tried on."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.checking.pictures import Photo, read_photos
from toolchain.checking.proofs import analysis_example
from toolchain.exporting.io_spec import check_io_spec
from toolchain.lineage.calibration import Calibration, read_calibration
from toolchain.lineage.format_choice import choose_formats, possible_formats
from toolchain.models.sizes import Example
from toolchain.workflows.stages.job import Job
from toolchain.workflows.stages.tasking import check_task
from toolchain.zoo.sources import Loaded, load_start


@dataclass(frozen=True)
class Start:
    """A network as it was loaded, and what it is tried on."""

    loaded: Loaded
    look: Example
    """What the surgery looks at it with, which may be smaller than the recipe's size."""
    photos: tuple[Photo, ...]
    formats: tuple[str, ...]
    """To make; ``onnx`` is always among them."""
    formats_note: str | None
    """Which others could be had, and how."""
    calibration: Calibration | None
    """What int8 is calibrated on; None where no int8 is made."""


def start(job: Job) -> Start:
    """Read weights and photos; raises :class:`~toolchain.errors.InputError` for what is no use."""
    check_io_spec(job.recipe, dynamic=job.dynamic)
    formats, note = choose_formats(job.formats, job.recipe.decode.postprocess)
    photos = read_photos(job.photos)
    loaded = load_start(
        job.recipe, job.checkpoint, job.anchor_ratio, untrained=job.untrained, choice=job.choice
    )
    check_task(loaded)
    formats, note = possible_formats(job.formats, formats, note, loaded.example, loaded.inputs)
    look = analysis_example(loaded.network, loaded.example, loaded.recipe)
    calibration = None
    if "int8" in formats:
        calibration = read_calibration(job.calibration, loaded.recipe, loaded.example[0])
    return Start(loaded, look, photos, formats, note, calibration)
