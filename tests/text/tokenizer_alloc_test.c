/* Every allocation that reading a tokenizer, encoding and decoding make fails once: the result is E_MEMORY, nothing leaks, nothing
 * crashes. The program's malloc, calloc and realloc stand in front of the library's; under ASAN, which has its own, the test is
 * skipped. jansson keeps its memory: 2.14 cuts strings without a word, or asserts, when it fails inside one. */
#include "tests/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/text/tokenizer.h"
#include "tests/text/tiny_json.h"

#ifdef __SANITIZE_ADDRESS__

static void every_allocation_may_fail(void **unused)
{
    (void)unused;
    skip();
}

#else

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void __libc_free(void *p);

/* volatile: the compiler takes malloc for a function that touches no variable */
static volatile bool is_counting;
static volatile size_t made, fails_at; /* allocations so far · which of them fails */
static volatile long live;             /* blocks made while counting and not freed */

static bool is_refused(void)
{
    if (!is_counting)
        return false;
    made++;
    if (made == fails_at)
        errno = ENOMEM;
    return made == fails_at;
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

/* Reads, encodes, decodes and streams; true when all of it worked. */
static bool work(const char *json, size_t n, Err *err)
{
    static const char marks[] = "q\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323"
                                "\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323\u0307\u0323 <s>the <tool>";
    Buf ids = {0}, text = {0};
    TokenizerStream s = {0};
    Tokenizer *t = tokenizer_parse(json, n, err);
    bool ok = t && tokenizer_encode(t, marks, sizeof marks - 1, TOKENIZER_SPECIAL, &ids, err) &&
              tokenizer_decode(t, (uint32_t *)(void *)ids.data, ids.n / 4, TOKENIZER_SHOW_ALL, &text, err) &&
              tokenizer_stream_put(t, &s, 0xC3, TOKENIZER_SHOW_ALL, &text, err) && tokenizer_stream_flush(&s, &text, err);
    buf_deinit(&ids);
    buf_deinit(&text);
    tokenizer_close(t);
    return ok;
}

static void every_allocation_may_fail(void **unused)
{
    (void)unused;
    char *json = tiny_json();
    json_set_alloc_funcs(__libc_malloc, __libc_free);
    size_t n = 0, refused = 0, json_n = strlen(json);
    do {
        Err err = {0};
        n++;
        made = 0, live = 0, fails_at = n, is_counting = true;
        bool ok = work(json, json_n, &err);
        is_counting = false;
        refused += !ok;
        if (!ok && err.kind != E_MEMORY)
            fail_msg("allocation %zu: want E_MEMORY, got %s: %s", n, err_name(err.kind), err.text);
        if (live != 0)
            fail_msg("allocation %zu: %ld blocks are left (%s)", n, live, err.text);
    } while (made >= fails_at);
    print_message("%zu allocations, %zu of them needed\n", n - 1, refused);
    assert_true(refused > 40);
    free(json);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
