"""Making the members of a sweep on a Ray cluster, a task for each.

Ray places the tasks and starts one again whose worker died; as every stage goes on where it was,
the member ends as if nothing had happened. All machines must see the same folders.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from toolchain.errors import InputError
from toolchain.records.training import SweepMember
from toolchain.system.installation import how_to_get
from toolchain.workflows.sweep.job import Making
from toolchain.workflows.sweep.running import Maker

RETRIES = 5
"""How often a member is taken up again after its worker died."""
KNOCK_SECONDS = 5.0
LOOPBACK = "127.0.0.1"
HERE = "local"
"""The address that means: start a cluster on this machine, for this run."""


def on_cluster(address: str) -> Maker:
    """Return what makes the members on the cluster at ``address``.

    ``local`` starts one that listens on loopback only and ends with the run, ``auto`` is the one
    that runs on this machine. Raises :class:`InputError` where Ray is missing or does not answer.
    """
    ray = _ray()

    def make(job: Making) -> Iterator[SweepMember]:
        _connect(ray, address)
        try:
            yield from _members(ray, job)
        finally:
            ray.shutdown()

    return make


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"--ray: the package ray is not installed; run {how_to_get('ray')}"
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        _knock(address)
        if address == HERE:
            ray.init(address=HERE, _node_ip_address=LOOPBACK, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(
            f"--ray {address}: no cluster answers there ({words}); give its address, 'auto' for "
            f"the one that runs here, or '{HERE}' to start one"
        ) from error


def _knock(address: str) -> None:
    """Raise an OSError where ``HOST:PORT`` does not answer; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def _members(ray: Any, job: Making) -> Iterator[SweepMember]:
    task = ray.remote(num_cpus=job.threads, max_retries=RETRIES)(_make)
    tasks: dict[float, Any] = {}
    for rate in job.rates:
        before = job.before(rate)
        tasks[rate] = task.remote(job, rate, None if before is None else tasks[before])
    rates = {reference: rate for rate, reference in tasks.items()}
    yield from (SweepMember(rate, "running") for rate in job.rates if job.before(rate) is None)
    while rates:
        (done,), _ = ray.wait(list(rates), num_returns=1)
        rate = rates.pop(done)
        try:
            yield ray.get(done)
        except ray.exceptions.RayError as error:
            words = " ".join(str(error).split())[:300]
            yield SweepMember(rate, "failed", f"its worker died {RETRIES + 1} times: {words}")


def _make(job: Making, rate: float, before: SweepMember | None) -> SweepMember:
    """Make a member in a worker, whose processor may be another than that of the driver.

    Ray calls it when the member ``before``, from which this one starts, is made.
    """
    if before is not None and before.state == "failed":
        return SweepMember(rate, "failed", f"rate {before.rate:g}, its start, failed")
    from toolchain.train.processor import keep_gradients_right

    keep_gradients_right()
    from toolchain.workflows.sweep.members import Listeners

    return job.make(rate, Listeners())
