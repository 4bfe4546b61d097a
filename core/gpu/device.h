/* One interface to whatever runs kernels, two makers: cuda:N (the driver API, opened at run time) and emu:<arch> (the PTX
 * emulator). Work is ordered: every call sees what the calls before it did. Launches and graphs may return before they ran; a
 * fault of a kernel is reported by the next device_sync or transfer, with the kernel's name. Not thread-safe: one thread at a
 * time per device. */
#ifndef CORE_GPU_DEVICE_H
#define CORE_GPU_DEVICE_H
#include <stdint.h>

#include "core/base/err.h"
#include "core/gpu/arch.h"

typedef struct Device Device;
typedef struct DeviceModule DeviceModule; /* loaded code */
typedef struct DeviceGraph DeviceGraph;   /* a launch list: captured on CUDA, replayed in order by the emulator */
enum { DEVICE_CLASSES = 10 };
typedef uint64_t DevicePtr;               /* 0 is no memory */

/* "cuda:0", "emu:sm_120a" (…sm_121a, sm_90, sm_80), or "auto": a GPU if there is one, else emu:sm_120a.
 * E_USAGE for another spelling, E_UNSUPPORTED: no GPU, no driver, driver too old, an architecture without a row in arch.def. */
Device *device_open(const char *name, Err *err);
/* Frees what is still allocated. Takes NULL. */
void device_close(Device *d);
const Arch *device_arch(const Device *d);
/* "cuda:0 NVIDIA H100 80GB HBM3" or "emu:sm_120a". */
const char *device_name(const Device *d);
bool device_is_emulated(const Device *d);
int device_sms(const Device *d);
/* Memory clock etc. are the device's affair; total and free bytes of its memory. */
void device_memory(Device *d, uint64_t *total, uint64_t *unused);

/* Emulator: from now on launches run in checked mode, and device_sync reports what was found. CUDA: nothing to do. */
void device_set_checked(Device *d, bool is_checked);

/* Emulator: the order in which blocks, warps and parted lanes run is drawn from seed from now on (0: the plain order), to show what
 * depends on it; a block may execute fuel warp-instructions before it counts as hanging (0: the emulator's own limit). CUDA: nothing. */
void device_set_schedule(Device *d, uint64_t seed, uint64_t fuel);
/* Emulator: launches run only these blocks of theirs (linear numbers; those that a grid has not are left out), n = 0: all. Copies. */
bool device_set_blocks(Device *d, const uint64_t *blocks, size_t n, Err *err);
/* Emulator: checked mode also judges who meets whom in global memory; blocks then run one after another. */
void device_set_races(Device *d, bool has_races);
/* Emulator: what launches executed since the last call; memory traffic only in checked mode. CUDA: zeros. */
typedef struct DeviceCounts {
    uint64_t launches, blocks, instructions; /* instructions of warps */
    uint64_t lanes;                          /* of threads */
    uint64_t by_class[DEVICE_CLASSES];       /* of warps, by emu_class_name */
    uint64_t global_requests, global_sectors, global_bytes, shared_requests, shared_wavefronts;
} DeviceCounts;
void device_take_counts(Device *d, DeviceCounts *out);
/* Emulator: sentence i of those that the last failed device_sync is about; NULL behind the last (32 are kept). */
const char *device_finding(const Device *d, int i);

/* bytes of zeroed memory under a label that findings name. E_MEMORY says how much was wanted and free. */
bool device_alloc(Device *d, const char *label, size_t bytes, DevicePtr *out, Err *err);
void device_free(Device *d, DevicePtr p);
bool device_upload(Device *d, DevicePtr to, const void *from, size_t n, Err *err);
bool device_download(Device *d, void *to, DevicePtr from, size_t n, Err *err);
/* Fills with a byte. */
bool device_fill(Device *d, DevicePtr to, unsigned char byte, size_t n, Err *err);
/* Fills with 0xFF (NaN in bf16, f32 and e4m3); in checked mode reading these bytes before they are written is a finding. */
bool device_poison(Device *d, DevicePtr to, size_t n, Err *err);

/* Loads code made for device_arch(d): CUDA takes the cubin, the emulator the PTX. label names it in messages. */
DeviceModule *device_load(Device *d, const char *label, const char *ptx, const void *cubin, Err *err);
void device_unload(Device *d, DeviceModule *m);

typedef struct DeviceLaunch {
    DeviceModule *module;
    const char *entry;
    unsigned grid[3], block[3];
    size_t smem;               /* dynamic shared memory */
    const void *const *args;   /* one pointer to the value of each kernel parameter */
    const size_t *arg_bytes;   /* their sizes; the emulator checks them against the entry's parameters */
    int args_n;
} DeviceLaunch;

/* E_MISSING for an entry that is not there, E_VALUE for a launch that exceeds the device's limits. */
bool device_launch(Device *d, const DeviceLaunch *launch, Err *err);
/* Waits; E_KERNEL when a kernel faulted (CUDA: the context is then lost) or the emulator found something. */
bool device_sync(Device *d, Err *err);

/* Makes one object of n launches; argument values are copied. */
DeviceGraph *device_graph_new(Device *d, const DeviceLaunch *launches, int n, Err *err);
bool device_graph_run(Device *d, DeviceGraph *g, Err *err);
void device_graph_free(Device *d, DeviceGraph *g);

/* Time of runs of a graph: median of `rounds` rounds of `repeats` replays after a warm-up, per replay. Only CUDA measures; the
 * emulator never tells its own wall time: E_UNSUPPORTED there. */
typedef struct DeviceTime {
    double ns_median, ns_min, ns_max;
    int rounds, repeats;
} DeviceTime;
bool device_time(Device *d, DeviceGraph *g, int rounds, int repeats, DeviceTime *out, Err *err);

#endif
