/*
 * What the versions of the interface do differently, behind one set of functions: counting instructions, an
 * instruction's bytes, registers.
 */
#ifndef SVMCONF_INTERFACE_H
#define SVMCONF_INTERFACE_H

#include <string.h>

#include "abi.h"

enum { CODE = 15, REGISTERS_TOLD = 6 }; /* bytes of an instruction; RAX, RBX, RCX, RDX, EFER, CS */

#if API >= 4
enum { COUNTED_TOGETHER = false };
static Counter counter;
static struct handle *handles[REGISTERS_TOLD];

static void make_counter(void)
{
    counter.board = qemu_plugin_scoreboard_new(sizeof(uint64_t));
}

static void count(struct instruction *instruction)
{
    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, ADD, counter, 1);
}

static uint64_t counted(unsigned cpu)
{
    return qemu_plugin_u64_get(counter, cpu);
}

static void find_registers(void)
{
    static const char *const names[] = {"rax", "rbx", "rcx", "rdx", "efer", "cs"};
    Array *all = qemu_plugin_get_registers();
    const Description *known = (const Description *)all->data;

    for (unsigned i = 0; i < all->length; i++)
        for (unsigned n = 0; n < REGISTERS_TOLD; n++)
            if (!strcmp(known[i].name, names[n]))
                handles[n] = known[i].handle;
}

static bool read_register(unsigned cpu, unsigned number, Bytes *into)
{
    (void)cpu;
    if (!handles[number])
        return false;
    qemu_plugin_read_register(handles[number], into);
    return true;
}

static size_t code_of(const struct instruction *instruction, uint8_t *into)
{
    return qemu_plugin_insn_data(instruction, into, CODE);
}
#else
enum { COUNTED_TOGETHER = true }; /* all processors: this interface has no counter for each */
static uint64_t counter;

static void make_counter(void)
{
}

static void count(struct instruction *instruction)
{
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD, &counter, 1);
}

static uint64_t counted(unsigned cpu)
{
    (void)cpu;
    return __atomic_load_n(&counter, __ATOMIC_RELAXED);
}

static void find_registers(void)
{
}

/* What an instruction of the same block has just put into a register may be missing: it is not brought up to date. */
static bool read_register(unsigned cpu, unsigned number, Bytes *into)
{
    static const int numbers[] = {0, 1, 2, 3, 32, 18}; /* as GDB counts them in QEMU's target description */

    if (!qemu_get_cpu || !x86_cpu_gdb_read_register)
        return false;
    x86_cpu_gdb_read_register(qemu_get_cpu(cpu), into, numbers[number]);
    return true;
}

static size_t code_of(const struct instruction *instruction, uint8_t *into)
{
    size_t size = qemu_plugin_insn_size(instruction);

    size = size < CODE ? size : CODE;
    memcpy(into, qemu_plugin_insn_data(instruction), size);
    return size;
}
#endif

#endif
