/* What a maker of devices implements; included by device.c and the makers alone. Semantics: device.h. */
#ifndef CORE_GPU_DEVICE_MAKER_H
#define CORE_GPU_DEVICE_MAKER_H
#include "core/gpu/device.h"

typedef struct DeviceOps {
    void (*close)(Device *d);
    void (*memory)(Device *d, uint64_t *total, uint64_t *unused);
    bool (*alloc)(Device *d, const char *label, size_t bytes, DevicePtr *out, Err *err);
    void (*free)(Device *d, DevicePtr p);
    bool (*upload)(Device *d, DevicePtr to, const void *from, size_t n, Err *err);
    bool (*download)(Device *d, void *to, DevicePtr from, size_t n, Err *err);
    bool (*fill)(Device *d, DevicePtr to, unsigned char byte, size_t n, Err *err);
    DeviceModule *(*load)(Device *d, const char *label, const char *ptx, const void *cubin, Err *err);
    void (*unload)(Device *d, DeviceModule *m);
    bool (*launch)(Device *d, const DeviceLaunch *launch, Err *err);
    bool (*sync)(Device *d, Err *err);
    DeviceGraph *(*graph_new)(Device *d, const DeviceLaunch *launches, int n, Err *err);
    bool (*graph_run)(Device *d, DeviceGraph *g, Err *err);
    void (*graph_free)(Device *d, DeviceGraph *g);
    void (*set_checked)(Device *d, bool is_checked);
    /* The rest may be NULL: nothing to do, nothing to tell. */
    void (*set_schedule)(Device *d, uint64_t seed, uint64_t fuel);
    void (*set_races)(Device *d, bool has_races);
    bool (*set_blocks)(Device *d, const uint64_t *blocks, size_t n, Err *err);
    void (*take_counts)(Device *d, DeviceCounts *out);
    const char *(*finding)(const Device *d, int i);
    bool (*poison)(Device *d, DevicePtr to, size_t n, Err *err);
    bool (*time)(Device *d, DeviceGraph *g, int rounds, int repeats, DeviceTime *out, Err *err);
} DeviceOps;

struct Device { /* first member of a maker's own struct */
    const DeviceOps *ops;
    const Arch *arch;
    char name[128];
    int sms;
    bool is_emulated;
};

/* ordinal-th GPU; E_UNSUPPORTED with what is missing. */
Device *device_cuda_open(int ordinal, Err *err);
/* Number of GPUs that can be used, 0 with the reason in why. */
int device_cuda_count(char *why, size_t n);
Device *device_emu_open(const Arch *arch, Err *err);

#endif
