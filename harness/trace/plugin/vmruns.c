/*
 * A TCG plugin for QEMU that tells of every VMRUN and every #VMEXIT of whatever runs, how many instructions were
 * executed before it, and what changed in the VMCB. It changes nothing in the machine.
 *
 * Arguments: out=PATH, where events are written; ram=PATH and size=N, the file that backs the machine's memory from
 * physical address 0, and how many bytes of it.
 *
 * An event is a struct event and its words; harness/trace/stream.py reads them.
 *
 * How a #VMEXIT is seen: it resumes the host behind its VMRUN (APM vol. 2, 15.6). So an instruction that stands behind a
 * VMRUN, in memory as well as in linear addresses, and is executed after that VMRUN was, ends a guest. A VMRUN that
 * faults, and one that a guest tries and that is intercepted, have no such end, unless a handler skips it; who reads the
 * events tells them apart.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "abi.h"
#include "interface.h"

EXPORT int qemu_plugin_version = API;

enum { PAGE = 4096, WORDS = PAGE / 8, CPUS = 64, DEPTH = 8, COPIES = 64 };

enum kind { VMRUN = 1, VMEXIT = 2, END = 3 };
enum flag {
    HAS_REGISTERS = 1, /* `registers` holds something */
    HAS_VMCB = 2,      /* the page at rAX could be read; its words follow */
    WHOLE = 4,         /* ... all that are not 0, rather than those that changed since the last event about it */
    TOGETHER = 8       /* `instructions` are those of all processors */
};

struct event {
    uint8_t kind, cpu;
    uint16_t flags;
    uint32_t words;
    uint64_t nanoseconds;
    uint64_t instructions; /* that this processor began before this one (see TOGETHER) */
    uint64_t rip;
    uint64_t registers[REGISTERS_TOLD]; /* RAX, RBX, RCX, RDX, EFER, CS */
};

struct word {
    uint16_t number;
    uint64_t value;
} __attribute__((packed));

/* Where an instruction stands: its linear address, and its place in our own address space (null when not in RAM). */
struct place {
    uint64_t linear;
    const uint8_t *memory;
    struct place *next;
};

struct copy {
    uint64_t address;
    bool used;
    uint64_t words[WORDS];
};

static const uint8_t *ram;
static uint64_t ram_size;
static int out = -1;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct place *places; /* every one that was handed to a callback; never freed */
static struct place *under_way[CPUS][DEPTH]; /* behind the VMRUNs that have not come back, the latest last */
static unsigned depth[CPUS];
static struct copy copies[COPIES];
static unsigned next_copy;
static unsigned cpus;
static struct { struct event event; struct word words[WORDS]; } message;

static bool read_registers(unsigned cpu, uint64_t *into)
{
    static Bytes *bytes; /* under the lock, as all that follows */

    if (!bytes)
        bytes = g_byte_array_new();
    for (unsigned n = 0; n < REGISTERS_TOLD; n++) {
        g_byte_array_set_size(bytes, 0);
        if (!read_register(cpu, n, bytes) || bytes->length > sizeof *into)
            return false;
        into[n] = 0;
        memcpy(&into[n], bytes->data, bytes->length);
    }
    return true;
}

/* Events */

static void send(const void *data, size_t size)
{
    for (const char *at = data; out >= 0 && size;) {
        ssize_t written = write(out, at, size);

        if (written >= 0)
            at += written, size -= written;
        else if (errno != EINTR)
            out = -1; /* nobody listens any longer */
    }
}

static struct copy *copy_of(uint64_t address)
{
    for (unsigned i = 0; i < COPIES; i++)
        if (copies[i].used && copies[i].address == address)
            return &copies[i];
    struct copy *oldest = &copies[next_copy++ % COPIES];
    memset(oldest, 0, sizeof *oldest);
    oldest->address = address;
    return oldest;
}

/* Put the words of the page at `address` that changed into the message. */
static void compare(uint64_t address)
{
    if (!ram || address % PAGE || address > ram_size - PAGE)
        return;
    struct copy *copy = copy_of(address);
    const uint64_t *now = (const uint64_t *)(ram + address);

    message.event.flags |= HAS_VMCB | (copy->used ? 0 : WHOLE);
    copy->used = true;
    if (!memcmp(copy->words, now, PAGE))
        return;
    for (unsigned i = 0; i < WORDS; i++)
        if (copy->words[i] != now[i]) {
            copy->words[i] = now[i];
            message.words[message.event.words++] = (struct word){i, copy->words[i]};
        }
}

static void tell(enum kind kind, unsigned cpu, uint64_t rip)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    message.event = (struct event){
        .kind = kind,
        .cpu = cpu,
        .flags = COUNTED_TOGETHER ? TOGETHER : 0,
        .nanoseconds = now.tv_sec * 1000000000ull + now.tv_nsec,
        .instructions = counted(cpu),
        .rip = rip,
    };
    if (kind != END && read_registers(cpu, message.event.registers)) {
        message.event.flags |= HAS_REGISTERS;
        compare(message.event.registers[0]);
    }
    send(&message, sizeof message.event + message.event.words * sizeof(struct word));
}

/* What is executed */

static bool same(const struct place *one, const struct place *other)
{
    return one->linear == other->linear && one->memory == other->memory;
}

/* How many VMRUNs were under way below the one that leads to `behind`; `depth` when it is not under way. */
static unsigned level(unsigned cpu, const struct place *behind)
{
    unsigned n = 0;

    while (n < depth[cpu] && !same(under_way[cpu][n], behind))
        n++;
    return n;
}

/* `data`: the place behind this VMRUN. One that is under way already has failed. */
static void on_vmrun(unsigned cpu, void *data)
{
    struct place *behind = data;

    if (cpu >= CPUS)
        return;
    pthread_mutex_lock(&lock);
    depth[cpu] = level(cpu, behind);
    if (depth[cpu] == DEPTH) /* places that all failed: the oldest is the least likely to come back */
        memmove(under_way[cpu], under_way[cpu] + 1, --depth[cpu] * sizeof behind);
    under_way[cpu][depth[cpu]++] = behind;
    tell(VMRUN, cpu, behind->linear);
    pthread_mutex_unlock(&lock);
}

/* `data`: the place of this instruction, which stands behind a VMRUN. */
static void on_behind(unsigned cpu, void *data)
{
    if (cpu >= CPUS)
        return;
    pthread_mutex_lock(&lock);
    unsigned found = level(cpu, data);
    if (found < depth[cpu]) {
        depth[cpu] = found;
        tell(VMEXIT, cpu, ((struct place *)data)->linear);
    }
    pthread_mutex_unlock(&lock);
}

/* What is translated */

static bool is_vmrun(const uint8_t *code)
{
    return code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xd8;
}

/* The one place there is for these addresses: places are compared, and must not pile up. */
static struct place *kept(uint64_t linear, const uint8_t *memory)
{
    static struct place pool[1024];
    static unsigned used;
    struct place wanted = {linear, memory, NULL};
    struct place *found;

    pthread_mutex_lock(&lock);
    for (found = places; found && !same(found, &wanted);)
        found = found->next;
    if (!found && used < sizeof pool / sizeof *pool) {
        found = &pool[used++];
        *found = (struct place){linear, memory, places};
        places = found;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

/* Whether a VMRUN stands before this instruction: its bytes, or, at the start of a page, one that was translated. */
static struct place *behind_vmrun(uint64_t linear, const uint8_t *memory)
{
    if (memory && linear % PAGE >= 3)
        return is_vmrun(memory - 3) ? kept(linear, memory) : NULL;
    struct place *found;
    struct place wanted = {linear, memory, NULL};

    pthread_mutex_lock(&lock);
    for (found = places; found && found->linear != wanted.linear;)
        found = found->next;
    pthread_mutex_unlock(&lock);
    return found;
}

static void ON_BLOCK(on_translation, block)
{
    size_t size = qemu_plugin_tb_n_insns(block);

    for (size_t i = 0; i < size; i++) {
        struct instruction *one = qemu_plugin_tb_get_insn(block, i);
        uint64_t linear = qemu_plugin_insn_vaddr(one);
        const uint8_t *memory = qemu_plugin_insn_haddr(one);
        uint8_t code[CODE] = {0};
        size_t length = code_of(one, code);
        struct place *place;

        if (i == 0 && (place = behind_vmrun(linear, memory))) /* VMRUN ends its block */
            qemu_plugin_register_vcpu_insn_exec_cb(one, on_behind, REGISTERS, place);
        if (length >= 3 && is_vmrun(code + length - 3) &&
            (place = kept(linear + length, memory ? memory + length : NULL)))
            qemu_plugin_register_vcpu_insn_exec_cb(one, on_vmrun, REGISTERS, place);
        count(one); /* last: a callback sees what was counted before this one */
    }
    (void)unused;
}

static void ON_PROCESSOR(on_processor, cpu)
{
    pthread_mutex_lock(&lock);
    if (cpu >= cpus)
        cpus = cpu + 1;
    find_registers();
    pthread_mutex_unlock(&lock);
    (void)unused;
}

static void ON_END(on_end)
{
    pthread_mutex_lock(&lock);
    for (unsigned cpu = 0; cpu < cpus && cpu < CPUS; cpu++)
        tell(END, cpu, 0);
    pthread_mutex_unlock(&lock);
    (void)unused;
#if API < 7
    (void)unused_too;
#endif
}

static uint64_t number(const char *text)
{
    uint64_t value = 0;

    while (*text >= '0' && *text <= '9')
        value = 10 * value + (*text++ - '0');
    return value;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *about, int argc, char **argv)
{
    const char *path = NULL;

    (void)about;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4))
            out = open(argv[i] + 4, O_WRONLY | O_CLOEXEC);
        else if (!strncmp(argv[i], "ram=", 4))
            path = argv[i] + 4;
        else if (!strncmp(argv[i], "size=", 5))
            ram_size = number(argv[i] + 5);
    }
    if (out < 0)
        return -1;
    if (path && ram_size >= PAGE) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        void *map = file < 0 ? MAP_FAILED : mmap(NULL, ram_size, PROT_READ, MAP_SHARED, file, 0);

        if (map == MAP_FAILED)
            return -1;
        close(file);
        ram = map;
    }
    make_counter();
    qemu_plugin_register_vcpu_init_cb(id, on_processor NO_DATA);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation NO_DATA);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
