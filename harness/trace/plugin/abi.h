/*
 * The few items of QEMU's interface for TCG plugins that we use, declared in our own words, so that no file of QEMU's
 * is needed: https://www.qemu.org/docs/master/devel/tcg-plugins.html
 *
 * API is the version of that interface: 1 (QEMU before 9.0), 4 (9.2 to 10.x) or 7 (from 11.0). What differs is hidden
 * here; the plugin sees one shape. None of it is ours to free.
 */
#ifndef SVMCONF_ABI_H
#define SVMCONF_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if API != 1 && API != 4 && API != 7
#error "no such version of the interface is known here"
#endif

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct block;       /* being translated; lives as long as the callback */
struct instruction; /* of a block; likewise */
struct handle;      /* a register */

/* GLib's growable arrays, of bytes and of anything; QEMU brings the functions. */
typedef struct { uint8_t *data; unsigned length; } Bytes;
typedef struct { char *data; unsigned length; } Array;
extern Bytes *g_byte_array_new(void);
extern Bytes *g_byte_array_set_size(Bytes *array, unsigned length);

/* What a callback may look at: nothing, or the processor's registers, which are then brought up to date for it. */
enum looks_at { NO_REGISTERS, REGISTERS };
enum inline_op { ADD };

extern size_t qemu_plugin_tb_n_insns(const struct block *);
extern struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
extern void *qemu_plugin_insn_haddr(const struct instruction *);
extern size_t qemu_plugin_insn_size(const struct instruction *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct instruction *, void (*)(unsigned, void *), enum looks_at,
                                                   void *);

/* Callbacks get the plugin's number first; from version 7 on they get a pointer of ours last instead. */
#if API >= 7
#define ON_BLOCK(name, block) name(struct block *block, void *unused)
#define ON_PROCESSOR(name, cpu) name(unsigned cpu, void *unused)
#define ON_END(name) name(void *unused)
#define NO_DATA , NULL
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(struct block *, void *), void *);
extern void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(unsigned, void *), void *);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(void *), void *);
#else
#define ON_BLOCK(name, block) name(plugin_id unused, struct block *block)
#define ON_PROCESSOR(name, cpu) name(plugin_id unused, unsigned cpu)
#define ON_END(name) name(plugin_id unused, void *unused_too)
#define NO_DATA
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
extern void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned));
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
#endif

#if API >= 4
/* A counter for each processor. */
typedef struct { struct scoreboard *board; size_t offset; } Counter;
extern struct scoreboard *qemu_plugin_scoreboard_new(size_t element);
extern uint64_t qemu_plugin_u64_get(Counter, unsigned cpu);
extern void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct instruction *, enum inline_op, Counter,
                                                                uint64_t);
extern size_t qemu_plugin_insn_data(const struct instruction *, void *, size_t);
extern int qemu_plugin_read_register(struct handle *, Bytes *); /* later a bool: the length says it, too */
extern Array *qemu_plugin_get_registers(void);
typedef struct {
    struct handle *handle;
    const char *name, *feature;
#if API >= 7
    bool read_only;
#endif
} Description;
#else
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct instruction *, enum inline_op, void *, uint64_t);
extern const void *qemu_plugin_insn_data(const struct instruction *);
/*
 * Version 1 shows no registers. A QEMU that is built of modules exports what its own gdbstub calls; one that is not
 * leaves these null, and registers are unknown.
 */
struct processor;
extern struct processor *qemu_get_cpu(int) __attribute__((weak));
extern int x86_cpu_gdb_read_register(struct processor *, Bytes *, int) __attribute__((weak));
#endif

#endif
