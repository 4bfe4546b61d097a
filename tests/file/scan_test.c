/* Statistics of stored bytes against counts made one value at a time: whole domains of the small types, odd offsets, several
 * pieces. */
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file/scan.h"

static char path[] = "/tmp/nibble-scan-XXXXXX";

static ScanFile *file_of(const void *bytes, size_t n, size_t front)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < front; i++)
        fputc(0x5A, f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    Err err;
    ScanFile *scan = scan_open(path, &err);
    assert_non_null(scan);
    assert_int_equal(scan_file_bytes(scan), n + front);
    return scan;
}

static ScanStats scan_one(const void *bytes, size_t n, DType dtype, size_t front)
{
    ScanFile *scan = file_of(bytes, n, front);
    ScanItem item = {.file = scan, .dtype = dtype, .offset = front, .bytes = n};
    Err err;
    assert_true(scan_run(&item, 1, NULL, &err));
    scan_close(scan);
    return item.stats;
}

/* The value of a 16-bit pattern by its fields, written apart from the codecs. */
static double half_value(uint16_t bits, int mantissa_bits)
{
    int exponent_bits = 15 - mantissa_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (bits & 0x7FFF) >> mantissa_bits, mantissa = bits & ((1 << mantissa_bits) - 1);
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return mantissa ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(1 + ldexp(mantissa, -mantissa_bits), exponent - bias);
}

static void count_value(ScanStats *want, double x, double *sum, uint64_t *finite)
{
    want->count++;
    want->zeros += x == 0;
    want->nans += isnan(x) ? 1 : 0;
    want->infs += isinf(x) ? 1 : 0;
    want->negatives += x < 0;
    if (!isfinite(x))
        return;
    want->amax = fabs(x) > want->amax ? fabs(x) : want->amax;
    want->min = *finite == 0 || x < want->min ? x : want->min;
    *sum += x;
    ++*finite;
}

static void check(const ScanStats *got, const ScanStats *want)
{
    assert_int_equal(got->count, want->count);
    assert_int_equal(got->zeros, want->zeros);
    assert_int_equal(got->nans, want->nans);
    assert_int_equal(got->infs, want->infs);
    assert_int_equal(got->negatives, want->negatives);
    assert_int_equal(got->saturated, want->saturated);
    assert_int_equal(got->lost, want->lost);
    assert_true(got->amax == want->amax);
    assert_true(got->min == want->min);
}

/* Every pattern once: 65,536 elements, the largest tensor that has a mean. */
static void every_half(DType dtype, int mantissa_bits, size_t front)
{
    uint16_t *bits = malloc(65536 * sizeof *bits);
    ScanStats want = {0};
    double sum = 0;
    uint64_t finite = 0;
    for (uint32_t i = 0; i < 65536; i++) {
        bits[i] = (uint16_t)(i * 40503u); /* odd multiplier: a permutation */
        count_value(&want, half_value(bits[i], mantissa_bits), &sum, &finite);
    }
    ScanStats got = scan_one(bits, 65536 * sizeof *bits, dtype, front);
    check(&got, &want);
    assert_true(fabs(got.mean - sum / (double)finite) <= 1e-9 * want.amax);
    free(bits);
}

static void every_bf16_and_f16_pattern(void **state)
{
    (void)state;
    every_half(DTYPE_BF16, 7, 0);
    every_half(DTYPE_BF16, 7, 3);
    every_half(DTYPE_F16, 10, 1);
}

static uint64_t next_random(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return *s >> 16;
}

static void f32_with_special_values(void **state)
{
    (void)state;
    enum { N = 300001 }; /* more than one piece, so no mean */
    float *x = malloc(N * sizeof *x);
    uint64_t seed = 7, finite = 0;
    double sum = 0;
    ScanStats want = {0};
    for (int i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)next_random(&seed);
        if (i % 97 == 0)
            bits = (uint32_t[]){0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001, 1, 0x80000001}[i / 97 % 8];
        memcpy(&x[i], &bits, sizeof bits);
        count_value(&want, (double)x[i], &sum, &finite);
    }
    want.min = 0;
    ScanStats got = scan_one(x, N * sizeof *x, DTYPE_F32, 5);
    check(&got, &want);
    assert_true(got.mean == 0);
    free(x);
}

static double e4m3_value(uint8_t b)
{
    int exponent = (b >> 3) & 15, mantissa = b & 7;
    double magnitude = exponent ? ldexp(1 + mantissa / 8.0, exponent - 7) : ldexp(mantissa, -9);
    return (b & 0x7F) == 0x7F ? NAN : b & 0x80 ? -magnitude : magnitude;
}

static void every_e4m3_byte_many_times(void **state)
{
    (void)state;
    enum { N = 3 * 1024 * 1024 + 11 };
    uint8_t *b = malloc(N);
    uint64_t seed = 11;
    ScanStats want = {.count = N};
    for (int i = 0; i < N; i++) {
        b[i] = i < 256 ? (uint8_t)i : (uint8_t)next_random(&seed);
        double x = e4m3_value(b[i]);
        want.zeros += x == 0;
        want.nans += isnan(x) ? 1 : 0;
        want.negatives += b[i] >= 0x80;
        want.saturated += fabs(x) == 448;
        want.amax = fabs(x) > want.amax ? fabs(x) : want.amax;
    }
    ScanStats got = scan_one(b, N, DTYPE_F8_E4M3, 1);
    check(&got, &want);
    assert_true(got.amax == 448);
    free(b);
}

static void codes_are_zero_when_both_nibbles_are(void **state)
{
    (void)state;
    uint8_t b[256];
    for (int i = 0; i < 256; i++)
        b[i] = (uint8_t)i;
    ScanStats got = scan_one(b, sizeof b, DTYPE_U8, 0);
    assert_int_equal(got.count, 256);
    assert_int_equal(got.zeros, 4); /* 00 08 80 88 */
}

static void zero_scales_over_codes_are_lost(void **state)
{
    (void)state;
    enum { SCALES = 200000 }; /* two pieces of codes */
    size_t n = (size_t)SCALES * 9;
    uint8_t *b = calloc(n, 1), *codes = b + SCALES;
    uint64_t lost = 0, zeros = 0, seed = 3;
    for (size_t i = 0; i < SCALES; i++) {
        uint64_t r = next_random(&seed);
        b[i] = (uint8_t)(r % 3 != 0 ? 0x38 : r % 2 ? 0x80 : 0x00);
        bool has_codes = r / 8 % 2;
        codes[8 * i + r / 16 % 8] = (uint8_t)(has_codes ? 1 + r / 128 % 7 : 0x88); /* 88: both zero */
        zeros += r % 3 == 0;
        lost += r % 3 == 0 && has_codes;
    }
    ScanFile *scan = file_of(b, n, 0);
    ScanItem item = {.file = scan, .dtype = DTYPE_F8_E4M3, .bytes = SCALES, .code_file = scan, .code_offset = SCALES};
    Err err;
    assert_true(scan_run(&item, 1, NULL, &err));
    assert_int_equal(item.stats.zeros, zeros);
    assert_int_equal(item.stats.lost, lost);
    assert_true(lost > 1000 && lost < zeros);
    scan_close(scan);
    free(b);
}

static void scalars_and_bytes_at_any_offset(void **state)
{
    (void)state;
    float x[5000];
    uint64_t offsets[5000];
    float got[5000];
    for (int i = 0; i < 5000; i++) {
        x[i] = (float)i * 0.5f;
        offsets[i] = 3 + 4 * (uint64_t)(4999 - i);
    }
    ScanFile *scan = file_of(x, sizeof x, 3);
    Err err;
    assert_true(scan_read_f32(scan, offsets, 5000, got, &err));
    for (int i = 0; i < 5000; i++)
        assert_true(got[i] == x[4999 - i]);
    uint8_t front[4];
    assert_true(scan_read(scan, 0, 3, front, &err));
    assert_memory_equal(front, "ZZZ", 3);
    scan_close(scan);
}

static void what_is_outside_the_file_is_an_error(void **state)
{
    (void)state;
    uint8_t b[100] = {0};
    ScanFile *scan = file_of(b, sizeof b, 0);
    Err err;
    uint8_t out[8];
    assert_false(scan_read(scan, 96, 8, out, &err));
    assert_int_equal(err.kind, E_IO);
    assert_false(scan_read(scan, UINT64_MAX - 2, 8, out, &err));
    uint64_t far = 98;
    float x;
    assert_false(scan_read_f32(scan, &far, 1, &x, &err));
    ScanItem item = {.file = scan, .dtype = DTYPE_U8, .offset = 50, .bytes = 51};
    assert_false(scan_run(&item, 1, NULL, &err));
    assert_int_equal(err.kind, E_IO);
    assert_int_equal(truncate(path, 60), 0); /* the file shrinks while it is open */
    item.bytes = 50;
    assert_false(scan_run(&item, 1, NULL, &err));
    assert_int_equal(err.kind, E_IO);
    assert_non_null(strstr(err.text, "ends"));
    scan_close(scan);
}

static void what_is_no_file_is_an_error(void **state)
{
    (void)state;
    Err err;
    assert_null(scan_open("/nowhere/x", &err));
    assert_int_equal(err.kind, E_IO);
    assert_null(scan_open("/tmp", &err));
    assert_int_equal(err.kind, E_IO);
    scan_close(NULL);
}

int main(void)
{
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bf16_and_f16_pattern),
        cmocka_unit_test(f32_with_special_values),
        cmocka_unit_test(every_e4m3_byte_many_times),
        cmocka_unit_test(codes_are_zero_when_both_nibbles_are),
        cmocka_unit_test(zero_scales_over_codes_are_lost),
        cmocka_unit_test(scalars_and_bytes_at_any_offset),
        cmocka_unit_test(what_is_outside_the_file_is_an_error),
        cmocka_unit_test(what_is_no_file_is_an_error),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return rc;
}
