/* The device: workers, modules, launches. Workers draw block numbers from a common counter and own all state that a block needs;
 * the calling thread is the first worker. Blocks are drawn in order, so when one faults all lower ones are run to their end, and
 * the lowest fault is the same on every run. */
#include "core/emu/emu.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/emu/emu_check.h"
#include "core/emu/emu_defined.h"
#include "core/emu/emu_race.h"
#include "core/emu/emu_state.h"
#include "core/ptx/ptx_parse.h"

enum { WORKERS_MAX = 64, SMEM_MAX = 232448, LINE = 64, ORDER_MAX = 1 << 22 };
#define FUEL_DEFAULT 200000000ull

static const char *const isa_names[EMU_ISAS] = {"auto", "plain", "avx2", "avx512"};

const char *emu_isa_name(EmuIsa isa)
{
    return isa_names[isa];
}

const char *emu_class_name(int i)
{
    assert(i >= 0 && i < EMU_CLASSES);
    return ptx_group_name((PtxGroup)i);
}

EmuIsa emu_isa(const Emu *emu)
{
    return emu->isa;
}

const char *emu_arch(const Emu *emu)
{
    return emu->arch;
}

unsigned emu_workers(const Emu *emu)
{
    return emu->workers_n;
}

static bool has_isa(EmuIsa isa)
{
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
                __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    return isa == EMU_ISA_PLAIN || (isa == EMU_ISA_AVX2 && avx2) || (isa == EMU_ISA_AVX512 && avx2 && avx512);
}

static bool choose_isa(EmuIsa wanted, EmuIsa *isa, Err *err)
{
    const char *name = getenv("NIBBLE_EMU_ISA");
    if (wanted == EMU_ISA_AUTO && name && *name) {
        for (int i = 0; i < EMU_ISAS; i++)
            if (strcmp(name, isa_names[i]) == 0)
                wanted = (EmuIsa)i;
        if (wanted == EMU_ISA_AUTO && strcmp(name, "auto") != 0)
            return fail(err, E_USAGE, "NIBBLE_EMU_ISA is \"%s\"; it may be auto, plain, avx2 or avx512", name);
    }
    *isa = wanted != EMU_ISA_AUTO ? wanted : has_isa(EMU_ISA_AVX512) ? EMU_ISA_AVX512 : has_isa(EMU_ISA_AVX2) ? EMU_ISA_AVX2 : EMU_ISA_PLAIN;
    return has_isa(*isa) || fail(err, E_UNSUPPORTED, "this CPU has not the instructions of \"%s\"", isa_names[*isa]);
}

static void run_blocks(EmuWorker *worker);

static void *work(void *data)
{
    EmuWorker *worker = data;
    Emu *emu = worker->emu;
    uint64_t seen = 0;
    pthread_mutex_lock(&emu->lock);
    for (;;) {
        while (!emu->is_closing && emu->generation == seen)
            pthread_cond_wait(&emu->wake, &emu->lock);
        if (emu->is_closing)
            break;
        seen = emu->generation;
        pthread_mutex_unlock(&emu->lock);
        if (worker->run)
            run_blocks(worker);
        pthread_mutex_lock(&emu->lock);
        if (--emu->busy == 0)
            pthread_cond_signal(&emu->done);
    }
    pthread_mutex_unlock(&emu->lock);
    return NULL;
}

Emu *emu_new(const EmuDesc *desc, Err *err)
{
    const char *arch = desc->arch ? desc->arch : "sm_120a";
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (strncmp(arch, "sm_", 3) != 0 || strlen(arch) >= sizeof((Emu *)0)->arch)
        return fail(err, E_UNSUPPORTED, "\"%s\" is no architecture; expected sm_120a or the like", arch), NULL;
    Emu *emu = calloc(1, sizeof *emu);
    if (!emu)
        return fail(err, E_MEMORY, "the emulator: memory is exhausted"), NULL;
    strcpy(emu->arch, arch);
    unsigned wanted = desc->workers ? desc->workers : (unsigned)(cpus > 0 ? cpus : 1);
    wanted = wanted > WORKERS_MAX ? WORKERS_MAX : wanted;
    pthread_mutex_init(&emu->lock, NULL);
    pthread_cond_init(&emu->wake, NULL);
    pthread_cond_init(&emu->done, NULL);
    emu->workers = calloc(wanted, sizeof *emu->workers);
    emu->threads = calloc(wanted, sizeof *emu->threads);
    if (!choose_isa(desc->isa, &emu->isa, err)) {
        emu_free(emu);
        return NULL;
    }
    for (int mode = 0; mode < 2; mode++)
        emu->tables[mode] = emu_decode_table(emu->isa, (EmuMode)mode);
    if (!emu->workers || !emu->threads || !emu->tables[0] || !emu->tables[1]) {
        fail(err, E_MEMORY, "the emulator: memory is exhausted");
        emu_free(emu);
        return NULL;
    }
    for (unsigned i = 0; i < wanted; i++) {
        emu->workers[i].emu = emu;
        emu->workers[i].block.worker = emu->workers + i;
        if (i && pthread_create(&emu->threads[i], NULL, work, emu->workers + i) != 0)
            break; /* fewer workers do as well */
        emu->workers_n = i + 1;
    }
    return emu;
}

static void free_worker(EmuWorker *worker)
{
    for (uint32_t i = 0; worker->warps && i < EMU_WARPS_MAX; i++)
        free(worker->warps[i].pending);
    free(worker->warps);
    free(worker->memory);
    free(worker->caches);
    free(worker->block_execs);
    free(worker->findings);
    emu_shadow_free(worker->shadow);
    free(worker->seen);
    free(worker->cells);
    free(worker->block.mbars);
}

void emu_free(Emu *emu)
{
    if (!emu)
        return;
    pthread_mutex_lock(&emu->lock);
    emu->is_closing = true;
    pthread_cond_broadcast(&emu->wake);
    pthread_mutex_unlock(&emu->lock);
    for (unsigned i = 1; i < emu->workers_n; i++)
        pthread_join(emu->threads[i], NULL);
    for (unsigned i = 0; i < emu->workers_n; i++)
        free_worker(emu->workers + i);
    free(emu->workers);
    free(emu->threads);
    free(emu->tables[0]);
    free(emu->tables[1]);
    emu_mem_deinit(emu);
    pthread_mutex_destroy(&emu->lock);
    pthread_cond_destroy(&emu->wake);
    pthread_cond_destroy(&emu->done);
    free(emu);
}

/* modules */

/* sm_90 runs on newer devices; a target with a letter only on its very device (a) or family (f). */
static bool check_target(const Emu *emu, const PtxModule *ptx, Err *err)
{
    char *rest;
    if (strncmp(ptx->target, "sm_", 3) != 0)
        return fail(err, E_FORMAT, ".target %s is no architecture", ptx->target);
    long has = strtol(emu->arch + 3, NULL, 10), needs = strtol(ptx->target + 3, &rest, 10);
    bool fits = *rest == 'a' ? strcmp(emu->arch, ptx->target) == 0 : *rest == 'f' ? needs / 10 == has / 10 && needs <= has : needs <= has;
    return fits || fail(err, E_UNSUPPORTED, ".target %s does not run on %s", ptx->target, emu->arch);
}

EmuModule *emu_module_load(Emu *emu, const char *text, size_t n, Err *err)
{
    EmuModule *m = calloc(1, sizeof *m);
    if (!m)
        return fail(err, E_MEMORY, "PTX module: memory is exhausted"), NULL;
    m->emu = emu;
    m->ptx = ptx_parse_module(text, n, err);
    if (!m->ptx || !check_target(emu, m->ptx, err))
        goto failed;
    m->vars = calloc(m->ptx->var_ids_n + 1, sizeof *m->vars);
    if (!m->vars) {
        fail(err, E_MEMORY, "PTX module: memory is exhausted");
        goto failed;
    }
    for (uint32_t i = 0; i < m->ptx->vars_n; i++) {
        const PtxVar *v = m->ptx->vars[i];
        if (v->space != PTX_SPACE_GLOBAL && v->space != PTX_SPACE_CONST)
            continue;
        if (v->is_extern) {
            fail(err, E_UNSUPPORTED, "variable \"%s\" is extern: modules are not linked", v->name);
            goto failed;
        }
        if (!emu_alloc(emu, v->bytes, v->name, &m->vars[v->id], err))
            goto failed;
        memset((void *)m->vars[v->id], 0, v->bytes);
        if (v->data)
            memcpy((void *)m->vars[v->id], v->data, v->bytes);
        emu_check_mark_valid(emu, m->vars[v->id], v->bytes);
    }
    return m;
failed:
    emu_module_unload(m);
    return NULL;
}

void emu_module_unload(EmuModule *m)
{
    Err ignored;
    if (!m)
        return;
    while (m->funcs) {
        EmuFunc *f = m->funcs;
        m->funcs = f->next;
        emu_decode_deinit(&f->code[0]);
        emu_decode_deinit(&f->code[1]);
        free(f);
    }
    for (uint32_t i = 0; m->vars && i < m->ptx->var_ids_n; i++)
        emu_release(m->emu, m->vars[i], &ignored);
    free(m->vars);
    ptx_free(m->ptx);
    free(m);
}

static bool decode_mode(EmuFunc *f, EmuMode mode, Err *err)
{
    if (f->has_code[mode])
        return true;
    if (!emu_decode(f->module, f->ptx, f->module->emu->tables[mode], mode, &f->code[mode], err)) {
        emu_decode_deinit(&f->code[mode]);
        return false;
    }
    return f->has_code[mode] = true;
}

const EmuFunc *emu_func(EmuModule *m, const char *entry, Err *err)
{
    for (EmuFunc *f = m->funcs; f; f = f->next)
        if (strcmp(f->ptx->name, entry) == 0)
            return f;
    const PtxFunc *ptx = ptx_func(m->ptx, entry);
    if (!ptx || !ptx->is_entry)
        return fail(err, E_MISSING, "the module has no kernel \"%s\"", entry), NULL;
    EmuFunc *f = calloc(1, sizeof *f);
    if (!f)
        return fail(err, E_MEMORY, "kernel \"%s\": memory is exhausted", entry), NULL;
    f->module = m;
    f->ptx = ptx;
    if (!decode_mode(f, EMU_FAST, err)) {
        free(f);
        return NULL;
    }
    f->next = m->funcs;
    m->funcs = f;
    return f;
}

bool emu_global(EmuModule *m, const char *name, EmuPtr *ptr, size_t *bytes, Err *err)
{
    for (uint32_t i = 0; i < m->ptx->vars_n; i++) {
        const PtxVar *v = m->ptx->vars[i];
        if ((v->space == PTX_SPACE_GLOBAL || v->space == PTX_SPACE_CONST) && strcmp(v->name, name) == 0) {
            *ptr = m->vars[v->id];
            *bytes = v->bytes;
            return true;
        }
    }
    return fail(err, E_MISSING, "the module has no variable \"%s\"", name);
}

EmuFuncInfo emu_func_info(const EmuFunc *f)
{
    const EmuCode *c = &f->code[EMU_FAST];
    return (EmuFuncInfo){c->name, c->params_n, c->smem_bytes, c->local_bytes, c->regs_bytes, c->insns_n, c->blocks_n, c->threads_max,
                         c->is_ordered};
}

uint32_t emu_func_param_bytes(const EmuFunc *f, unsigned i)
{
    assert(i < f->code[EMU_FAST].params_n);
    return f->code[EMU_FAST].params[i].bytes;
}

/* launches */

static void fill_lanes(uint8_t *to, uint32_t bytes, uint64_t bits)
{
    if (!bytes)
        memcpy(to, &bits, 4);
    for (uint32_t l = 0; l < 32 && bytes; l++)
        memcpy(to + l * bytes, &bits, bytes);
}

static uint32_t thread_coord(const EmuRun *run, uint32_t thread, uint32_t axis)
{
    return axis == 0 ? thread % run->block[0] : axis == 1 ? thread / run->block[0] % run->block[1] : thread / run->block[0] / run->block[1];
}

/* Special registers; those that differ by block when is_block. */
static void fill_sreg(const EmuRun *run, const EmuWarp *w, const EmuSregSlot *s, bool is_block)
{
    uint32_t *to = (uint32_t *)(void *)(w->regs + s->slot);
    bool by_block = s->sreg >= PTX_SREG_CTAID_X && s->sreg <= PTX_SREG_CTAID_Z;
    if (by_block != is_block)
        return;
    if (is_block) {
        const uint32_t x = w->block->coord[s->sreg - PTX_SREG_CTAID_X];
        for (uint32_t l = 0; l < 32; l++)
            to[l] = x;
        return;
    }
    for (uint32_t l = 0; l < 32; l++) {
        switch (s->sreg) {
        case PTX_SREG_TID_X: case PTX_SREG_TID_Y: case PTX_SREG_TID_Z:
            to[l] = thread_coord(run, 32 * w->idx + l, (uint32_t)(s->sreg - PTX_SREG_TID_X));
            break;
        case PTX_SREG_NTID_X: case PTX_SREG_NTID_Y: case PTX_SREG_NTID_Z: to[l] = run->block[s->sreg - PTX_SREG_NTID_X]; break;
        case PTX_SREG_NCTAID_X: case PTX_SREG_NCTAID_Y: case PTX_SREG_NCTAID_Z: to[l] = run->grid[s->sreg - PTX_SREG_NCTAID_X]; break;
        case PTX_SREG_LANEID: to[l] = l; break;
        case PTX_SREG_WARPID: to[l] = w->idx; break;
        case PTX_SREG_NWARPID: to[l] = run->warps; break;
        case PTX_SREG_LANEMASK_EQ: to[l] = 1u << l; break;
        case PTX_SREG_LANEMASK_LT: to[l] = (1u << l) - 1; break;
        case PTX_SREG_LANEMASK_LE: to[l] = (2u << l) - 1; break;
        case PTX_SREG_LANEMASK_GT: to[l] = ~((2u << l) - 1); break;
        case PTX_SREG_LANEMASK_GE: to[l] = ~((1u << l) - 1); break;
        case PTX_SREG_DYNAMIC_SMEM_SIZE: to[l] = run->launch->smem_bytes; break;
        default: to[l] = run->smem_bytes; break;
        }
    }
}

/* Memory of a worker for the run, and everything in it that is the same for all blocks. */
static bool prepare_worker(EmuWorker *worker, EmuRun *run)
{
    const EmuCode *code = run->code;
    size_t regs = code->regs_bytes, local = (size_t)code->local_bytes * 32 + LINE;
    size_t bytes = run->warps * (regs + local) + EMU_SMEM_BASE + run->smem_bytes + 4 * LINE;
    if (!worker->warps)
        worker->warps = calloc(EMU_WARPS_MAX, sizeof *worker->warps);
    if (bytes > worker->memory_bytes) {
        free(worker->memory);
        worker->memory_bytes = (bytes + 4095) / 4096 * 4096;
        worker->memory = aligned_alloc(4096, worker->memory_bytes);
        worker->open_bytes = worker->memory ? worker->memory_bytes : 0;
    }
    free(worker->caches);
    free(worker->block_execs);
    worker->caches = calloc(code->caches_n + 1, sizeof *worker->caches);
    worker->block_execs = calloc(2 * (size_t)code->blocks_n, sizeof *worker->block_execs);
    if (!worker->findings)
        worker->findings = calloc(EMU_FINDINGS_MAX, sizeof *worker->findings);
    if (run->is_checked) {
        worker->shadow = emu_shadow_reserve(worker->shadow, run->smem_bytes, run->warps);
        if (!worker->seen)
            worker->seen = calloc(EMU_WARPS_MAX, sizeof *worker->seen);
        free(worker->cells);
        worker->cells = calloc(run->warps * (size_t)code->cells_n + 1, sizeof *worker->cells);
    }
    if (!worker->warps || !worker->memory || !worker->caches || !worker->block_execs || !worker->findings ||
        (run->is_checked && (!worker->shadow || !worker->seen || !worker->cells))) {
        worker->memory_bytes = worker->memory ? worker->memory_bytes : 0;
        return false;
    }
    worker->block_lanes = worker->block_execs + code->blocks_n;
    worker->run = run;
    worker->counts = (EmuCounts){0};
    worker->findings_n = 0;
    worker->random = 0;
    worker->is_memory_out = false;
    uint8_t *at = worker->memory;
    EMU_REOPEN(at, bytes);
    if (worker->open_bytes > bytes)
        EMU_CLOSE(at + bytes, worker->open_bytes - bytes);
    worker->open_bytes = bytes;
    memset(at, 0, bytes);
    for (uint32_t i = 0; i < run->warps; i++) {
        EmuWarp *w = worker->warps + i;
        w->regs = at;
        at += regs;
        w->code = code;
        w->block = &worker->block;
        w->worker = worker;
        w->idx = i;
        w->seen = worker->seen ? worker->seen[i] : NULL;
        w->cells = worker->cells ? worker->cells + i * (size_t)code->cells_n : NULL;
        w->is_stepwise = false;
        for (uint32_t k = 0; k < code->consts_n; k++)
            fill_lanes(w->regs + code->consts[k].slot, code->consts[k].bytes, code->consts[k].bits);
        for (uint32_t k = 0; k < code->param_slots_n; k++) {
            const EmuParamSlot *p = code->param_slots + k;
            uint64_t bits = 0;
            memcpy(&bits, run->params + p->offset, p->bytes);
            fill_lanes(w->regs + p->slot, p->bytes < 2 ? 2 : p->bytes, bits);
        }
        for (uint32_t k = 0; k < code->sregs_n; k++)
            fill_sreg(run, w, code->sregs + k, false);
    }
    for (uint32_t i = 0; i < run->warps; i++) {
        worker->warps[i].local = at;
        at += local / LINE * LINE;
    }
    worker->block.smem = at; /* shared address 0; the first EMU_SMEM_BASE bytes belong to nobody */
    EMU_CLOSE(at, EMU_SMEM_BASE);
    EMU_CLOSE(at + EMU_SMEM_BASE + run->smem_bytes, (size_t)(worker->memory + bytes - (at + EMU_SMEM_BASE + run->smem_bytes)));
    worker->block.smem_bytes = run->smem_bytes;
    worker->block.shadow = run->is_checked ? worker->shadow : NULL;
    return true;
}

static void begin_warp(EmuWarp *w, const EmuRun *run)
{
    uint32_t first = 32 * w->idx, n = run->threads - first < 32 ? run->threads - first : 32;
    uint32_t mask = n == 32 ? 0xFFFFFFFF : (1u << n) - 1;
    w->dead = ~mask;
    w->splits_n = 1;
    w->splits[0] = (EmuSplit){.mask = mask};
    w->current = 0;
    w->nodes[0] = (EmuNode){.pc = EMU_NO_PC};
    w->nodes_used = 1;
    w->group = 0;
    emu_defined_begin(w);
    for (uint32_t i = 0; i < run->code->zeros_n; i++)
        memset(w->regs + run->code->zeros[i].slot, 0, run->code->zeros[i].bytes);
    for (uint32_t i = 0; i < run->code->sregs_n; i++)
        fill_sreg(run, w, run->code->sregs + i, true);
}

static void run_block(EmuWorker *worker, uint64_t position)
{
    EmuRun *run = worker->run;
    EmuBlock *b = &worker->block;
    position = run->order ? run->order[position] : position;
    b->idx = run->launch->blocks ? run->launch->blocks[position] : position;
    b->coord[0] = (uint32_t)(b->idx % run->grid[0]);
    b->coord[1] = (uint32_t)(b->idx / run->grid[0] % run->grid[1]);
    b->coord[2] = (uint32_t)(b->idx / run->grid[0] / run->grid[1]);
    b->warps_n = run->warps;
    b->live = run->threads;
    b->fuel = run->fuel;
    b->events = 0;
    b->is_stopped = false;
    worker->random = run->launch->seed ? (run->launch->seed * 0x9E3779B97F4A7C15u + b->idx) | 1 : 0;
    memset(b->barriers, 0, sizeof b->barriers);
    for (int i = 0; i < EMU_BARRIERS; i++)
        b->barriers[i].red_and = true;
    for (uint32_t i = 0; i < run->warps; i++)
        begin_warp(worker->warps + i, run);
    if (b->shadow)
        emu_check_begin(b);
    emu_exec_block(b);
    worker->counts.blocks++;
}

static void run_blocks(EmuWorker *worker)
{
    EmuRun *run = worker->run;
    for (;;) {
        uint64_t position = atomic_fetch_add(&run->next, 1);
        if (position >= run->blocks_n || position > atomic_load(&run->stop_at))
            return;
        run_block(worker, position);
        if (!worker->block.is_stopped)
            continue;
        unsigned long long seen = atomic_load(&run->stop_at);
        while (position < seen && !atomic_compare_exchange_weak(&run->stop_at, &seen, position))
            ;
    }
}

static void run_all(Emu *emu, EmuRun *run, unsigned workers)
{
    if (workers > 1) {
        pthread_mutex_lock(&emu->lock);
        emu->busy = emu->workers_n - 1;
        emu->generation++;
        pthread_cond_broadcast(&emu->wake);
        pthread_mutex_unlock(&emu->lock);
    }
    run_blocks(emu->workers);
    if (workers > 1) {
        pthread_mutex_lock(&emu->lock);
        while (emu->busy)
            pthread_cond_wait(&emu->done, &emu->lock);
        pthread_mutex_unlock(&emu->lock);
    }
    for (unsigned i = 0; i < emu->workers_n; i++)
        emu->workers[i].run = NULL;
    (void)run;
}

static bool check_extents(const EmuLaunch *launch, const EmuCode *code, EmuRun *run, Err *err)
{
    uint64_t blocks = 1, threads = 1;
    for (int i = 0; i < 3; i++) {
        run->grid[i] = launch->grid[i] ? launch->grid[i] : 1;
        run->block[i] = launch->block[i] ? launch->block[i] : 1;
        blocks *= run->grid[i];
        threads *= run->block[i];
        if (run->grid[i] > (i ? 65535u : 0x7FFFFFFFu) || run->block[i] > 1024 || threads > 1024)
            return fail(err, E_VALUE, "kernel \"%s\": grid (%u,%u,%u) of blocks (%u,%u,%u) is larger than a device allows", code->name,
                        launch->grid[0], launch->grid[1], launch->grid[2], launch->block[0], launch->block[1], launch->block[2]);
    }
    if (threads > code->threads_max)
        return fail(err, E_VALUE, "kernel \"%s\": %u threads a block, compiled for at most %u", code->name, (unsigned)threads, code->threads_max);
    run->threads = (uint32_t)threads;
    run->warps = (run->threads + 31) / 32;
    run->smem_bytes = code->smem_bytes + launch->smem_bytes;
    if (launch->smem_bytes > SMEM_MAX || run->smem_bytes > SMEM_MAX)
        return fail(err, E_VALUE, "kernel \"%s\": %u bytes of shared memory, at most %d", code->name, code->smem_bytes + launch->smem_bytes, SMEM_MAX);
    for (size_t i = 0; launch->blocks && i < launch->blocks_n; i++)
        if (launch->blocks[i] >= blocks)
            return fail(err, E_VALUE, "kernel \"%s\": block %llu of a grid of %llu", code->name, (unsigned long long)launch->blocks[i],
                        (unsigned long long)blocks);
    run->blocks_n = launch->blocks ? launch->blocks_n : blocks;
    return true;
}

static bool check_args(const EmuLaunch *launch, const EmuCode *code, uint8_t *params, Err *err)
{
    if (launch->args_n != code->params_n)
        return fail(err, E_VALUE, "kernel \"%s\": %u arguments, its entry has %u", code->name, launch->args_n, code->params_n);
    for (unsigned i = 0; i < launch->args_n; i++) {
        if (launch->args[i].bytes != code->params[i].bytes)
            return fail(err, E_VALUE, "kernel \"%s\": argument %u has %zu bytes, its entry expects %u", code->name, i, launch->args[i].bytes,
                        code->params[i].bytes);
        memcpy(params + code->params[i].offset, launch->args[i].data, launch->args[i].bytes);
    }
    return true;
}

static void sum_counts(const Emu *emu, const EmuCode *code, unsigned workers, EmuCounts *c)
{
    *c = (EmuCounts){0};
    for (unsigned i = 0; i < workers; i++) {
        const EmuWorker *w = emu->workers + i;
        c->blocks += w->counts.blocks;
        c->global_requests += w->counts.global_requests;
        c->global_sectors += w->counts.global_sectors;
        c->global_bytes += w->counts.global_bytes;
        c->shared_requests += w->counts.shared_requests;
        c->shared_wavefronts += w->counts.shared_wavefronts;
        for (uint32_t b = 0; b < code->blocks_n; b++)
            for (uint32_t k = 0; k < EMU_CLASSES; k++) {
                c->by_class[k] += w->block_execs[b] * code->classes[b][k];
                c->instructions += w->block_execs[b] * code->classes[b][k];
                c->lanes += w->block_lanes[b] * code->classes[b][k];
            }
    }
}

static int by_block(const void *a, const void *b)
{
    const EmuFinding *x = a, *y = b;
    if (x->block != y->block)
        return x->block < y->block ? -1 : 1;
    return x->ptx_line != y->ptx_line ? (x->ptx_line < y->ptx_line ? -1 : 1) : (int)x->kind - (int)y->kind;
}

/* All workers' findings by block, one for each kind and instruction. */
static void collect_findings(const Emu *emu, unsigned workers, EmuReport *report)
{
    EmuFinding *all = NULL;
    uint32_t n = 0;
    report->findings_n = 0;
    for (unsigned i = 0; i < workers; i++)
        n += emu->workers[i].findings_n;
    if (!n || !(all = malloc(n * sizeof *all)))
        return;
    n = 0;
    for (unsigned i = 0; i < workers; i++) {
        memcpy(all + n, emu->workers[i].findings, emu->workers[i].findings_n * sizeof *all);
        n += emu->workers[i].findings_n;
    }
    qsort(all, n, sizeof *all, by_block);
    for (uint32_t i = 0; i < n && report->findings_n < EMU_FINDINGS_MAX; i++) {
        bool is_known = false;
        for (unsigned k = 0; k < report->findings_n; k++)
            is_known |= report->findings[k].kind == all[i].kind && report->findings[k].ptx_line == all[i].ptx_line;
        if (!is_known)
            report->findings[report->findings_n++] = all[i];
    }
    free(all);
}

/* Positions of the block list in an order drawn from the seed; NULL: as they come. */
static uint32_t *draw_order(const EmuRun *run)
{
    uint64_t state = run->launch->seed, n = run->blocks_n;
    if (!state || n < 2 || n > ORDER_MAX)
        return NULL;
    uint32_t *order = malloc(n * sizeof *order);
    for (uint32_t i = 0; order && i < n; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t at = (uint32_t)((state >> 33) % (i + 1));
        order[i] = at < i ? order[at] : i;
        order[at] = i;
    }
    return order;
}

bool emu_launch(Emu *emu, const EmuLaunch *launch, EmuReport *report, Err *err)
{
    EmuFunc *f = (EmuFunc *)launch->func; /* decoding another mode on demand is not a change that shows */
    EmuReport *own = NULL;
    uint8_t *params = NULL;
    bool ok = false;
    assert(f->module->emu == emu);
    if (!decode_mode(f, launch->mode, err))
        return false;
    const EmuCode *code = &f->code[launch->mode];
    EmuRun run = {.emu = emu, .launch = launch, .code = code, .fuel = launch->fuel ? launch->fuel : FUEL_DEFAULT,
                  .is_checked = launch->mode == EMU_CHECKED};
    atomic_init(&run.next, 0);
    atomic_init(&run.stop_at, UINT64_MAX);
    params = calloc(1, code->params_bytes + 8);
    own = report ? report : malloc(sizeof *own);
    if (!params || !own) {
        fail(err, E_MEMORY, "kernel \"%s\": memory is exhausted", code->name);
        goto done;
    }
    run.params = params;
    if (!check_extents(launch, code, &run, err) || !check_args(launch, code, params, err))
        goto done;
    run.order = draw_order(&run);
    run.has_races = run.is_checked && launch->races;
    run.judges_blocks = run.has_races && emu_race_begin(emu, &run);
    unsigned workers = code->is_ordered || run.has_races || run.blocks_n < 2 ? 1 : emu->workers_n;
    for (unsigned i = 0; i < workers; i++)
        if (!prepare_worker(emu->workers + i, &run)) {
            for (unsigned k = 0; k <= i; k++)
                emu->workers[k].run = NULL;
            fail(err, E_MEMORY, "kernel \"%s\": memory for %u warps is exhausted", code->name, run.warps);
            goto done;
        }
    run_all(emu, &run, workers);
    collect_findings(emu, workers, own);
    sum_counts(emu, code, workers, &own->counts);
    if (launch->mode == EMU_FAST)
        emu_mem_mark_all_valid(emu);
    ok = launch->mode == EMU_CHECKED || own->findings_n == 0 || fail(err, E_KERNEL, "%s", own->findings[0].text);
    for (unsigned i = 0; i < workers; i++)
        if (emu->workers[i].is_memory_out)
            ok = fail(err, E_MEMORY, "kernel \"%s\": memory for its checks is exhausted", code->name);
done:
    free(run.order);
    free(params);
    if (own != report)
        free(own);
    return ok;
}
