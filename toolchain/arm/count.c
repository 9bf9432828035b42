/* A plugin for QEMU's user mode (plugin interface 1, QEMU 7.2): counts the instructions that an Arm
 * guest, of 64 or 32 bits, has executed whenever it calls getpriority(2) with a marker.
 *
 * out=FILE takes a line per marker: its number, then multiply-add, load or store, branch, other,
 * since the start. Between the markers PROFILE and PROFILE + 1 every reading of the clock adds
 * a line "clock" with all four: so a runtime's own profiler, which reads the clock before and after
 * every operator, tells instructions in place of time.
 *
 * Debian ships no header of the interface, so the few functions that are used are declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MARKERS 0x5EED00u
#define PROFILE 0x10u

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
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);
typedef struct { const char *target_name; } qemu_info_t; /* what follows is not read */

EXPORT int qemu_plugin_version = 1;

enum { MULTIPLY_ADD, MEMORY, BRANCH, OTHER, KINDS };
static uint64_t executed[KINDS];
static FILE *out;
static bool is_64_bit, profiles;
static unsigned int profiled_cpu; /* the thread that called with PROFILE */

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

/* Names of 32-bit Arm instructions, in Arm's and in Thumb's encoding. */
static const char *const multiply_add_names[] = {"vmla", "vmls", "vfma", "vfms", "vsdot", "vudot"};
static const char *const memory_names[] = {"ldr", "ldm", "ldc", "str", "stm", "stc", "push", "pop",
                                           "vld", "vst", "vpush", "vpop", "swp"};
static const char *const branch_names[] = {"b", "bl", "bx", "blx", "bxj", "cbz", "cbnz", "tbb",
                                           "tbh"};
static const char *const conditions[] = {"", "eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi",
                                         "ls", "ge", "lt", "gt", "le", "al"};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static bool starts_with_one_of(const char *text, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strncmp(text, names[i], strlen(names[i])))
            return true;
    return false;
}

static bool is_branch(const char *name, size_t length)
{
    for (size_t i = 0; i < COUNT_OF(branch_names); i++)
        for (size_t j = 0; j < COUNT_OF(conditions); j++) {
            size_t stem = strlen(branch_names[i]);
            if (length == stem + strlen(conditions[j]) && !strncmp(name, branch_names[i], stem)
                && !strncmp(name + stem, conditions[j], length - stem))
                return true;
        }
    return false;
}

static int kind_of_name(const char *text)
{
    if (starts_with_one_of(text, multiply_add_names, COUNT_OF(multiply_add_names)))
        return MULTIPLY_ADD;
    if (starts_with_one_of(text, memory_names, COUNT_OF(memory_names)))
        return MEMORY;
    return is_branch(text, strcspn(text, " .\t")) ? BRANCH : OTHER;
}

static int kind_of_instruction(const struct qemu_plugin_insn *instruction)
{
    if (is_64_bit) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
        return kind_of(word);
    }
    char *text = qemu_plugin_insn_disas(instruction);
    int kind = text ? kind_of_name(text) : OTHER;
    free(text);
    return kind;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    uint64_t found[KINDS] = {0};
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++)
        found[kind_of_instruction(qemu_plugin_tb_get_insn(block, i))]++;
    for (int kind = 0; kind < KINDS; kind++)
        if (found[kind])
            qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64,
                                                     &executed[kind], found[kind]);
}

static void write_line(const char *name)
{
    fprintf(out, "%s", name);
    for (int kind = 0; kind < KINDS; kind++)
        fprintf(out, " %" PRIu64, executed[kind]);
    fputc('\n', out);
}

static void on_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)a1, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    /* clock_gettime(2), with 32 bits also clock_gettime64 */
    bool reads_clock = is_64_bit ? number == 113 : number == 263 || number == 403;
    if (profiles && reads_clock && cpu == profiled_cpu)
        write_line("clock");
    uint32_t marker = (uint32_t)a2 - MARKERS;
    if (number != (is_64_bit ? 141 : 96) || marker > 0xFF) /* getpriority(2) */
        return;
    char name[8];
    snprintf(name, sizeof name, "%u", marker);
    write_line(name);
    fflush(out);
    profiles = marker == PROFILE;
    profiled_cpu = cpu;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count,
                               char **arguments)
{
    is_64_bit = !strcmp(info->target_name, "aarch64");
    for (int i = 0; i < count; i++)
        if (!strncmp(arguments[i], "out=", 4))
            out = fopen(arguments[i] + 4, "w");
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
