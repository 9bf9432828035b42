"""What pruning costs a classifier, and what brings it back: ``recover`` beside fine-tuning.

``python -m tests.benchmarks.recovery --out DIR [--seconds 15 60] [--seeds 0 1] [--networks ...]``

A residual and two depthwise classifiers learn scikit-learn's digits (1,437 of them, at 16x16), lose
30 % of the filters of every group, and get so many CPU seconds each, on one thread:

- ``recover``: :func:`toolchain.recover`, without labels; ``--parts`` adds it without its parts;
- ``fine-tuned``: the same filters taken out by ``shrink``, then fine-tuning with labels;
- ``tp-magnitude``, ``tp-group-norm``: Torch-Pruning's removal at the same rate, then the same
  fine-tuning.

What is told is top-1 on the 360 digits that nothing is learnt from, of the last step: nothing is
chosen by them. What is measured stays in DIR, and is not measured again.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from toolchain.train.processor import keep_gradients_right

keep_gradients_right()

import torch  # noqa: E402
import torch_pruning as tp  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from teaching import Mobile, Residual  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import toolchain as tc  # noqa: E402
from toolchain.recovery import plan, running  # noqa: E402

RATE, BATCH, TRAINED_EPOCHS = 0.3, 32, 40
EXAMPLE = torch.zeros(1, 3, 16, 16)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": lambda: Residual(16, 10),
    "depthwise": lambda: Mobile(10, 24),
    "depthwise-tiny": lambda: Mobile(10),
}
METHODS = ("recover", "fine-tuned", "tp-magnitude", "tp-group-norm")
PARTS = {
    "recover, no solving": None,
    "recover, no blocks": 0.0,
    "recover, not end to end": 1.0,
    "recover, solving alone": 0.0,
}
"""``recover`` without a part, and the share of the steps that is block by block."""
PACE_STEPS = 150


class Digits:
    """Digits that are learnt, and those that are kept out: images (N, 3, 16, 16), labels (N,)."""

    def __init__(self) -> None:
        pixels, labels = load_digits(return_X_y=True)
        images = torch.tensor(pixels).float().reshape(-1, 1, 8, 8) / 8 - 1
        images = nn.functional.interpolate(images, (16, 16), mode="bilinear").expand(-1, 3, -1, -1)
        learnt, found = torch.arange(len(labels)) % 5 > 0, torch.tensor(labels)
        self.images, self.labels = images[learnt].contiguous(), found[learnt]
        self.kept_out, self.wanted = images[~learnt].contiguous(), found[~learnt]

    def batches(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches, moved by a pixel or two, epoch after epoch."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            for some in torch.randperm(len(self.images), generator=generator).split(BATCH):
                shift = torch.randint(-1, 2, (2,), generator=generator).tolist()
                yield torch.roll(self.images[some], shift, (2, 3)), self.labels[some]

    def top1(self, network: nn.Module) -> float:
        """Return the share of what is kept out that a network tells right."""
        with torch.no_grad():
            found = network.eval()(self.kept_out).argmax(1)
        return round(float((found == self.wanted).float().mean()), 4)


def learn(
    network: nn.Module, digits: Digits, seed: int, rate: float, done: Callable[[int], float]
) -> None:
    """Let a network learn by labels until ``done(step)``, the share of the way, is 1."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    for step, (images, labels) in enumerate(digits.batches(seed)):
        if (share := done(step)) >= 1:
            break
        optimizer.param_groups[0]["lr"] = rate * max(0.0, 1 - share)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network.train()(images), labels).backward()
        optimizer.step()
    network.eval()


def trained(name: str, seed: int, digits: Digits, out: Path) -> nn.Module:
    """Return a trained network, which is trained once."""
    torch.manual_seed(seed)
    network, path = NETWORKS[name](), out / f"{name}-{seed}.pth"
    if not path.exists():
        steps = TRAINED_EPOCHS * len(digits.images) // BATCH
        learn(network, digits, seed, 4e-3, lambda step: step / steps)
        torch.save(network.state_dict(), path)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


class Images:
    """What ``recover`` is given: images alone, as a loader."""

    def __init__(self, digits: Digits, seed: int) -> None:
        self.digits, self.seed = digits, seed

    def __iter__(self) -> Iterator[Tensor]:
        return (images for images, _ in self.digits.batches(self.seed))


def recovered(network: nn.Module, digits: Digits, seed: int, steps: int) -> nn.Module:
    """Return the network with 30 % of its filters at zero, recovered without labels."""
    return tc.recover(
        network,
        EXAMPLE,
        images=Images(digits, seed),
        steps=steps,
        rate=RATE,
        outputs={"0": "logits"},
    )


def cut(network: nn.Module) -> nn.Module:
    """Return the network with the filters taken out that ``recover`` zeroes, nothing learnt."""
    soft = copy.deepcopy(network)
    tc.SoftPruner(soft, EXAMPLE, rate=RATE).hold()
    return tc.shrink(soft, EXAMPLE).network


def torch_pruned(network: nn.Module, way: str) -> nn.Module:
    """Return what Torch-Pruning leaves of a network at the same rate, as its README does."""
    small = copy.deepcopy(network)
    last = [module for module in small.modules() if isinstance(module, nn.Linear)][-1]
    make, importance = {
        "tp-magnitude": (tp.pruner.BasePruner, tp.importance.MagnitudeImportance(p=2)),
        "tp-group-norm": (tp.pruner.GroupNormPruner, tp.importance.GroupMagnitudeImportance(p=2)),
    }[way]
    pruner = make(small, (EXAMPLE,), importance, pruning_ratio=RATE, ignored_layers=[last])
    pruner.step()
    return small


def without(part: str) -> ExitStack:
    """Leave a part of ``recover`` out while this is open."""
    stack, share = ExitStack(), PARTS.get(part)
    if part == "recover, no solving":
        stack.enter_context(mock.patch.object(running, "_solve"))
    if share is not None:
        stack.enter_context(mock.patch.object(plan, "LOCAL_SHARE", share))
    return stack


def measured(
    method: str, network: nn.Module, digits: Digits, seed: int, seconds: float, lr: float
) -> dict[str, Any]:
    """Return what a method makes of a network in so many CPU seconds."""
    if not method.startswith("recover"):
        small = cut(network) if method == "fine-tuned" else torch_pruned(network, method)
        pruned, began = digits.top1(small), time.process_time()
        learn(small, digits, seed, lr, lambda _: (time.process_time() - began) / seconds)
        return _record(small, digits, pruned, time.process_time() - began)
    with without(method):
        steps = 1
        if "alone" not in method:
            fixed, each = _pace(network, digits, seed)
            steps = max(2, round((seconds - fixed) / each))
        began = time.process_time()
        student = recovered(network, digits, seed, steps)
        spent = time.process_time() - began
    small = tc.shrink(student, EXAMPLE).network
    return _record(small, digits, digits.top1(cut(network)), spent) | {"steps": steps}


def _pace(network: nn.Module, digits: Digits, seed: int) -> tuple[float, float]:
    """Return the CPU seconds before the first step, and of each."""
    spent = []
    recovered(network, digits, seed, 2)  # what is done once a process
    for steps in (2, PACE_STEPS):
        began = time.process_time()
        recovered(network, digits, seed, steps)
        spent.append(time.process_time() - began)
    each = (spent[1] - spent[0]) / (PACE_STEPS - 2)
    return max(0.0, spent[0] - 2 * each), each


def _record(small: nn.Module, digits: Digits, pruned: float, spent: float) -> dict[str, Any]:
    count = sum(parameter.numel() for parameter in small.parameters())
    return {
        "parameters": count,
        "pruned": pruned,
        "after": digits.top1(small),
        "cpu_seconds": round(spent, 1),
    }


def main() -> None:
    """Measure what is not measured yet, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/recovery"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *PARTS), default=METHODS)
    parser.add_argument("--seconds", nargs="+", type=float, default=[15, 60])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--lr", type=float, default=4e-3, help="of fine-tuning")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    digits, rows = Digits(), list[dict[str, Any]]()
    for seconds in given.seconds:
        for name in given.networks:
            for seed in given.seeds:  # all methods in turn
                network = trained(name, seed, digits, given.out)
                for method in given.methods:
                    path = given.out / f"{name}-{seed}-{method}-{seconds:g}.json"
                    if not path.exists():
                        found = measured(method, network, digits, seed, seconds, given.lr)
                        found |= {"before": digits.top1(network)}
                        found |= {"whole": sum(p.numel() for p in network.parameters())}
                        path.write_text(json.dumps(found))
                    record = {"network": name, "method": method, "asked": seconds, "seed": seed}
                    rows.append(record | json.loads(path.read_text()))
                    print(rows[-1], flush=True)
    print(table(rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return means over seeds as Markdown."""
    lines = [
        "| network | method | CPU s | parameters | before | pruned | after | back |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    keys = dict.fromkeys((row["network"], row["asked"], row["method"]) for row in rows)
    for key in keys:
        same = [row for row in rows if (row["network"], row["asked"], row["method"]) == key]
        mean = {
            name: statistics.fmean(row[name] for row in same)
            for name in ("cpu_seconds", "whole", "parameters", "before", "pruned", "after")
        }
        lines.append(
            f"| {key[0]} | {key[2]} | {mean['cpu_seconds']:.0f} | {mean['whole']:,.0f} -> "
            f"{mean['parameters']:,.0f} | {mean['before']:.4f} | {mean['pruned']:.4f} | "
            f"{mean['after']:.4f} | {mean['after'] / mean['before']:.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
