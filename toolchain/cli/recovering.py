"""The command ``recover``."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli import asking
from toolchain.cli.app import app, messages
from toolchain.cli.feeding import need_size
from toolchain.cli.options.budgets import Budget
from toolchain.cli.options.grouping import grouped
from toolchain.cli.options.inputs import Inputs
from toolchain.cli.options.recovery import Recovery
from toolchain.cli.options.weights import Chosen
from toolchain.cli.progress import is_first, training_progress
from toolchain.cli.recipes import recipe_for, with_settings
from toolchain.cli.sweeping import OnRay, finish, run
from toolchain.errors import InputError

if TYPE_CHECKING:
    from toolchain.library.recovery_runs import RecoveryJob
    from toolchain.recipe import PruneSection
    from toolchain.recovery.report import RecoveryReport


@app.command(
    epilog="Examples:  [bold]toolchain recover mynet:build --ckpt best.pth --rate 0.3 "
    "--images photos --minutes 30 --out out/recovered[/]   |   [bold]toolchain recover mynet:build "
    "--ckpt best.pth --rate 0.3 --dry-run[/]   and the same command again goes on where it was "
    "stopped"
)
@grouped
def recover(
    model: Annotated[str, typer.Argument(help="module:factory, eresfd, extd or yunet.")],
    budget: Budget,
    recovery: Recovery,
    chosen: Chosen,
    inputs: Inputs,
    ckpt: Annotated[
        Path | None, typer.Option(help="Trained weights; without, those that the factory gives.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe instead of the shipped one.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="What an earlier recovery made: go on, other filters too."),
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(help="In place of a rate several, as 0.1,0.3,0.5: each recovered and shrunk."),
    ] = None,
    cluster: OnRay = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would learn from what, and stop.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("out/recovered"),
) -> None:
    """Prune a network and bring back what that cost, on photos without labels."""
    from toolchain.train.processor import keep_gradients_right

    keep_gradients_right()
    if len(inputs.sizes) > 1:
        raise InputError("recover takes one --size")
    asked = recipe_for(model, recipe, recovery.fields, inputs.sizes[0])
    wanted = inputs.fed(with_settings(asked, {}, recovery.settings))
    target = recovery.target_of_all(budget)
    _demand_one(wanted.prune, target, rates, start)
    asking.need_module(model)
    need_size(model, wanted, recipe, inputs.size)
    asking.need_checkpoint(ckpt)
    asking.need_checkpoint(start)
    asking.need_folder(recovery.images, "a folder of photos")
    if recovery.images is None and not dry_run:
        raise InputError("photos are needed to learn from; give a folder by --images")
    asking.need_room(out)

    from toolchain.library.recovery_runs import RecoveryJob, recover_from_photos, shown_blocks

    job = RecoveryJob(
        wanted, ckpt, chosen.choice, recovery.images, out, recovery.minutes,
        recovery.steps, recovery.batch, recovery.kinds, recovery.names, recovery.half,
        recovery.device, recovery.threads, recovery.workers, recovery.seed, recovery.cache,
        recovery.keep_seconds, start, target, recovery.learning,
        recovery.soft_share, recovery.average,
    )  # fmt: skip
    if rates is not None and dry_run:
        raise InputError("--dry-run shows one network; give --rate in place of --rates")
    if rates is not None:
        _sweep(job, rates, cluster)
        return
    if dry_run:
        for line in shown_blocks(job):
            print(line)
        return
    with training_progress() as (on_photo, on_step):
        report = recover_from_photos(job, on_photo, on_step, _tell)
    if is_first():
        _print(report, model, out)


def _sweep(job: RecoveryJob, rates: str, cluster: str | None) -> None:
    from toolchain.library.recovery_sweeps import RecoverySweep
    from toolchain.workflows.sweep.job import parse_rates

    place = job.out.resolve()
    paths = {
        name: path.resolve()
        for name in ("ckpt", "images", "cache")
        if (path := getattr(job, name)) is not None
    }
    everywhere = dataclasses.replace(job, out=place, **paths)
    command = shlex.join(["toolchain", *sys.argv[1:]])
    finish(run(RecoverySweep(everywhere, parse_rates(rates), command), cluster), place)


def _demand_one(
    prune: PruneSection, target: Mapping[str, object], rates: str | None, start: Path | None
) -> None:
    """Raise :class:`InputError` where nothing says how much goes, or two things do."""
    if rates is not None:
        if target or prune.zeroes or start is not None:
            raise InputError(
                "--rates says how much goes; give it without --rate, a target, --from or a plan"
            )
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError("--rates: one process makes the members; start torchrun for each rate")
        return
    if target and (prune.widths or prune.pruned_channels):
        raise InputError(
            f"the recipe's plan says how much goes, and --{next(iter(target))} does; give one"
        )
    if not (target or prune.zeroes):
        raise InputError(
            "there is nothing to recover without a rate; give --rate, such as 0.3, a target, such "
            "as --macs 0.6, or by --recipe the plan.toml that toolchain plan wrote"
        )


def _tell(words: str) -> None:
    if is_first():
        messages.print(words, markup=False)


def _print(report: RecoveryReport, model: str, out: Path) -> None:
    print(report)
    print(
        f"Weights are in {out / 'model.safetensors'}. Next: "
        f"toolchain shrink {model} --ckpt {out / 'model.safetensors'}"
    )
