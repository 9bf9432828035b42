"""Opening a file for the task that it names: faces by their detector, others by a runner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .detecting import Detector, input_size
from .errors import DetectError, reason_of
from .network import Network
from .runtimes import FACES, NO_METADATA, open_network, task_of
from .sources import Source

if TYPE_CHECKING:  # a face detector starts sooner without them
    from .tasks.running import TaskRunner
    from .tasks.specification import TaskSpecification

    Worker: TypeAlias = Detector | TaskRunner


def open_worker(
    path: str | Path,
    *,
    threads: int = 0,
    size: tuple[int, int] | None = None,
    half: bool | None = None,
    labels: Path | None = None,
    decoder: str | None = None,
) -> Worker:
    """Open a file for its task; ``labels`` is a file of names, ``decoder`` the user's own.

    The others are as of :class:`Detector`. Raises :class:`DetectError` that begins with the path.
    """
    names = None if labels is None else read_labels(labels)
    own = None if decoder is None else _loaded(decoder)
    try:
        network = open_network(Path(path), threads, half)
        if network.metadata is None:
            raise DetectError(NO_METADATA)
        if task_of(network.metadata) == FACES:
            if names or own:
                option = "--labels" if names else "--decoder"
                raise DetectError(f"{option} is for other tasks, and it finds faces; leave it out")
        else:
            return _runner(network, names, size, own)
    except DetectError as error:
        raise DetectError(f"{path}: {error}") from error
    return Detector(path, threads=threads, size=size, half=half, network=network)


def _loaded(decoder: str) -> Any:
    from .tasks.own import load_decoder

    return load_decoder(decoder)


def _runner(
    network: Network, names: tuple[str, ...] | None, size: tuple[int, int] | None, own: Any
) -> TaskRunner:
    from .tasks.running import TaskRunner, with_labels
    from .tasks.specification import TaskSpecification

    which = TaskSpecification.from_json(network.metadata or "")
    which = which if names is None else with_labels(which, names)
    return TaskRunner(network, which, _size_of(which, size), own)


def open_runner(
    path: Path,
    threads: int,
    change: Callable[[TaskSpecification], TaskSpecification] = lambda which: which,
) -> TaskRunner:
    """Open a file of another task than faces, its specification changed."""
    from .tasks.running import TaskRunner
    from .tasks.specification import TaskSpecification

    network = open_network(path, threads)
    which = change(TaskSpecification.from_json(network.metadata or ""))
    return TaskRunner(network, which, _size_of(which, None))


def _size_of(which: TaskSpecification, asked: tuple[int, int] | None) -> tuple[int, int]:
    if which.pictures is None:
        if asked:
            raise DetectError("takes no picture; leave out --size")
        return 0, 0
    return input_size((which.pictures.height, which.pictures.width), asked)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read names, one a line; raise :class:`DetectError` if there are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DetectError(f"--labels {path}: cannot be read ({reason_of(error)})") from error
    except UnicodeDecodeError as error:
        raise DetectError(f"--labels {path}: is not in UTF-8; save it as UTF-8") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise DetectError(f"--labels {path}: holds no names; write one a line")
    return names


def demand_arrays(worker: Worker, source: Source) -> TaskRunner:
    """Return what runs arrays; raise :class:`DetectError` where only pictures are looked at."""
    if not isinstance(worker, Detector):
        return worker
    raise DetectError(f"{source.name}: holds arrays, and a face detector looks at pictures")
