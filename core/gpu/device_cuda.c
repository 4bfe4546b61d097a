/* Devices of the CUDA driver. The library is opened at run time; without it, without a GPU or with an old driver there is a
 * sentence. Kernels that do not end count as hanging after HANG_SECONDS, or NIBBLE_HANG_SECONDS of the environment (a profiler
 * makes them slow); nothing can stop them but the end of the process, so such a device gives its memory back only then. */
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/gpu/device_maker.h"

typedef struct CudaApi {
#define API(name, symbol, parameters) int(*name) parameters;
#include "core/gpu/cuda_api.def"
#undef API
} CudaApi;

typedef struct CudaDevice {
    Device base;
    int handle;
    void *context, *stream;
    double hang_seconds;
    bool is_hanging;
    char last_entry[96]; /* newest launch, for messages about a fault */
} CudaDevice;

struct DeviceModule {
    void *module;
    char label[96];
};

struct DeviceGraph {
    void *exec;
};

enum {
    DRIVER_MIN = 13000,              /* CUDA 13.0: cubins of the NVRTC in use load */
    ATTRIBUTE_SMS = 16, ATTRIBUTE_CC_MAJOR = 75, ATTRIBUTE_CC_MINOR = 76,
    FUNCTION_SMEM_MAX = 8, STREAM_NON_BLOCKING = 1, CAPTURE_RELAXED = 2,
    NOT_READY = 600, HANG_SECONDS = 60
};

static CudaApi api;

static const char *text_of(int code)
{
    const char *text = NULL;
    return api.GetErrorString && api.GetErrorString(code, &text) == 0 && text ? text : "unknown error";
}

/* Opens the driver once; returns NULL when it can be used, else what is missing. */
static const char *open_driver(void)
{
    static bool was_tried;
    static char why[300];
    if (was_tried)
        return why[0] ? why : NULL;
    was_tried = true;
    void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    int version = 0, code;
    if (!lib) {
        snprintf(why, sizeof why, "no NVIDIA driver: libcuda.so.1 is not in the library path");
        return why;
    }
#define API(name, symbol, parameters) \
    if (!(*(void **)(&api.name) = dlsym(lib, #symbol))) { \
        snprintf(why, sizeof why, "the NVIDIA driver is too old: it has no " #symbol); \
        return why; \
    }
#include "core/gpu/cuda_api.def"
#undef API
    if ((code = api.Init(0)) != 0)
        snprintf(why, sizeof why, "the NVIDIA driver does not start: %s", text_of(code));
    else if (api.DriverGetVersion(&version) != 0 || version < DRIVER_MIN)
        snprintf(why, sizeof why, "the NVIDIA driver is too old: expected CUDA 13.0 or newer, found %d.%d", version / 1000,
                 version % 1000 / 10);
    return why[0] ? why : NULL;
}

int device_cuda_count(char *why, size_t n)
{
    int count = 0;
    const char *missing = open_driver();
    if (!missing && (api.DeviceGetCount(&count) != 0 || count == 0))
        missing = "the NVIDIA driver sees no GPU";
    snprintf(why, n, "%s", missing ? missing : "");
    return missing ? 0 : count;
}

static bool check(const CudaDevice *d, int code, const char *what, Err *err)
{
    if (code == 0)
        return true;
    bool is_memory = code == 2;
    return fail(err, is_memory ? E_MEMORY : E_KERNEL, "%s: %s: %s%s%s", d->base.name, what, text_of(code),
                d->last_entry[0] ? "; newest launch: " : "", d->last_entry);
}

static void cuda_close(Device *base)
{
    CudaDevice *d = (CudaDevice *)base;
    if (d->is_hanging) /* the driver would wait for ever */
        return;
    if (d->stream)
        api.StreamDestroy(d->stream);
    if (d->context)
        api.PrimaryCtxRelease(d->handle);
    free(d);
}

static void cuda_memory(Device *base, uint64_t *total, uint64_t *unused)
{
    (void)base;
    size_t free_bytes = 0, all = 0;
    api.MemGetInfo(&free_bytes, &all);
    *total = all;
    *unused = free_bytes;
}

static bool cuda_alloc(Device *base, const char *label, size_t bytes, DevicePtr *out, Err *err)
{
    CudaDevice *d = (CudaDevice *)base;
    unsigned long long p = 0;
    int code = api.MemAlloc(&p, bytes);
    if (code != 0) {
        uint64_t total, unused;
        cuda_memory(base, &total, &unused);
        return fail(err, E_MEMORY, "%s: %s: wanted %zu bytes, %llu of %llu are free: %s", d->base.name, label, bytes,
                    (unsigned long long)unused, (unsigned long long)total, text_of(code));
    }
    *out = p;
    return check(d, api.MemsetD8(p, 0, bytes), label, err);
}

static void cuda_free(Device *base, DevicePtr p)
{
    if (!((CudaDevice *)base)->is_hanging)
        api.MemFree(p);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Polls, for the driver's own wait has no limit; in the first millisecond without giving way. */
static bool cuda_sync(Device *base, Err *err)
{
    CudaDevice *d = (CudaDevice *)base;
    if (d->is_hanging)
        return fail(err, E_KERNEL, "%s: kernels hang; newest launch: %s", base->name, d->last_entry);
    double start = now(), waited = 0;
    int code;
    while ((code = api.StreamQuery(d->stream)) == NOT_READY && waited < d->hang_seconds) {
        waited = now() - start;
        if (waited > 1e-3)
            sched_yield();
    }
    if (code == NOT_READY) {
        d->is_hanging = true;
        return fail(err, E_KERNEL, "%s: kernels have not ended after %g s and count as hanging; newest launch: %s", base->name,
                    d->hang_seconds, d->last_entry);
    }
    return check(d, code, "running kernels", err);
}

static bool cuda_upload(Device *base, DevicePtr to, const void *from, size_t n, Err *err)
{
    CudaDevice *d = (CudaDevice *)base;
    return cuda_sync(base, err) && check(d, api.MemcpyHtoD(to, from, n), "upload", err);
}

static bool cuda_download(Device *base, void *to, DevicePtr from, size_t n, Err *err)
{
    CudaDevice *d = (CudaDevice *)base;
    return cuda_sync(base, err) && check(d, api.MemcpyDtoH(to, from, n), "download", err);
}

static bool cuda_fill(Device *base, DevicePtr to, unsigned char byte, size_t n, Err *err)
{
    CudaDevice *d = (CudaDevice *)base;
    return cuda_sync(base, err) && check(d, api.MemsetD8(to, byte, n), "fill", err) && cuda_sync(base, err);
}

static DeviceModule *cuda_load(Device *base, const char *label, const char *ptx, const void *cubin, Err *err)
{
    (void)ptx;
    CudaDevice *d = (CudaDevice *)base;
    DeviceModule *m = calloc(1, sizeof *m);
    if (!m)
        return fail(err, E_MEMORY, "no memory for module %s", label), NULL;
    snprintf(m->label, sizeof m->label, "%s", label);
    if (!check(d, api.ModuleLoadData(&m->module, cubin), label, err)) {
        free(m);
        return NULL;
    }
    return m;
}

static void cuda_unload(Device *base, DeviceModule *m)
{
    if (!((CudaDevice *)base)->is_hanging)
        api.ModuleUnload(m->module);
    free(m);
}

static bool put_launch(CudaDevice *d, const DeviceLaunch *l, Err *err)
{
    void *function;
    if (api.ModuleGetFunction(&function, l->module->module, l->entry) != 0)
        return fail(err, E_MISSING, "module %s has no entry \"%s\"", l->module->label, l->entry);
    if (l->smem > d->base.arch->smem_block_max)
        return fail(err, E_VALUE, "%s: expected at most %zu bytes of shared memory, found %zu", l->entry,
                    d->base.arch->smem_block_max, l->smem);
    /* 48 KB are a block's without asking, its own arrays included */
    if (l->smem > 0 && !check(d, api.FuncSetAttribute(function, FUNCTION_SMEM_MAX, (int)l->smem), l->entry, err))
        return false;
    snprintf(d->last_entry, sizeof d->last_entry, "%s", l->entry);
    return check(d, api.LaunchKernel(function, l->grid[0], l->grid[1], l->grid[2], l->block[0], l->block[1], l->block[2],
                                     (unsigned)l->smem, d->stream, (void **)(uintptr_t)l->args, NULL),
                 "launch", err);
}

static bool cuda_launch(Device *base, const DeviceLaunch *launch, Err *err)
{
    return put_launch((CudaDevice *)base, launch, err);
}

static DeviceGraph *cuda_graph_new(Device *base, const DeviceLaunch *launches, int n, Err *err)
{
    CudaDevice *d = (CudaDevice *)base;
    DeviceGraph *g = calloc(1, sizeof *g);
    void *graph = NULL;
    if (!g)
        return fail(err, E_MEMORY, "no memory for a graph"), NULL;
    bool is_ok = check(d, api.StreamBeginCapture(d->stream, CAPTURE_RELAXED), "capture", err);
    for (int i = 0; is_ok && i < n; i++)
        is_ok = put_launch(d, &launches[i], err);
    int code = api.StreamEndCapture(d->stream, &graph); /* also after a failed launch: the stream must leave capture */
    is_ok = is_ok && check(d, code, "capture", err) && check(d, api.GraphInstantiate(&g->exec, graph, 0), "graph", err);
    if (graph)
        api.GraphDestroy(graph);
    if (!is_ok) {
        free(g);
        return NULL;
    }
    return g;
}

static bool cuda_graph_run(Device *base, DeviceGraph *g, Err *err)
{
    CudaDevice *d = (CudaDevice *)base;
    return check(d, api.GraphLaunch(g->exec, d->stream), "graph", err);
}

static void cuda_graph_free(Device *base, DeviceGraph *g)
{
    (void)base;
    api.GraphExecDestroy(g->exec);
    free(g);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool time_round(CudaDevice *d, DeviceGraph *g, void *const events[2], int repeats, double *ns, Err *err)
{
    float ms = 0;
    if (!check(d, api.EventRecord(events[0], d->stream), "timing", err))
        return false;
    for (int i = 0; i < repeats; i++)
        if (!cuda_graph_run(&d->base, g, err))
            return false;
    if (!check(d, api.EventRecord(events[1], d->stream), "timing", err) ||
        !cuda_sync(&d->base, err) ||
        !check(d, api.EventElapsedTime(&ms, events[0], events[1]), "timing", err))
        return false;
    *ns = (double)ms * 1e6 / repeats;
    return true;
}

static bool cuda_time(Device *base, DeviceGraph *g, int rounds, int repeats, DeviceTime *out, Err *err)
{
    CudaDevice *d = (CudaDevice *)base;
    void *events[2] = {NULL, NULL};
    double ignored, *ns = calloc((size_t)rounds, sizeof *ns);
    if (!ns)
        return fail(err, E_MEMORY, "no memory for %d rounds", rounds);
    bool is_ok = check(d, api.EventCreate(&events[0], 0), "timing", err) &&
        check(d, api.EventCreate(&events[1], 0), "timing", err) &&
                 time_round(d, g, events, repeats, &ignored, err);
    for (int r = 0; is_ok && r < rounds; r++)
        is_ok = time_round(d, g, events, repeats, &ns[r], err);
    for (int i = 0; i < 2; i++)
        if (events[i])
            api.EventDestroy(events[i]);
    if (is_ok) {
        qsort(ns, (size_t)rounds, sizeof *ns, compare_doubles);
        *out = (DeviceTime){ns[rounds / 2], ns[0], ns[rounds - 1], rounds, repeats};
    }
    free(ns);
    return is_ok;
}

static void cuda_set_checked(Device *base, bool is_checked)
{
    (void)base;
    (void)is_checked;
}

static const DeviceOps cuda_ops = {
    .close = cuda_close, .memory = cuda_memory, .alloc = cuda_alloc, .free = cuda_free, .upload = cuda_upload,
    .download = cuda_download, .fill = cuda_fill, .load = cuda_load, .unload = cuda_unload, .launch = cuda_launch,
    .sync = cuda_sync,
    .graph_new = cuda_graph_new, .graph_run = cuda_graph_run, .graph_free = cuda_graph_free, .time = cuda_time,
    .set_checked = cuda_set_checked,
};

Device *device_cuda_open(int ordinal, Err *err)
{
    char why[300], model[80] = "";
    int count = device_cuda_count(why, sizeof why), major = 0, minor = 0;
    if (count == 0)
        return fail(err, E_UNSUPPORTED, "cuda:%d: %s; --device emu:sm_120a runs without a GPU", ordinal, why), NULL;
    if (ordinal >= count)
        return fail(err, E_UNSUPPORTED, "cuda:%d: expected a number below %d, found %d", ordinal, count, ordinal), NULL;
    CudaDevice *d = calloc(1, sizeof *d);
    if (!d)
        return fail(err, E_MEMORY, "no memory for a device"), NULL;
    snprintf(d->base.name, sizeof d->base.name, "cuda:%d", ordinal);
    d->base.ops = &cuda_ops;
    const char *limit = getenv("NIBBLE_HANG_SECONDS");
    d->hang_seconds = limit && atof(limit) > 0 ? atof(limit) : HANG_SECONDS;
    bool is_ok = check(d, api.DeviceGet(&d->handle, ordinal), "device", err) &&
                 check(d, api.DeviceGetName(model, sizeof model, d->handle), "name", err) &&
                 check(d, api.DeviceGetAttribute(&major, ATTRIBUTE_CC_MAJOR, d->handle), "attribute", err) &&
                 check(d, api.DeviceGetAttribute(&minor, ATTRIBUTE_CC_MINOR, d->handle), "attribute", err) &&
                 check(d, api.DeviceGetAttribute(&d->base.sms, ATTRIBUTE_SMS, d->handle), "attribute", err);
    snprintf(d->base.name, sizeof d->base.name, "cuda:%d %s", ordinal, model);
    d->base.arch = arch_of_cc(major * 10 + minor);
    if (is_ok && !d->base.arch)
        is_ok = fail(err, E_UNSUPPORTED, "%s: expected compute capability 8.0, 9.0, 12.0 or 12.1, found %d.%d", d->base.name,
                     major, minor);
    is_ok = is_ok && check(d, api.PrimaryCtxRetain(&d->context, d->handle), "context", err) &&
            check(d, api.CtxSetCurrent(d->context), "context", err) &&
            check(d, api.StreamCreate(&d->stream, STREAM_NON_BLOCKING), "stream", err);
    if (!is_ok) {
        cuda_close(&d->base);
        return NULL;
    }
    return &d->base;
}
