/* A CUDA driver with one GPU that computes nothing: a stub of every function of cuda_api.def, built by device_cuda_test.lua as
 * libcuda.so.1. FAKE_QUERY is what it answers when asked whether kernels have ended. */
#include <stddef.h>
#include <string.h>

#define API(name, symbol, parameters) int symbol parameters;
#include "core/gpu/cuda_api.def"
#undef API

static char memory[1 << 24];

int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuGetErrorString(int code, const char **text) { *text = code == 0 ? "no error" : "an error"; return 0; }
/* What the compiler asks a driver that it finds, and does without. */
int cuGetExportTable(const void **table, const void *id) { (void)id; *table = NULL; return 500; /* CUDA_ERROR_NOT_FOUND */ }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int n, int device) { (void)device; strncpy(name, "Fake", (size_t)n); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device)
{
    (void)device;
    *value = which == 75 ? 9 : which == 76 ? 0 : 4; /* compute capability 9.0 */
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { (void)device; *context = memory; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { (void)device; return 0; }
int cuCtxSetCurrent(void *context) { (void)context; return 0; }
int cuMemGetInfo_v2(size_t *unused, size_t *all) { *unused = *all = sizeof memory; return 0; }
int cuMemAlloc_v2(unsigned long long *p, size_t n) { *p = (unsigned long long)memory; return n <= sizeof memory ? 0 : 2; }
int cuMemFree_v2(unsigned long long p) { (void)p; return 0; }
int cuMemcpyHtoD_v2(unsigned long long to, const void *from, size_t n) { (void)to, (void)from, (void)n; return 0; }
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t n) { (void)from; memset(to, 0, n); return 0; }
int cuMemsetD8_v2(unsigned long long p, unsigned char byte, size_t n) { (void)p, (void)byte, (void)n; return 0; }
int cuModuleLoadData(void **module, const void *image) { (void)image; *module = memory; return 0; }
int cuModuleUnload(void *module) { (void)module; return 0; }
int cuModuleGetFunction(void **f, void *module, const char *name) { (void)module, (void)name; *f = memory; return 0; }
int cuFuncSetAttribute(void *f, int which, int value) { (void)f, (void)which, (void)value; return 0; }
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned smem, void *stream,
                   void **args, void **more)
{
    (void)f, (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)smem, (void)stream, (void)args, (void)more;
    return 0;
}
int cuStreamCreate(void **stream, unsigned flags) { (void)flags; *stream = memory; return 0; }
int cuStreamDestroy_v2(void *stream) { (void)stream; return 0; }
int cuStreamQuery(void *stream) { (void)stream; return FAKE_QUERY; }
int cuStreamBeginCapture_v2(void *stream, int mode) { (void)stream, (void)mode; return 0; }
int cuStreamEndCapture(void *stream, void **graph) { (void)stream; *graph = memory; return 0; }
int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags) { (void)graph, (void)flags; *exec = memory; return 0; }
int cuGraphLaunch(void *exec, void *stream) { (void)exec, (void)stream; return 0; }
int cuGraphExecDestroy(void *exec) { (void)exec; return 0; }
int cuGraphDestroy(void *graph) { (void)graph; return 0; }
int cuEventCreate(void **event, unsigned flags) { (void)flags; *event = memory; return 0; }
int cuEventDestroy_v2(void *event) { (void)event; return 0; }
int cuEventRecord(void *event, void *stream) { (void)event, (void)stream; return 0; }
int cuEventElapsedTime(float *ms, void *from, void *to) { (void)from, (void)to; *ms = 1; return 0; }
