/* The four recorded kernels, sm_120a and sm_90, against C references in f64 that share no code with the emulator: GEMM W4A4, GEMV
 * W4A16, RMSNorm with quantization, gated delta rule, each at any shape. Shared by the test and the benchmark. */
#ifndef TESTS_EMU_EMU_KERNELS_H
#define TESTS_EMU_EMU_KERNELS_H
#include "tests/emu/emu_fixture.h"

typedef struct Setup {
    const char *arch, *suffix;
    EmuIsa isa;
    unsigned workers;
    EmuMode mode;
    uint64_t seed;
    void (*then)(Emu *emu, const EmuLaunch *l, void *data); /* NULL, or called after the check, to launch it again */
    void *data;
} Setup;

static Emu *emu;
static EmuModule *module;
static EmuLaunch launched;
static EmuReport report;

static inline const EmuFunc *open_kernel(const Setup *s, const char *file, const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "tests/golden/ptx/%s.%s.ptx", file, s->suffix);
    emu = device(s->arch, s->workers, s->isa);
    module = load_file(emu, path);
    return kernel(module, name);
}

static inline void launch(const Setup *s, const EmuFunc *f, uint32_t gx, uint32_t gy, uint32_t threads, uint32_t smem, const EmuArg *args, unsigned n)
{
    launched = (EmuLaunch){.func = f, .grid = {gx, gy, 1}, .block = {threads, 1, 1}, .smem_bytes = smem, .args = args, .args_n = n,
                           .mode = s->mode, .seed = s->seed};
    MUST(emu_launch(emu, &launched, &report, &err));
    for (unsigned i = 0; i < report.findings_n; i++)
        print_message("%s\n", report.findings[i].text);
    assert_int_equal(report.findings_n, 0);
}

static inline void finish(const Setup *s)
{
    if (s->then)
        s->then(emu, &launched, s->data);
    emu_module_unload(module);
    emu_free(emu);
}
#define ARG(x) {&(x), sizeof(x)}

/* n values of e2m1 codes times their block's scale. */
static inline double *nvfp4_values(const uint8_t *codes, const uint8_t *scales, size_t n)
{
    double *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = e2m1_value(codes[i / 2] >> (4 * (i & 1)) & 15) * e4m3_value(scales[i / 16]);
    return x;
}

static inline void gemm(const Setup *s, uint32_t m, uint32_t n, uint32_t k)
{
    const EmuFunc *f = open_kernel(s, "gemm", "gemm_nvfp4");
    uint8_t *a = malloc(m * k / 2), *b = malloc(n * k / 2), *sa = malloc(m * k / 16), *sb = malloc(n * k / 16);
    uint16_t *c = malloc(m * n * 2);
    float alpha = 0.37f;
    fixture_random = 1;
    for (uint32_t i = 0; i < m * k / 2; i++)
        a[i] = (uint8_t)random_u32();
    for (uint32_t i = 0; i < n * k / 2; i++)
        b[i] = (uint8_t)random_u32();
    for (uint32_t i = 0; i < m * k / 16; i++)
        sa[i] = (uint8_t)(random_u32() % 0x60 + 8);
    for (uint32_t i = 0; i < n * k / 16; i++)
        sb[i] = (uint8_t)(random_u32() % 0x60 + 8);
    EmuPtr pa = upload(emu, "A", a, m * k / 2), psa = upload(emu, "SFA", sa, m * k / 16), pb = upload(emu, "B", b, n * k / 2),
           psb = upload(emu, "SFB", sb, n * k / 16), pc = upload(emu, "C", NULL, m * n * 2), pal = upload(emu, "alpha", &alpha, 4);
    EmuArg args[] = {ARG(pa), ARG(psa), ARG(pb), ARG(psb), ARG(pc), ARG(pal), ARG(m), ARG(n), ARG(k)};
    launch(s, f, (n + 63) / 64, (m + 63) / 64, 128, 0, args, 9);
    MUST(emu_read(emu, c, pc, m * n * 2, &err));
    double *x = nvfp4_values(a, sa, (size_t)m * k), *y = nvfp4_values(b, sb, (size_t)n * k);
    for (uint32_t i = 0; i < m; i++)
        for (uint32_t j = 0; j < n; j++) {
            double sum = 0, size = 0;
            for (uint32_t q = 0; q < k; q++) {
                sum += x[i * k + q] * y[j * k + q];
                size += fabs(x[i * k + q] * y[j * k + q]);
            }
            double want = sum * (double)alpha, got = bf16_value(c[i * n + j]), ulp = fabs(want) * 0x1p-8;
            if (!(fabs(got - want) <= ulp * 0.5 * 2 + size * 1e-6))
                fail_msg("gemm %ux%ux%u: C[%u][%u] is %.9g, expected %.9g", m, n, k, i, j, got, want);
        }
    free(a), free(b), free(sa), free(sb), free(c), free(x), free(y);
    finish(s);
}

static inline void gemv(const Setup *s, uint32_t n, uint32_t k, uint32_t experts, uint32_t slots)
{
    const EmuFunc *f = open_kernel(s, "gemv", "gemv_nvfp4");
    size_t wn = (size_t)experts * n * k / 2;
    uint8_t *w = malloc(wn), *sf = malloc(wn / 8);
    float *gs = malloc(experts * 4), *y = malloc(slots * n * 4);
    uint32_t *ids = malloc(slots * 4);
    uint16_t *x = malloc(k * 2);
    fixture_random = 2;
    for (size_t i = 0; i < wn; i++)
        w[i] = (uint8_t)random_u32();
    for (size_t i = 0; i < wn / 8; i++)
        sf[i] = (uint8_t)(random_u32() % 0x70);
    for (uint32_t i = 0; i < experts; i++)
        gs[i] = 0.001f * (float)(i + 1);
    for (uint32_t i = 0; i < slots; i++)
        ids[i] = random_u32() % experts;
    for (uint32_t i = 0; i < k; i++)
        x[i] = bf16_nearest(random_normal());
    EmuPtr pw = upload(emu, "W", w, wn), psf = upload(emu, "SF", sf, wn / 8), pgs = upload(emu, "gs", gs, experts * 4),
           pid = upload(emu, "ids", ids, slots * 4), px = upload(emu, "x", x, k * 2), py = upload(emu, "y", NULL, slots * n * 4);
    EmuArg args[] = {ARG(pw), ARG(psf), ARG(pgs), ARG(pid), ARG(px), ARG(py), ARG(n), ARG(k)};
    launch(s, f, (n + 3) / 4, slots, 128, k * 4, args, 8);
    MUST(emu_read(emu, y, py, slots * n * 4, &err));
    double *values = nvfp4_values(w, sf, 2 * wn);
    for (uint32_t e = 0; e < slots; e++)
        for (uint32_t row = 0; row < n; row++) {
            double sum = 0, size = 0;
            size_t at = ((size_t)ids[e] * n + row) * k;
            for (uint32_t q = 0; q < k; q++) {
                double t = values[at + q] * bf16_value(x[q]);
                sum += t;
                size += fabs(t);
            }
            sum *= gs[ids[e]];
            size *= gs[ids[e]];
            if (!(fabs(y[e * n + row] - sum) <= size * 3e-7))
                fail_msg("gemv: y[%u][%u] is %.9g, expected %.9g", e, row, (double)y[e * n + row], sum);
        }
    free(w), free(sf), free(gs), free(y), free(ids), free(x), free(values);
    finish(s);
}

/* Nearest e4m3 of x >= 0, at most 448, by trying all codes; ties to the even code. */
static inline unsigned e4m3_nearest(double x)
{
    unsigned best = 0;
    for (unsigned c = 1; c < 0x7F; c++) {
        double d = fabs(e4m3_value(c) - x), e = fabs(e4m3_value(best) - x);
        if (d < e || (d == e && !(c & 1)))
            best = c;
    }
    return best;
}

static inline unsigned e2m1_nearest(double x, double *distance_to_tie)
{
    static const double ties[7] = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5};
    double a = fabs(x);
    unsigned c = 0;
    *distance_to_tie = 1;
    for (unsigned i = 0; i < 7; i++) {
        c += a > ties[i] || (a == ties[i] && (i & 1));
        *distance_to_tie = fmin(*distance_to_tie, fabs(a - ties[i]));
    }
    return c | (signbit(x) ? 8u : 0);
}

static inline void rms(const Setup *s, uint32_t tokens, uint32_t h)
{
    const EmuFunc *f = open_kernel(s, "rms", "rmsnorm_quant");
    uint16_t *x = malloc(tokens * h * 2), *g = malloc(h * 2);
    uint8_t *q = malloc(tokens * h / 2), *sf = malloc(tokens * h / 16);
    float gscale = 448.0f, eps = 1e-6f;
    fixture_random = 3;
    for (uint32_t i = 0; i < tokens * h; i++)
        x[i] = bf16_nearest(random_normal());
    for (uint32_t i = 0; i < h; i++)
        g[i] = bf16_nearest(1 + 0.1 * random_normal());
    for (uint32_t i = 0; i < 16; i++) /* a block of zeros */
        x[h + 32 + i] = 0;
    EmuPtr px = upload(emu, "x", x, tokens * h * 2), pg = upload(emu, "g", g, h * 2), pq = upload(emu, "q", NULL, tokens * h / 2),
           psf = upload(emu, "sf", NULL, tokens * h / 16), pgs = upload(emu, "gscale", &gscale, 4);
    EmuArg args[] = {ARG(px), ARG(pg), ARG(pq), ARG(psf), ARG(pgs), ARG(eps), ARG(h)};
    launch(s, f, tokens, 1, 256, 0, args, 7);
    MUST(emu_read(emu, q, pq, tokens * h / 2, &err));
    MUST(emu_read(emu, sf, psf, tokens * h / 16, &err));
    unsigned near_ties = 0;
    for (uint32_t t = 0; t < tokens; t++) {
        double ss = 0;
        for (uint32_t i = 0; i < h; i++)
            ss += (double)bf16_value(x[t * h + i]) * bf16_value(x[t * h + i]);
        double r = 1 / sqrt(ss / h + eps);
        for (uint32_t block = 0; block < h / 16; block++) {
            double v[16], most = 0, distance;
            for (uint32_t i = 0; i < 16; i++) {
                v[i] = bf16_value(x[t * h + block * 16 + i]) * r * bf16_value(g[block * 16 + i]);
                most = fmax(most, fabs(v[i]));
            }
            unsigned scale = e4m3_nearest(most * gscale / 6), got = sf[t * h / 16 + block];
            if (got != scale) { /* only where the scale lies at a tie, to f32's precision */
                near_ties++;
                assert_true(fabs(fabs(e4m3_value(got) - most * gscale / 6) - fabs(e4m3_value(scale) - most * gscale / 6)) < 1e-5 * most * gscale);
            }
            double inverse = got ? gscale / e4m3_value(got) : 0;
            for (uint32_t i = 0; i < 16; i++) {
                unsigned code = q[(t * h + block * 16 + i) / 2] >> (4 * (i & 1)) & 15, want = e2m1_nearest(v[i] * inverse, &distance);
                if ((code & 7) == 0 && (want & 7) == 0)
                    continue;
                if (code != want && !(distance < 1e-5))
                    fail_msg("rms: code [%u][%u] is %u, expected %u", t, block * 16 + i, code, want);
                near_ties += code != want;
            }
        }
    }
    assert_true(near_ties <= 8);
    free(x), free(g), free(q), free(sf);
    finish(s);
}

static inline void gdr(const Setup *s, uint32_t heads, uint32_t ratio)
{
    const EmuFunc *f = open_kernel(s, "gdr", "gdr_step");
    uint32_t keys = heads / ratio;
    size_t sn = (size_t)heads * 128 * 128;
    float *state = malloc(sn * 4), *after = malloc(sn * 4), *g = malloc(heads * 4), *beta = malloc(heads * 4), scale = 0.0883883f;
    uint16_t *q = malloc(keys * 256), *k = malloc(keys * 256), *v = malloc(heads * 256), *o = malloc(heads * 256);
    fixture_random = 4;
    for (size_t i = 0; i < sn; i++)
        state[i] = random_normal();
    for (uint32_t i = 0; i < keys * 128; i++) {
        q[i] = bf16_nearest(random_normal());
        k[i] = bf16_nearest(random_normal());
    }
    for (uint32_t i = 0; i < heads * 128; i++)
        v[i] = bf16_nearest(random_normal());
    for (uint32_t i = 0; i < heads; i++) {
        g[i] = -0.1f * (float)(i % 7);
        beta[i] = 0.1f + 0.02f * (float)(i % 32);
    }
    EmuPtr ps = upload(emu, "S", state, sn * 4), pq = upload(emu, "q", q, keys * 256), pk = upload(emu, "k", k, keys * 256),
           pv = upload(emu, "v", v, heads * 256), pg = upload(emu, "g", g, heads * 4), pb = upload(emu, "beta", beta, heads * 4),
           po = upload(emu, "o", NULL, heads * 256);
    EmuArg args[] = {ARG(ps), ARG(pq), ARG(pk), ARG(pv), ARG(pg), ARG(pb), ARG(po), ARG(ratio), ARG(scale)};
    launch(s, f, heads, 4, 128, 0, args, 9);
    MUST(emu_read(emu, after, ps, sn * 4, &err));
    MUST(emu_read(emu, o, po, heads * 256, &err));
    for (uint32_t h = 0; h < heads; h++) {
        const uint16_t *qh = q + h / ratio * 128, *kh = k + h / ratio * 128;
        double qq = 1e-6, kk = 1e-6, qn[128], kn[128];
        for (uint32_t i = 0; i < 128; i++) {
            qq += (double)bf16_value(qh[i]) * bf16_value(qh[i]);
            kk += (double)bf16_value(kh[i]) * bf16_value(kh[i]);
        }
        for (uint32_t i = 0; i < 128; i++) {
            qn[i] = bf16_value(qh[i]) / sqrt(qq) * scale;
            kn[i] = bf16_value(kh[i]) / sqrt(kk);
        }
        for (uint32_t c = 0; c < 128; c++) {
            const float *col = state + (size_t)h * 16384 + c;
            double kv = 0, y = 0, decay = exp(g[h]);
            for (uint32_t i = 0; i < 128; i++)
                kv += kn[i] * col[i * 128] * decay;
            double delta = (bf16_value(v[h * 128 + c]) - kv) * beta[h];
            for (uint32_t i = 0; i < 128; i++) {
                double want = col[i * 128] * decay + kn[i] * delta, got = after[(size_t)h * 16384 + i * 128 + c];
                if (!(fabs(got - want) <= 2e-6))
                    fail_msg("gdr: state [%u][%u][%u] is %.9g, expected %.9g", h, i, c, got, want);
                y += qn[i] * want;
            }
            double got = bf16_value(o[h * 128 + c]);
            if (!(fabs(got - y) <= fabs(y) * 0x1p-8 + 2e-6))
                fail_msg("gdr: output [%u][%u] is %.9g, expected %.9g", h, c, got, y);
        }
    }
    free(state), free(after), free(g), free(beta), free(q), free(k), free(v), free(o);
    finish(s);
}

#endif
