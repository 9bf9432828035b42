"""``tc.check`` and ``tc.verify``: files on an emulated board, and the proofs of a folder again."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from toolchain.arm.checking import check_folder
from toolchain.arm.sysroot import prepare
from toolchain.arm.targets import Target, find_target
from toolchain.bench.feeds import NOTHING, Told
from toolchain.checking.pictures import Photo, read_photos
from toolchain.errors import InputError
from toolchain.library.exporting import Exported
from toolchain.library.saving import Factory, reopener
from toolchain.library.wording import in_python_words
from toolchain.lineage import verifying
from toolchain.lineage.verifying import Verification
from toolchain.records.run_folder import RunFolder, model_file
from toolchain.records.timings import Check
from toolchain.system.caches import arm_cache
from toolchain.workflows.stages.clock import say_nothing

Place = str | os.PathLike[str]


@in_python_words()
def check(
    files: Exported | Place,
    target: str | Target = "rpi4",
    *,
    names: Sequence[str] | None = None,
    photos: Sequence[Place] = (),
    size: tuple[int, int] | None = None,
    cache: Place | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Check:
    """Run files on an emulated ARM board: are outputs those of this machine, and what do they cost?

    Args:
        files: what :func:`export` gave, an output folder, or an ONNX or TFLite file of any
            origin, or the folder of an ncnn file of ours.
        target: a board, see ``toolchain targets``: ``rpi4``, ``rpi5``, ...
        names: model files of the folder; all by default.
        photos: on which the boxes of a detector must be the same.
        size: height and width in pixels, of a file of any origin that takes pictures of any.
        cache: folder for what emulation needs (fetched once) and for earlier checks.
        on_stage: is told what is run as it begins.

    Returns:
        A frozen :class:`~toolchain.records.timings.Check`: for each of ``.files`` exact
        instructions of one inference on one thread, peak memory in bytes, an estimate in ms with
        its range (low, mid, high), and how far outputs are from this machine's; ``.passed``.

    Raises:
        InputError: no such board or file, the board runs none of the files, what emulation needs
            cannot be fetched, or a file was changed after it was proved.

    Example:
        >>> found = tc.check("out/mine", target="rpi4")
        >>> found.main.instructions_per_inference, found.main.estimate_ms.mid
        (36900000, 24.1)
    """
    board = find_target(target) if isinstance(target, str) else target
    place = files.folder if isinstance(files, Exported) else Path(files)
    kept = arm_cache() if cache is None else Path(cache)
    return check_photos(
        place,
        names,
        board,
        read_photos([Path(each) for each in photos]),
        kept,
        on_stage or say_nothing,
        Told(size),
    )


def check_photos(
    place: Path,
    names: Sequence[str] | None,
    board: Target,
    photos: Sequence[Photo],
    cache: Path,
    on_stage: Callable[[str], None],
    told: Told = NOTHING,
) -> Check:
    """Do what :func:`check` does, with photos that were read already."""
    place = model_file(place)
    if not place.is_file():
        RunFolder.open(place)
        if not told.says_nothing:
            raise InputError(f"{place}: is a folder, whose files tell what they take; no size")
    sysroot = prepare(board, cache, on_stage)
    return check_folder(place, names, board, sysroot, photos, cache, on_stage, told)


def verify(
    folder: Exported | Place,
    factory: Factory | None = None,
    *,
    seed: int | None = None,
    on_link: Callable[[str], None] | None = None,
) -> Verification:
    """Check an output folder: every hash, and every link of its lineage again, on new inputs.

    Args:
        folder: what :func:`export` gave, or an output folder.
        factory: builds the original network, as for :func:`load`, where its certificate names
            none that can be imported and built without arguments.
        seed: of the inputs; a new one each time by default.
        on_link: is told of each link as it begins.

    Returns:
        A frozen record: ``.passed``, ``.problems`` of files, ``.links`` one by one.

    Raises:
        InputError: the folder is none of ours.

    Example:
        >>> tc.verify("out/mine", Detector).passed
        True
    """
    place = folder.folder if isinstance(folder, Exported) else Path(folder)
    chosen = secrets.randbelow(2**31) if seed is None else seed
    reopen = None if factory is None else reopener(RunFolder.open(place).certificate, factory)
    return verifying.verify(place, chosen, on_link or say_nothing, reopen)
