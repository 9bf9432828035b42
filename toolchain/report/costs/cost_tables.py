"""What every width of every group costs, and a plan of widths made of that."""

from __future__ import annotations

from toolchain.records.cost_tables import CostReport, GroupCost, PlannedGroup, WidthPlan
from toolchain.report import wording
from toolchain.report.charts.bars import Segment, legend, stacked, stairs
from toolchain.report.document import model as doc


def cost_document(report: CostReport) -> doc.Document:
    """Return every group's costs."""
    title = f"What widths cost: {report.model} on {report.name}"
    words = doc.Paragraph(_cost_words(report))
    return doc.Document(
        title,
        title,
        "",
        (),
        (
            doc.Section("stairs", "Instructions per group and width", (words, _all_stairs(report))),
            doc.Section("numbers", "In numbers", (_numbers(report),)),
        ),
    )


def _all_stairs(report: CostReport) -> doc.Figure:
    ranked = sorted(report.groups, key=lambda each: -each.instructions[-1])
    return doc.Figure(
        "A bar for every width that was measured, narrowest first: millions of instructions of "
        "the operators that touch the group, all other groups whole.",
        bars=tuple(
            doc.Bar(_group(each.group, each.layers), _stairs(each), _ends(each)) for each in ranked
        ),
        legend=legend(
            ("live", "every wider one costs more"), ("removed_live", "a wider one costs no more")
        ),
    )


def _group(group: str, layers: tuple[str, ...]) -> doc.Words:
    more = doc.Small(f" and {len(layers) - 1} more") if len(layers) > 1 else ""
    return (doc.Code(group), " " if more else "", more)


def _stairs(measured: GroupCost) -> doc.Drawing:
    most = max(measured.instructions)
    pairs = list(zip(measured.widths, measured.instructions, strict=True))
    steps = [
        (
            "live" if width in measured.steps else "removed_live",
            cost / most,
            f"{width}: {wording.count(cost)}",
        )
        for width, cost in pairs
    ]
    words = ", ".join(f"{width}: {_millions(cost)}" for width, cost in pairs)
    return stairs(words, steps)


def _ends(measured: GroupCost) -> str:
    return f"{_millions(measured.instructions[0])} to {_millions(measured.instructions[-1])}"


def _millions(cost: int) -> str:
    return f"{cost / 1e6:.2f} M"


def _numbers(report: CostReport) -> doc.Table:
    rows = tuple(
        (
            doc.Code(each.group),
            str(each.width),
            wording.count(each.instructions[-1]),
            ", ".join(map(str, each.steps)),
        )
        for each in report.groups
    )
    head = ("group", "filters", "instructions when whole", "widths worth having")
    return doc.Table("Groups", head, rows, (1, 2))


def _cost_words(report: CostReport) -> str:
    return (
        f"{report.name}, {report.core} under QEMU, {report.runtime}, input "
        f"{wording.shape(report.size)}, one thread: {report.instructions:,} instructions of one "
        f"inference by {report.operators} operators, {report.fixed / report.instructions:.1%} of "
        f"them by operators that no width changes. An operator that touches two groups counts in "
        f"both. A single operator is right to a few thousand instructions."
    )


def plan_document(plan: WidthPlan) -> doc.Document:
    """Return every group's width before and after, and what that costs and loses."""
    on = "" if plan.board is None else f" on {plan.board.name}"
    title = f"A plan for {plan.model}{on}"
    result = (doc.Paragraph(plan_words(plan)), *_results(plan))
    groups = tuple(
        (doc.Code(each.group), str(each.before), str(each.after), f"{each.kept:.1%}")
        for each in plan.groups
    )
    table = doc.Table("Groups", ("group", "filters", "stay", "kept"), groups, (1, 2, 3))
    return doc.Document(
        title,
        title,
        "",
        (),
        (
            doc.Section("result", "Predicted and measured", result),
            doc.Section("widths", "Widths", (_widths(plan), table)),
        ),
    )


def plan_words(plan: WidthPlan) -> str:
    """Return how far off the prediction was, and the conditions, in a few sentences."""
    return (
        f"Budget {plan.budget:,} {plan.unit}, predicted {plan.predicted:,}, measured after "
        f"shrinking and exporting {plan.measured:,}: the prediction was off by {plan.error:+.2%}. "
        f"{_conditions(plan)} Which filters go is by {plan.criterion}; what that loses was seen on "
        f"{plan.looked_at}, before any training: average precision is not measured here."
    )


def _conditions(plan: WidthPlan) -> str:
    board = plan.board
    if board is None:
        return "Batch norm is folded in, and scalars outside layers are counted."
    size = wording.shape(board.size)
    return f"{board.name}, {board.core} under QEMU, {board.runtime}, input {size}, one thread."


def _results(plan: WidthPlan) -> tuple[doc.Block, ...]:
    rows = [
        _cost("unpruned", plan.unpruned, plan, "0"),
        _cost("plan, measured", plan.measured, plan, f"{plan.loss:.3f}"),
    ]
    if plan.uniform is not None:
        uniform = plan.uniform
        label = f"every group at rate {uniform.rate:.4g}"
        rows.append(_cost(label, uniform.cost, plan, f"{uniform.loss:.3f}"))
    rows.append(_cost("the least that widths need", plan.least, plan, ""))
    note = (
        "Kept is the share of the outputs' variance that is still explained when a group alone is "
        "narrowed, as the geometric mean over the outputs and their levels; lost is the sum over "
        "groups of its negative logarithm."
    )
    if plan.levels:
        weights = ", ".join(f"{weight:.2f}" for weight in plan.levels)
        note += f" Levels weigh {weights}, the finest first."
    head = ("widths", plan.unit, "share", "lost")
    return (doc.Table("Cost and loss", head, tuple(rows), (1, 2, 3)), doc.Paragraph(note))


def _cost(label: str, cost: int, plan: WidthPlan, lost: str) -> tuple[doc.Words, ...]:
    return (label, wording.count(cost), f"{cost / plan.unpruned:.3f}", lost)


def _widths(plan: WidthPlan) -> doc.Figure:
    return doc.Figure(
        "Filters of each group.",
        bars=tuple(
            doc.Bar(doc.Code(each.group), _kept(each), f"{each.before} → {each.after}")
            for each in plan.groups
        ),
        legend=legend(("live", "stays"), ("dropped", "goes")),
        told=True,
    )


def _kept(group: PlannedGroup) -> doc.Drawing:
    share = group.after / group.before
    words = f"{group.group}: {group.after} of {group.before} stay"
    return stacked(words, [Segment("live", share), Segment("dropped", 1 - share)])
