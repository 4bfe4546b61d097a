/* Changed PTX: prog N [SEED]. Kernels of statements of the opcode cases with tokens changed, recorded kernels of the compiler, and
 * bytes changed in both. What is refused names a line; what is read prints so that it is read again, and prints the same. */
#include "core/ptx/ptx_parse.h"
#include "tests/ptx/ptx_mutate.h"

enum { RECORDED_N = 4, RECORDED_MAX = 30000 };

static size_t change_bytes(Prng *p, char *text, size_t n)
{
    static const char odd[] = "{}()[]<>,;:=+-*/!|&@~?\"%.$_\n\0\x80 0x1f";
    for (uint32_t i = 0, changes = 1 + mutate_below(p, 4); i < changes && n > 8; i++) {
        size_t at = mutate_below(p, (uint32_t)n);
        char c = mutate_below(p, 2) ? odd[mutate_below(p, sizeof odd - 1)] : (char)prng_next(p);
        size_t length = 1 + mutate_below(p, 24);
        switch (mutate_below(p, 5)) {
        case 0: /* gone */
            length = length < n - at ? length : n - at;
            memmove(text + at, text + at + length, n - at - length);
            n -= length;
            break;
        case 1: /* again, from elsewhere */
            if (at + length < n)
                memmove(text + at, text + mutate_below(p, (uint32_t)(n - length)), length);
            break;
        case 2:
            n = mutate_below(p, 8) ? n : at;
            break;
        default:
            text[at] = c;
        }
    }
    return n;
}

static void check(const char *text, size_t n, long *read)
{
    Err err = {0};
    char *exact = malloc(n + 1); /* one byte more, so that an empty text has an address */
    assert(exact);
    memcpy(exact, text, n);
    exact[n] = 0;
    char *tight = n ? memmove(malloc(n), text, n) : exact;
    PtxModule *m = ptx_parse_module(tight, n, &err);
    if (m) {
        char *printed = ptx_print(m);
        assert(printed);
        PtxModule *again = ptx_parse_module(printed, strlen(printed), &err);
        if (!again)
            fprintf(stderr, "%s\n---- read from\n%s\n---- printed as\n%s\n", err.text, exact, printed);
        assert(again);
        char *twice = ptx_print(again);
        assert(twice && strcmp(printed, twice) == 0);
        free(twice);
        free(printed);
        ptx_free(again);
        *read += 1;
    } else {
        assert(err.kind == E_FORMAT || err.kind == E_UNSUPPORTED || err.kind == E_VALUE);
        assert(strncmp(err.text, "PTX line ", 9) == 0);
    }
    ptx_free(m);
    if (tight != exact)
        free(tight);
    free(exact);
}

int main(int argc, char **argv)
{
    static const char *const names[RECORDED_N] = {"gdr.90", "gemm.120", "gemv.120", "rms.120"};
    long executions = argc > 1 ? strtol(argv[1], NULL, 10) : 20000, read = 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    Prng p = {seed};
    MutateCorpus *corpus = mutate_open();
    MutateKernel *kernel = malloc(sizeof *kernel);
    char *text = malloc(MUTATE_TEXT), *recorded[RECORDED_N];
    size_t recorded_n[RECORDED_N];
    assert(kernel && text);
    for (int i = 0; i < RECORDED_N; i++) {
        char path[100];
        snprintf(path, sizeof path, "tests/golden/ptx/%s.ptx", names[i]);
        recorded[i] = mutate_read(path, recorded_n + i);
        assert(recorded_n[i] < RECORDED_MAX);
    }
    for (long i = 0; i < executions; i++) {
        size_t n;
        if (mutate_below(&p, 50) == 0) {
            uint32_t which = mutate_below(&p, RECORDED_N);
            memcpy(text, recorded[which], n = recorded_n[which]);
            n = change_bytes(&p, text, n);
        } else {
            kernel->n = 0;
            mutate_add(kernel, corpus, &p);
            for (uint32_t k = mutate_below(&p, 4); k; k--)
                mutate_once(kernel, corpus, &p);
            n = mutate_print(kernel, mutate_below(&p, 8) == 0, text);
            if (mutate_below(&p, 2))
                n = change_bytes(&p, text, n);
        }
        check(text, n, &read);
    }
    for (int i = 0; i < RECORDED_N; i++)
        free(recorded[i]);
    assert(executions < 1000 || (read > executions / 10 && read < executions * 9 / 10));
    mutate_close(corpus);
    free(kernel);
    free(text);
    printf("ok 1 - ptx parse: %ld executions, seed %llu\n", executions, (unsigned long long)seed);
    return 0;
}
