/* The parts of a plan, for plan.c and plan_device.c alone. */
#ifndef CORE_MODEL_PLAN_PARTS_H
#define CORE_MODEL_PLAN_PARTS_H
#include "core/base/arena.h"
#include "core/model/launch.h"
#include "core/model/pack.h"
#include "core/model/plan.h"

typedef struct Buffer {
    const char *name;
    OpType type;
    int rank;
    size_t extent[OP_RANK_MAX];
    size_t ld;              /* elements from one index of the first dimension to the next */
    bool is_state, is_view;
    void *data;             /* host */
    uint8_t *scales;
    DevicePtr dev, dev_scales, dev_input; /* device plans; a view points into its base; nvfp4: block and input scales */
    const Weight *quantizer;
    size_t quantizer_n;
} Buffer;

enum { PLAN_STAGES_MAX = 8 };

/* How an op runs on the device for one capacity; stages_n 0: it runs as a host op. */
typedef struct OpLaunches {
    LaunchStage stages[PLAN_STAGES_MAX];
    int stages_n;
    DevicePtr scratch;
    LaunchParams params;
} OpLaunches;

typedef struct BoundOp {
    int program;
    OpSignature signature;
    OpRef ref;
    OpCall call;
    int tap[OP_ARGS_MAX];     /* number of the tap of that argument, -1 none */
    int buffer[OP_ARGS_MAX];  /* number of the buffer of that argument, -1 none */
    OpLaunches *launches[PLAN_CAPACITIES_MAX]; /* NULL: host op */
} BoundOp;

/* Weights on the device, shared by all ops that name the same matrices. */
typedef struct SharedWeight {
    const uint8_t *data;    /* of the first matrix: its identity */
    size_t n;
    PackedWeight packed;
} SharedWeight;

/* A run of ops of one program and capacity that became one graph. */
typedef struct Segment {
    int program, capacity, first_op, last_op;
    DeviceGraph *graph;
} Segment;

typedef struct Tap {
    const char *name;
    int op, arg;
    bool is_selected;
    Tensor *value;
} Tap;

struct Plan {
    PlanDesc desc;
    Device *device;         /* NULL: host */
    DevicePtr step;
    int *step_host;
    SharedWeight *shared;
    int shared_n, shared_cap;
    Segment *segments;
    int segments_n, segments_cap;
    Arena arena;
    Buffer *buffers;
    int buffers_n, buffers_cap;
    BoundOp **ops;
    int ops_n, ops_cap;
    Tap *taps;
    int taps_n, taps_cap;
    const char **programs;
    int programs_n, programs_cap;
};

/* Makes room for one more element of `bytes` bytes in a growing array. */
bool plan_grow(void *items, int n, int *cap, size_t bytes, Err *err);
/* Bytes of a buffer on the host: codes for nvfp4. */
size_t plan_host_bytes(const Plan *p, const Buffer *b);

/* The first capacity that holds so many rows; an index into desc.capacities. */
int plan_capacity(const Plan *p, int rows);

/* What plan.c asks of plan_device.c; none is called for a host plan. */
bool plan_device_storage(Plan *p, Buffer *b, Err *err);
bool plan_device_to(Plan *p, const Buffer *b, Err *err);   /* host → device, the whole buffer */
bool plan_device_from(Plan *p, const Buffer *b, Err *err); /* device → host */
bool plan_device_step(Plan *p, const Step *step, int capacity, Err *err);
bool plan_device_run(Plan *p, int program, const Step *step, bool has_taps, Err *err);
bool plan_device_run_op(Plan *p, BoundOp *b, const Step *step, Err *err);
void plan_device_free(Plan *p);
/* Runs one op as a host op; plan.c's. */
bool plan_run_host_op(Plan *p, BoundOp *b, const Step *step, Err *err);
/* Copies the selected taps of an op out of host memory; plan.c's. */
bool plan_take_taps(Plan *p, BoundOp *b, const Step *step, Err *err);
bool plan_has_selected_tap(const Plan *p, const BoundOp *b);

#endif
