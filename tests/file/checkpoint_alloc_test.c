/* Every allocation that opening a checkpoint makes fails once: each time the result is E_MEMORY (or
 * jansson's word for it), nothing leaks, nothing crashes. The program's malloc, calloc and realloc
 * stand in front of the library's; under ASAN, which has its own, the test is skipped. */
#include "tests/test.h"

#include <errno.h>

#include "core/file/checkpoint.h"
#include "tests/file/folder.h"

#ifdef __SANITIZE_ADDRESS__

static void every_allocation_may_fail(void **state)
{
    (void)state;
    skip();
}

#else

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void __libc_free(void *p);
void *malloc(size_t n);
void *calloc(size_t n, size_t size);
void *realloc(void *p, size_t n);
void free(void *p);

/* volatile: the compiler takes malloc for a function that touches no variable */
static volatile bool is_counting;
static volatile size_t made, fails_at; /* allocations so far · which of them fails, 0: none */
static volatile long live;             /* blocks made while counting and not freed */

static bool is_refused(void)
{
    if (!is_counting)
        return false;
    made++;
    if (made != fails_at)
        return false;
    errno = ENOMEM;
    return true;
}

static void *counted(void *p)
{
    live += is_counting && p;
    return p;
}

void *malloc(size_t n)
{
    return is_refused() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return is_refused() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (is_refused())
        return NULL;
    live -= is_counting && p;
    return counted(__libc_realloc(p, n));
}

void free(void *p)
{
    live -= is_counting && p;
    __libc_free(p);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    enum { TENSORS = 300 }; /* enough for every list to grow */
    char folder[64], names[TENSORS][16], index[TENSORS * 48] = "{\"weight_map\":{", *at = index + strlen(index);
    TestTensor t[TENSORS];
    folder_new(folder);
    for (int i = 0; i < TENSORS; i++) {
        snprintf(names[i], sizeof names[i], "t.%d", TENSORS - i);
        t[i] = (TestTensor){names[i], "U8", "[1]", NULL, 1};
        at += sprintf(at, "%s\"%s\":\"a.safetensors\"", i ? "," : "", names[i]);
    }
    strcpy(at, "}}");
    folder_tensors(folder, "a.safetensors", t, TENSORS);
    folder_text(folder, "config.json", "{\"a\":[1,2,{\"b\":\"c\"}],\"quantization_config\":{\"quant_method\":\"fp8\"}}");
    folder_text(folder, "hf_quant_config.json", "{\"quantization\":{}}");
    for (int with_index = 0; with_index < 2; with_index++) {
        if (with_index)
            folder_text(folder, "model.safetensors.index.json", index);
        size_t handles = folder_handles();
        size_t n = 0, refused = 0;
        do {
            Err err = {0};
            n++;
            made = 0, live = 0, fails_at = n, is_counting = true;
            Checkpoint *c = checkpoint_open(folder, &err);
            checkpoint_close(c); /* the C library gets over some failures by itself */
            is_counting = false;
            refused += !c;
            bool is_jansson = strstr(err.text, "config.json: line") != NULL; /* calls it a bad token */
            if (!c && err.kind != E_MEMORY && !is_jansson)
                fail_msg("allocation %zu: want E_MEMORY, got %s: %s", n, err_name(err.kind), err.text);
            if (live != 0)
                fail_msg("allocation %zu: %ld blocks are left (%s)", n, live, err.text);
            assert_int_equal(folder_handles(), handles);
        } while (made >= fails_at);
        print_message("%zu allocations, %zu of them needed\n", n - 1, refused);
        assert_true(refused > 20);
    }
    folder_free(folder);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
