#include "core/gpu/device.h"

#include <stdlib.h>
#include <string.h>

#include "core/gpu/device_maker.h"

Device *device_open(const char *name, Err *err)
{
    char why[300];
    if (strcmp(name, "auto") == 0)
        return device_cuda_count(why, sizeof why) > 0 ? device_cuda_open(0, err) : device_emu_open(arch_find("sm_120a"), err);
    if (strncmp(name, "cuda:", 5) == 0) {
        char *end;
        long ordinal = strtol(name + 5, &end, 10);
        if (name[5] && !*end && ordinal >= 0 && ordinal < 1024)
            return device_cuda_open((int)ordinal, err);
    }
    if (strncmp(name, "emu:", 4) == 0) {
        const Arch *arch = arch_find(name + 4);
        if (arch)
            return device_emu_open(arch, err);
    }
    fail(err, E_USAGE,
         "device: expected auto, cuda:N or emu:ARCH with ARCH one of sm_80, sm_90, sm_120a, sm_121a; found \"%s\"", name);
    return NULL;
}

void device_close(Device *d)
{
    if (d)
        d->ops->close(d);
}

const Arch *device_arch(const Device *d)
{
    return d->arch;
}

const char *device_name(const Device *d)
{
    return d->name;
}

bool device_is_emulated(const Device *d)
{
    return d->is_emulated;
}

int device_sms(const Device *d)
{
    return d->sms;
}

void device_memory(Device *d, uint64_t *total, uint64_t *unused)
{
    d->ops->memory(d, total, unused);
}

void device_set_checked(Device *d, bool is_checked)
{
    d->ops->set_checked(d, is_checked);
}

void device_set_schedule(Device *d, uint64_t seed, uint64_t fuel)
{
    if (d->ops->set_schedule)
        d->ops->set_schedule(d, seed, fuel);
}

void device_set_races(Device *d, bool has_races)
{
    if (d->ops->set_races)
        d->ops->set_races(d, has_races);
}

bool device_set_blocks(Device *d, const uint64_t *blocks, size_t n, Err *err)
{
    return !d->ops->set_blocks || d->ops->set_blocks(d, blocks, n, err);
}

void device_take_counts(Device *d, DeviceCounts *out)
{
    *out = (DeviceCounts){0};
    if (d->ops->take_counts)
        d->ops->take_counts(d, out);
}

const char *device_finding(const Device *d, int i)
{
    return d->ops->finding ? d->ops->finding(d, i) : NULL;
}

bool device_alloc(Device *d, const char *label, size_t bytes, DevicePtr *out, Err *err)
{
    return d->ops->alloc(d, label, bytes ? bytes : 1, out, err);
}

void device_free(Device *d, DevicePtr p)
{
    if (p)
        d->ops->free(d, p);
}

bool device_upload(Device *d, DevicePtr to, const void *from, size_t n, Err *err)
{
    return n == 0 || d->ops->upload(d, to, from, n, err);
}

bool device_download(Device *d, void *to, DevicePtr from, size_t n, Err *err)
{
    return n == 0 || d->ops->download(d, to, from, n, err);
}

bool device_fill(Device *d, DevicePtr to, unsigned char byte, size_t n, Err *err)
{
    return n == 0 || d->ops->fill(d, to, byte, n, err);
}

bool device_poison(Device *d, DevicePtr to, size_t n, Err *err)
{
    return n == 0 || (d->ops->poison ? d->ops->poison(d, to, n, err) : d->ops->fill(d, to, 0xFF, n, err));
}

DeviceModule *device_load(Device *d, const char *label, const char *ptx, const void *cubin, Err *err)
{
    return d->ops->load(d, label, ptx, cubin, err);
}

void device_unload(Device *d, DeviceModule *m)
{
    if (m)
        d->ops->unload(d, m);
}

bool device_launch(Device *d, const DeviceLaunch *launch, Err *err)
{
    return d->ops->launch(d, launch, err);
}

bool device_sync(Device *d, Err *err)
{
    return d->ops->sync(d, err);
}

DeviceGraph *device_graph_new(Device *d, const DeviceLaunch *launches, int n, Err *err)
{
    return d->ops->graph_new(d, launches, n, err);
}

bool device_graph_run(Device *d, DeviceGraph *g, Err *err)
{
    return d->ops->graph_run(d, g, err);
}

void device_graph_free(Device *d, DeviceGraph *g)
{
    if (g)
        d->ops->graph_free(d, g);
}

bool device_time(Device *d, DeviceGraph *g, int rounds, int repeats, DeviceTime *out, Err *err)
{
    return d->ops->time(d, g, rounds, repeats, out, err);
}
