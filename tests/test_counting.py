"""The counting plugin: instructions told apart, and what it wrote read."""

from __future__ import annotations

import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from toolchain.arm.counting import read_counts, read_operators, read_stages
from toolchain.records.timings import Instructions, StageCounts

KINDS = ["multiply-add", "memory", "branch", "other"]
WORDS = {
    0x4E22CC20: "multiply-add",  # fmla v0.4s, v1.4s, v2.4s
    0x4EA2CC20: "multiply-add",  # fmls v0.4s, v1.4s, v2.4s
    0x4E420C20: "multiply-add",  # fmla v0.8h, v1.8h, v2.8h
    0x4F821020: "multiply-add",  # fmla v0.4s, v1.4s, v2.s[0]
    0x4FA21820: "multiply-add",  # fmla v0.4s, v1.4s, v2.s[3]
    0x1F020C20: "multiply-add",  # fmadd s0, s1, s2, s3
    0x4E829420: "multiply-add",  # sdot v0.4s, v1.16b, v2.16b
    0x6E829420: "multiply-add",  # udot v0.4s, v1.16b, v2.16b
    0x4F82E020: "multiply-add",  # sdot v0.4s, v1.16b, v2.4b[0]
    0x0E628020: "multiply-add",  # smlal v0.4s, v1.4h, v2.4h
    0x4EA29420: "multiply-add",  # mla v0.4s, v1.4s, v2.4s
    0x6E22DC20: "other",  # fmul v0.4s, v1.4s, v2.4s
    0x4E22D420: "other",  # fadd v0.4s, v1.4s, v2.4s
    0x8B020020: "other",  # add x0, x1, x2
    0x9B020C20: "other",  # madd x0, x1, x2, x3: of addresses
    0xF9400020: "memory",  # ldr x0, [x1]
    0xF9000020: "memory",  # str x0, [x1]
    0x3DC00020: "memory",  # ldr q0, [x1]
    0xA9400440: "memory",  # ldp x0, x1, [x2]
    0x4C407820: "memory",  # ld1 {v0.4s}, [x1]
    0x14000001: "branch",  # b
    0x54000020: "branch",  # b.eq
    0xB4000020: "branch",  # cbz x0
    0xD65F03C0: "branch",  # ret
}
NAMES = {
    "vmla.f32 q0, q1, d2[0]": "multiply-add",
    "vfma.f32 q0, q1, q2": "multiply-add",
    "vmlal.s16 q0, d1, d2": "multiply-add",
    "vldm r0!, {d0}": "memory",
    "ldrbne r0, [r1]": "memory",
    "push {r4, lr}": "memory",
    "str.w r0, [r1]": "memory",
    "b #4": "branch",
    "bls #4": "branch",
    "beq.w #4": "branch",
    "blx r3": "branch",
    "bxeq lr": "branch",
    "cbnz r0, #4": "branch",
    "bic r0, r1, r2": "other",
    "bfi r0, r1, #1, #2": "other",
    "vmul.f32 q0, q1, q2": "other",
    "mla r0, r1, r2, r3": "other",
}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_instructions_are_told_apart(tmp_path: Path) -> None:
    """The plugin's own function, on words of the assembler."""
    source = resources.files("toolchain.arm").joinpath("count.c").read_text(encoding="utf-8")
    words = ", ".join(map(hex, WORDS))
    names = ", ".join(f'"{name}"' for name in NAMES)
    program = f"""{source}
    void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t a, translated b) {{}}
    void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t a, called b) {{}}
    void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *a, enum qemu_plugin_op b,
                                                  void *c, uint64_t d) {{}}
    size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *a) {{ return 0; }}
    struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *a, size_t b)
    {{ return NULL; }}
    const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *a) {{ return NULL; }}
    char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *a) {{ return NULL; }}
    int main(void) {{
        uint32_t words[] = {{ {words} }};
        const char *names[] = {{ {names} }};
        for (size_t i = 0; i < sizeof words / 4; i++) printf("%d\\n", kind_of(words[i]));
        for (size_t i = 0; i < sizeof names / 8; i++) printf("%d\\n", kind_of_name(names[i]));
    }}"""
    (tmp_path / "test.c").write_text(program)
    subprocess.run(
        ["gcc", "-w", "-o", str(tmp_path / "test"), str(tmp_path / "test.c")], check=True
    )
    done = subprocess.run([str(tmp_path / "test")], capture_output=True, text=True, check=True)
    found = [KINDS[int(line)] for line in done.stdout.split()]
    assert dict(zip(map(hex, WORDS), found, strict=False)) == {
        hex(word): kind for word, kind in WORDS.items()
    }
    assert dict(zip(NAMES, found[len(WORDS) :], strict=True)) == NAMES


def test_what_the_plugin_wrote_is_read() -> None:
    lines = [
        "1 0 0 0 100", "2 0 5 0 600",  # opening
        "3 10 10 10 1000", "4 20 20 10 1100", "3 20 20 10 1200", "4 30 30 10 1290",
        # 90 between two readings before the first operator, 80 and 40 of the operators.
        "16 30 30 10 1900", "clock 30 30 10 1910", "clock 30 30 10 2000", "clock 30 30 10 2002",
        "clock 70 30 10 2042", "clock 70 30 10 2043", "clock 80 30 10 2073",
        "clock 80 30 10 2074", "17 80 30 10 2075",
    ]  # fmt: skip
    ran = [
        {"name": "a", "type": "Conv", "microseconds": 20},
        {"name": "b", "type": "Add", "microseconds": 11},
    ]
    found = read_counts("\n".join(lines), ran)
    assert found.opening == Instructions(0, 5, 0, 500)
    assert found.inference == Instructions(10, 10, 0, 90)
    # 80 and 40 between the readings, 10 over the inference's 110: 5 of each are the profiler's.
    assert [(each.name, each.type, each.instructions) for each in found.operators] == [
        ("a", "Conv", 75), ("b", "Add", 35),
    ]  # fmt: skip
    assert read_counts("\n".join(lines), ran * 4).operators == ()  # fewer readings than they need
    assert read_counts("\n".join(lines), ran[1:]).operators == ()  # most is not told
    strange = [{**each, "microseconds": time} for each, time in zip(ran, (0, 30), strict=True)]
    assert read_counts("\n".join(lines), strange).operators == ()  # times that go with no pairs


def profile(*spent: int, before: int = 0, after: int = 0, between: int = 1) -> list[str]:
    """The plugin's lines of one run: two readings an operator, some before the first and after."""
    lines, now = ["16 0 0 0 0"], 0
    for pause in range(before):
        now += 1000 * (pause + 1)
        lines.append(f"clock 0 0 0 {now}")
    for count in spent:
        lines += [f"clock 0 0 0 {now + between}", f"clock 0 0 0 {now + between + count}"]
        now += between + 1 + count
    return [*lines, *([f"clock 0 0 0 {now + 1}"] * after), f"17 0 0 0 {now + 1}"]


def ran(*microseconds: float) -> list[dict[str, object]]:
    return [
        {"name": f"n{i}", "type": "Conv", "microseconds": spent, "inputs": [[1]], "outputs": [[2]]}
        for i, spent in enumerate(microseconds)
    ]


def test_of_several_runs_of_a_file_each_operators_fewest_stand() -> None:
    lines = [
        "3 0 0 0 0", "4 0 0 0 1000",
        *profile(410, 610, before=2), *profile(900, 615, before=2, after=1),  # another thread's 490
        *profile(210, 110, before=2), *profile(205, 120, before=2),
    ]  # fmt: skip
    files = [[ran(40, 60), ran(41, 61)], [ran(20, 11), ran(900, 1)]]  # one run was held up
    first, second = read_operators("\n".join(lines), files)
    # 410 + 610 over the 1,000 of the inference: 10 of each are the profiler's, in all files.
    assert [each.instructions for each in first.operators] == [400, 600]
    assert [each.instructions for each in second.operators] == [195, 100]
    assert second.shapes == ((1, ((2,),)), (1, ((2,),)))
    with pytest.raises(ValueError, match="cannot be told apart"):
        read_operators("\n".join(lines[:-1]), [files[0]])
    with pytest.raises(ValueError, match="cannot be told apart"):
        read_operators("\n".join(lines), [[ran(0, 0)] * 2] * 2)


def test_what_lies_between_operators_is_not_taken_for_them() -> None:
    """Though it goes better with the times, which the emulator's own work has evened out."""
    lines = ["3 0 0 0 0", "4 0 0 0 980", *profile(800, 200, before=1, after=1, between=50)]
    (found,) = read_operators("\n".join(lines), [[ran(10, 10)]])
    assert [each.instructions for each in found.operators] == [790, 190]


def test_the_fewest_of_each_stage_stand() -> None:
    ends = [(0, 10), (20, 120), (130, 135), (200, 209), (220, 325), (330, 337)]
    lines = [f"{mark} 0 0 0 {at}" for pair in ends for mark, at in zip("34", pair, strict=True)]
    found = read_stages("\n".join(lines))
    assert found == StageCounts(fitting=9, network=100, decoding=5)
    assert found.outside == 0.14
