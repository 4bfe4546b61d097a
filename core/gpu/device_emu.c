/* Devices of the PTX emulator: launches run at once, findings of checked mode and faults are kept for the next device_sync. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/emu/emu.h"
#include "core/gpu/device_maker.h"

typedef struct EmuDevice {
    Device base;
    Emu *emu;
    bool is_checked, has_races;
    uint64_t seed, fuel;
    uint64_t *blocks, *chosen; /* what was asked for; those of them that a launch has */
    size_t blocks_n;
    DeviceCounts counts;
    EmuFinding findings[EMU_FINDINGS_MAX]; /* since the last sync, then those that it reported */
    unsigned findings_n, kept_n, reported_n;
} EmuDevice;

struct DeviceModule {
    EmuModule *module;
    char label[96];
};

/* A launch with its own copy of the argument values. */
typedef struct KeptLaunch {
    DeviceLaunch launch;
    const void **args;
    size_t *bytes;
    unsigned char *values;
} KeptLaunch;

struct DeviceGraph {
    int n;
    KeptLaunch *kept;
};

static_assert((int)DEVICE_CLASSES == (int)EMU_CLASSES, "instruction classes");
enum { EMULATED_SMS = 188 }; /* grids that ask for the number of SMs get an RTX PRO 6000's */

static void emu_close(Device *base)
{
    EmuDevice *d = (EmuDevice *)base;
    emu_free(d->emu);
    free(d->blocks);
    free(d);
}

static void emu_memory(Device *base, uint64_t *total, uint64_t *unused)
{
    (void)base;
    *total = *unused = 0;
}

static bool emu_dev_alloc(Device *base, const char *label, size_t bytes, DevicePtr *out, Err *err)
{
    EmuDevice *d = (EmuDevice *)base;
    return emu_alloc(d->emu, bytes, label, out, err) && emu_fill(d->emu, *out, 0, bytes, err);
}

static void emu_dev_free(Device *base, DevicePtr p)
{
    Err ignored;
    emu_release(((EmuDevice *)base)->emu, p, &ignored);
}

static bool emu_upload(Device *base, DevicePtr to, const void *from, size_t n, Err *err)
{
    return emu_write(((EmuDevice *)base)->emu, to, from, n, err);
}

static bool emu_download(Device *base, void *to, DevicePtr from, size_t n, Err *err)
{
    return emu_read(((EmuDevice *)base)->emu, to, from, n, err);
}

static bool emu_dev_fill(Device *base, DevicePtr to, unsigned char byte, size_t n, Err *err)
{
    return emu_fill(((EmuDevice *)base)->emu, to, byte, n, err);
}

static DeviceModule *emu_load(Device *base, const char *label, const char *ptx, const void *cubin, Err *err)
{
    (void)cubin;
    DeviceModule *m = calloc(1, sizeof *m);
    if (!m)
        return fail(err, E_MEMORY, "no memory for module %s", label), NULL;
    snprintf(m->label, sizeof m->label, "%s", label);
    m->module = emu_module_load(((EmuDevice *)base)->emu, ptx, strlen(ptx), err);
    if (!m->module) {
        err_in(err, "%s", label);
        free(m);
        return NULL;
    }
    return m;
}

static void emu_unload(Device *base, DeviceModule *m)
{
    (void)base;
    emu_module_unload(m->module);
    free(m);
}

static void keep_findings(EmuDevice *d, const EmuReport *report)
{
    if (report->findings_n && d->findings_n == 0)
        d->kept_n = d->reported_n = 0;
    for (unsigned i = 0; i < report->findings_n && d->kept_n < EMU_FINDINGS_MAX; i++)
        d->findings[d->kept_n++] = report->findings[i];
    d->findings_n += report->findings_n;
}

static void add_counts(DeviceCounts *to, const EmuCounts *c)
{
    to->launches++;
    to->blocks += c->blocks;
    to->instructions += c->instructions;
    to->lanes += c->lanes;
    for (int i = 0; i < DEVICE_CLASSES; i++)
        to->by_class[i] += c->by_class[i];
    to->global_requests += c->global_requests;
    to->global_sectors += c->global_sectors;
    to->global_bytes += c->global_bytes;
    to->shared_requests += c->shared_requests;
    to->shared_wavefronts += c->shared_wavefronts;
}

static bool emu_set_blocks(Device *base, const uint64_t *blocks, size_t n, Err *err)
{
    EmuDevice *d = (EmuDevice *)base;
    free(d->blocks);
    d->blocks_n = 0;
    d->blocks = n ? malloc(2 * n * sizeof *d->blocks) : NULL;
    if (n && !d->blocks)
        return fail(err, E_MEMORY, "no memory for a list of %zu blocks", n);
    d->blocks_n = n;
    d->chosen = d->blocks ? d->blocks + n : NULL;
    if (n)
        memcpy(d->blocks, blocks, n * sizeof *blocks);
    return true;
}

/* Fills in the blocks of a launch. */
static void choose_blocks(EmuDevice *d, EmuLaunch *launch)
{
    uint64_t total = 1;
    for (int i = 0; i < 3; i++)
        total *= launch->grid[i] ? launch->grid[i] : 1;
    launch->blocks = d->chosen;
    for (size_t i = 0; i < d->blocks_n; i++)
        if (d->blocks[i] < total)
            d->chosen[launch->blocks_n++] = d->blocks[i];
}

static bool emu_dev_launch(Device *base, const DeviceLaunch *l, Err *err)
{
    EmuDevice *d = (EmuDevice *)base;
    EmuArg args[128];
    if (l->args_n > (int)(sizeof args / sizeof *args))
        return fail(err, E_VALUE, "%s: expected at most 128 parameters, found %d", l->entry, l->args_n);
    const EmuFunc *func = emu_func(l->module->module, l->entry, err);
    if (!func)
        return err_in(err, "%s", l->module->label);
    size_t smem = l->smem + emu_func_info(func).smem_static_bytes;
    if (smem > base->arch->smem_block_max)
        return fail(err, E_VALUE, "%s: expected at most %zu bytes of shared memory, found %zu", l->entry, base->arch->smem_block_max, smem);
    for (int i = 0; i < l->args_n; i++)
        args[i] = (EmuArg){l->args[i], l->arg_bytes[i]};
    EmuLaunch launch = {.func = func, .smem_bytes = (uint32_t)l->smem, .args = args, .args_n = (unsigned)l->args_n,
                        .mode = d->is_checked ? EMU_CHECKED : EMU_FAST, .seed = d->seed, .fuel = d->fuel,
                        .races = d->has_races};
    for (int i = 0; i < 3; i++) {
        launch.grid[i] = l->grid[i];
        launch.block[i] = l->block[i];
    }
    choose_blocks(d, &launch);
    EmuReport *report = calloc(1, sizeof *report);
    if (!report)
        return fail(err, E_MEMORY, "no memory for a report");
    bool is_ok = emu_launch(d->emu, &launch, report, err);
    if (is_ok) {
        keep_findings(d, report);
        add_counts(&d->counts, &report->counts);
    }
    free(report);
    return is_ok;
}

static bool emu_sync(Device *base, Err *err)
{
    EmuDevice *d = (EmuDevice *)base;
    unsigned n = d->findings_n;
    d->findings_n = 0;
    if (n == 0)
        return true;
    d->reported_n = d->kept_n;
    if (n == 1)
        return fail(err, E_KERNEL, "%s", d->findings[0].text);
    return fail(err, E_KERNEL, "%s (and %u more findings)", d->findings[0].text, n - 1);
}

static const char *emu_dev_finding(const Device *base, int i)
{
    const EmuDevice *d = (const EmuDevice *)base;
    return i >= 0 && (unsigned)i < d->reported_n ? d->findings[i].text : NULL;
}

static void emu_set_schedule(Device *base, uint64_t seed, uint64_t fuel)
{
    EmuDevice *d = (EmuDevice *)base;
    d->seed = seed;
    d->fuel = fuel;
}

static void emu_set_races(Device *base, bool has_races)
{
    ((EmuDevice *)base)->has_races = has_races;
}

static void emu_take_counts(Device *base, DeviceCounts *out)
{
    EmuDevice *d = (EmuDevice *)base;
    *out = d->counts;
    d->counts = (DeviceCounts){0};
}

static bool emu_dev_poison(Device *base, DevicePtr to, size_t n, Err *err)
{
    EmuDevice *d = (EmuDevice *)base; /* where only some blocks run, a later launch reads what others would have written */
    return d->blocks_n ? emu_fill(d->emu, to, 0xFF, n, err) : emu_poison(d->emu, to, 0xFF, n, err);
}

static void drop_kept(KeptLaunch *k)
{
    free(k->args);
    free(k->bytes);
    free(k->values);
}

static bool keep_launch(const DeviceLaunch *from, KeptLaunch *to)
{
    size_t total = 0, n = (size_t)from->args_n;
    for (size_t i = 0; i < n; i++)
        total += from->arg_bytes[i];
    to->launch = *from;
    to->args = calloc(n + 1, sizeof *to->args);
    to->bytes = calloc(n + 1, sizeof *to->bytes);
    to->values = calloc(total + 1, 1);
    if (!to->args || !to->bytes || !to->values)
        return false;
    for (size_t i = 0, at = 0; i < n; i++) {
        to->args[i] = to->values + at;
        to->bytes[i] = from->arg_bytes[i];
        memcpy(to->values + at, from->args[i], from->arg_bytes[i]);
        at += from->arg_bytes[i];
    }
    to->launch.args = to->args;
    to->launch.arg_bytes = to->bytes;
    return true;
}

static void emu_graph_free(Device *base, DeviceGraph *g)
{
    (void)base;
    for (int i = 0; i < g->n; i++)
        drop_kept(&g->kept[i]);
    free(g->kept);
    free(g);
}

static DeviceGraph *emu_graph_new(Device *base, const DeviceLaunch *launches, int n, Err *err)
{
    DeviceGraph *g = calloc(1, sizeof *g);
    KeptLaunch *kept = calloc((size_t)n + 1, sizeof *kept);
    bool is_ok = g && kept;
    if (is_ok) {
        g->kept = kept;
        g->n = n;
        for (int i = 0; is_ok && i < n; i++)
            is_ok = keep_launch(&launches[i], &kept[i]);
    }
    if (is_ok)
        return g;
    if (g && g->kept) {
        emu_graph_free(base, g);
    } else {
        free(g);
        free(kept);
    }
    return fail(err, E_MEMORY, "no memory for a graph of %d launches", n), NULL;
}

static bool emu_graph_run(Device *base, DeviceGraph *g, Err *err)
{
    for (int i = 0; i < g->n; i++)
        if (!emu_dev_launch(base, &g->kept[i].launch, err))
            return false;
    return true;
}

static bool emu_time(Device *base, DeviceGraph *g, int rounds, int repeats, DeviceTime *out, Err *err)
{
    (void)g;
    (void)rounds;
    (void)repeats;
    (void)out;
    return fail(err, E_UNSUPPORTED, "%s: an emulator has no time of its own; a GPU measures", base->name);
}

static void emu_set_checked(Device *base, bool is_checked)
{
    ((EmuDevice *)base)->is_checked = is_checked;
}

static const DeviceOps emu_ops = {
    .close = emu_close, .memory = emu_memory, .alloc = emu_dev_alloc, .free = emu_dev_free, .upload = emu_upload,
    .download = emu_download, .fill = emu_dev_fill, .load = emu_load, .unload = emu_unload, .launch = emu_dev_launch, .sync = emu_sync,
    .graph_new = emu_graph_new, .graph_run = emu_graph_run, .graph_free = emu_graph_free, .time = emu_time,
    .set_checked = emu_set_checked, .set_schedule = emu_set_schedule,
    .set_blocks = emu_set_blocks, .set_races = emu_set_races, .take_counts = emu_take_counts, .finding = emu_dev_finding,
    .poison = emu_dev_poison,
};

Device *device_emu_open(const Arch *arch, Err *err)
{
    EmuDevice *d = calloc(1, sizeof *d);
    if (!d)
        return fail(err, E_MEMORY, "no memory for a device"), NULL;
    d->base = (Device){.ops = &emu_ops, .arch = arch, .sms = EMULATED_SMS, .is_emulated = true};
    snprintf(d->base.name, sizeof d->base.name, "emu:%s", arch->name);
    d->emu = emu_new(&(EmuDesc){.arch = arch->name}, err);
    if (!d->emu) {
        free(d);
        return NULL;
    }
    return &d->base;
}
