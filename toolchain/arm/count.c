/* A plugin for QEMU's user mode (plugin interface 1, QEMU 7.2): counts the instructions that an
 * AArch64 guest executes between two calls of getpriority(2) whose second argument is a marker.
 *
 * out=FILE takes a line per stretch: multiply-add, load or store, branch, other.
 *
 * Debian ships no header of the interface, so the few functions that are used are declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define GETPRIORITY 141
#define BEGIN 0x5EED01u
#define END 0x5EED02u

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*called)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t,
                       uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translated);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, called);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *,
                                              uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = 1;

enum { MULTIPLY_ADD, MEMORY, BRANCH, OTHER, KINDS };
static uint64_t executed[KINDS], before[KINDS];
static FILE *out;

/* Encodings of the Arm Architecture Reference Manual: vector and by-element forms. */
static const struct { uint32_t mask, value; } multiply_adds[] = {
    {0xBFA0FC00, 0x0E20CC00}, {0xBFA0FC00, 0x0EA0CC00}, /* FMLA, FMLS */
    {0xBFE0FC00, 0x0E400C00}, {0xBFE0FC00, 0x0EC00C00}, /* the same of half precision */
    {0xBF80F400, 0x0F801000}, {0xBF80F400, 0x0F805000}, /* FMLA, FMLS by element */
    {0xBFC0F400, 0x0F001000}, {0xBFC0F400, 0x0F005000}, /* the same of half precision */
    {0xFF000000, 0x1F000000},                           /* FMADD and its kin */
    {0x9F20FC00, 0x0E208000}, {0x9F20FC00, 0x0E20A000}, /* SMLAL, SMLSL, and unsigned */
    {0x9F00F400, 0x0F002000}, {0x9F00F400, 0x0F006000}, /* the same by element */
    {0x9F20FC00, 0x0E209400}, {0xBF00F400, 0x2F000000}, /* MLA, MLS; MLA by element */
    {0x9F20FC00, 0x0E009400}, {0x9F00F400, 0x0F00E000}, /* SDOT, UDOT, by element */
};

static int kind_of(uint32_t word)
{
    for (size_t i = 0; i < sizeof multiply_adds / sizeof multiply_adds[0]; i++)
        if ((word & multiply_adds[i].mask) == multiply_adds[i].value)
            return MULTIPLY_ADD;
    uint32_t group = (word >> 25) & 15;
    if ((group & 5) == 4)
        return MEMORY;
    return (group & 14) == 10 ? BRANCH : OTHER;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    uint64_t found[KINDS] = {0};
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof word);
        found[kind_of(word)]++;
    }
    for (int kind = 0; kind < KINDS; kind++)
        if (found[kind])
            qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64,
                                                     &executed[kind], found[kind]);
}

static void on_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a1, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != GETPRIORITY)
        return;
    if ((uint32_t)a2 == BEGIN)
        memcpy(before, executed, sizeof before);
    if ((uint32_t)a2 == END) {
        for (int kind = 0; kind < KINDS; kind++)
            fprintf(out, "%" PRIu64 "%c", executed[kind] - before[kind],
                    kind == KINDS - 1 ? '\n' : ' ');
        fflush(out);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments)
{
    (void)info;
    for (int i = 0; i < count; i++)
        if (!strncmp(arguments[i], "out=", 4))
            out = fopen(arguments[i] + 4, "w");
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
