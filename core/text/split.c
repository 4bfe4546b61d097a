#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/text/split.h"

#include <assert.h>
#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"

enum {
    PATTERN_BYTES_MAX = 1 << 16,
    JIT_STACK_FIRST = 32 << 10,
    JIT_STACK_MAX = 8 << 20,
    STEPS_FIRST = 10000000, /* what any text may cost, and what each byte adds */
    STEPS_PER_BYTE = 64,
};

struct Split {
    Buf pattern; /* ends with a 0 */
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* NULL where PCRE2 has no compiler for this machine */
};

/* What \p{L}, \p{M} and \p{N} lack in PCRE2, in the words of a character class. */
static const struct {
    const char *property, *ranges;
} newer[] = {
#define NEWER(property, first, last) {#property, "\\x{" #first "}-\\x{" #last "}"},
#include "core/text/split_newer.def"
#undef NEWER
};

/* Copies \p{…} or \P{…}, pattern[*at] being what stands behind the letter. A \P inside a class stays as PCRE2 knows it. */
static bool translate_property(const char *pattern, size_t n, size_t *at, bool in_class, Buf *out, Err *err)
{
    const char *start = pattern + *at - 2, *close = *at < n && pattern[*at] == '{' ? memchr(pattern + *at, '}', n - *at) : NULL;
    bool is_negative = start[1] == 'P';
    if (close)
        *at = (size_t)(close - pattern) + 1;
    bool is_short = close && close - start == 4 && memchr("LMN", start[3], 3) && !(is_negative && in_class);
    if (!is_short)
        return buf_append(out, start, (size_t)(pattern + *at - start), err);
    const char property[] = {start[3], 0}, known[] = {'\\', 'p', '{', start[3], '}'};
    if ((!in_class && !buf_append(out, "[^", is_negative ? 2 : 1, err)) || !buf_append(out, known, sizeof known, err))
        return false;
    for (size_t i = 0; i < sizeof newer / sizeof *newer; i++)
        if (strcmp(newer[i].property, property) == 0 && !buf_append(out, newer[i].ranges, strlen(newer[i].ranges), err))
            return false;
    return in_class || buf_append(out, "]", 1, err);
}

/* Copies one escape, pattern[*at] being the backslash. */
static bool translate_escape(const char *pattern, size_t n, size_t *at, bool in_class, Buf *out, Err *err)
{
    static const char known[] = "rntpPd";
    if (*at + 1 >= n)
        return fail(err, E_FORMAT, "the pattern ends in the middle of an escape");
    char c = pattern[*at + 1];
    *at += 2;
    if (c == 's' || c == 'S')
        return buf_append(out, c == 's' ? "\\p{White_Space}" : "\\P{White_Space}", 15, err);
    bool is_sign = c >= ' ' && c < 0x7F && !(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z');
    if (!is_sign && !memchr(known, c, sizeof known - 1))
        return fail(err, E_UNSUPPORTED,
                    "the pattern's escape at byte %zu is none of \\s \\S \\p \\P \\d \\r \\n \\t and escaped signs",
                    *at - 2);
    if (c == 'p' || c == 'P')
        return translate_property(pattern, n, at, in_class, out, err);
    return buf_append(out, pattern + *at - 2, 2, err);
}

static bool begins(const char *pattern, size_t n, size_t at, const char *words)
{
    return n - at >= strlen(words) && memcmp(pattern + at, words, strlen(words)) == 0;
}

/* What stands at byte `at` and is read differently by the two engines, or in a way this program does not follow. */
static bool refuse(const char *pattern, size_t n, size_t at, bool in_class, Err *err)
{
    static const char *const in_classes[] = {"[", "&&"};
    static const char *const outside[] = {"^", "$", ".", "[]", "[^]", "(*", "{,", "}+", "}?"};
    static const char *const groups[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"};
    const char *const *words = in_class ? in_classes : outside;
    size_t words_n = in_class ? sizeof in_classes / sizeof *in_classes : sizeof outside / sizeof *outside;
    for (size_t i = 0; i < words_n; i++)
        if (begins(pattern, n, at, words[i]))
            return fail(err, E_UNSUPPORTED, "the pattern holds \"%s\" at byte %zu, which this program does not take", words[i],
                        at);
    if (in_class || !begins(pattern, n, at, "(?"))
        return true;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (begins(pattern, n, at, groups[i]))
            return true;
    return fail(err, E_UNSUPPORTED, "the pattern's group at byte %zu is none of (?: (?= (?! (?<= (?<! (?> (?i:", at);
}

/* Oniguruma's pattern in PCRE2's words. */
static bool translate(const char *pattern, size_t n, Buf *out, Err *err)
{
    bool in_class = false;
    for (size_t i = 0; i < n;) {
        if (pattern[i] == '\\') {
            if (!translate_escape(pattern, n, &i, in_class, out, err))
                return false;
            continue;
        }
        if (!refuse(pattern, n, i, in_class, err))
            return false;
        in_class = in_class ? pattern[i] != ']' : pattern[i] == '[';
        if (!buf_append(out, pattern + i, 1, err))
            return false;
        i++;
    }
    return true;
}

static bool compile(Split *s, Err *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    uint32_t may_be_empty = 0;
    s->code = pcre2_compile((PCRE2_SPTR)s->pattern.data, s->pattern.n - 1, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    if (!s->code) {
        PCRE2_UCHAR text[160];
        if (code == PCRE2_ERROR_HEAP_FAILED)
            return fail(err, E_MEMORY, "no memory for a pattern");
        pcre2_get_error_message(code, text, sizeof text);
        return fail(err, E_FORMAT, "the pattern is not a regular expression: %s at byte %zu of \"%s\"", (char *)text, at,
                    s->pattern.data);
    }
    pcre2_pattern_info(s->code, PCRE2_INFO_MATCHEMPTY, &may_be_empty);
    if (may_be_empty)
        return fail(err, E_UNSUPPORTED, "the pattern may match the empty string, which splits nothing");
    s->match = pcre2_match_data_create(1, NULL);
    s->context = pcre2_match_context_create(NULL);
    if (!s->match || !s->context)
        return fail(err, E_MEMORY, "no memory for matching");
    if (pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE) == 0) {
        s->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MAX, NULL);
        if (!s->stack)
            return fail(err, E_MEMORY, "no memory for matching");
        pcre2_jit_stack_assign(s->context, NULL, s->stack);
    }
    return true;
}

Split *split_new(const char *pattern, size_t n, Err *err)
{
    Split *s = calloc(1, sizeof *s);
    if (!s)
        return fail(err, E_MEMORY, "no memory for a pattern"), NULL;
    if (n > PATTERN_BYTES_MAX)
        fail(err, E_UNSUPPORTED, "the pattern has %zu bytes; at most %d are taken", n, PATTERN_BYTES_MAX);
    else if (translate(pattern, n, &s->pattern, err) && buf_append(&s->pattern, "", 1, err) && compile(s, err))
        return s;
    split_free(s);
    return NULL;
}

void split_free(Split *s)
{
    if (!s)
        return;
    pcre2_jit_stack_free(s->stack);
    pcre2_match_context_free(s->context);
    pcre2_match_data_free(s->match);
    pcre2_code_free(s->code);
    buf_deinit(&s->pattern);
    free(s);
}

const char *split_pattern(const Split *s)
{
    return s->pattern.data;
}

/* Finds the first match at or behind byte `from`; *end stays 0 when there is none. */
static bool find(const Split *s, const char *text, size_t n, size_t from, size_t *start, size_t *end, Err *err)
{
    uint64_t steps = STEPS_FIRST + (uint64_t)n * STEPS_PER_BYTE;
    pcre2_set_match_limit(s->context, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
    int rc = pcre2_match(s->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK, s->match, s->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its state on the heap */
        rc = pcre2_match(s->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, s->context);
    if (rc == PCRE2_ERROR_NOMATCH)
        return true;
    if (rc < 0) {
        PCRE2_UCHAR reason[160];
        pcre2_get_error_message(rc, reason, sizeof reason);
        return fail(err, rc == PCRE2_ERROR_NOMEMORY ? E_MEMORY : E_UNSUPPORTED,
                    "the pre-tokenizer's pattern gives up at byte %zu of %zu: %s", from, n, (char *)reason);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->match);
    *start = at[0];
    *end = at[1];
    return true;
}

bool split_next(const Split *s, const char *text, size_t n, SplitCursor *c, size_t *start, Err *err)
{
    *start = c->at;
    if (c->at == n)
        return true;
    if (c->match_end <= c->at) {
        c->match = c->match_end = n;
        if (!find(s, text, n, c->at, &c->match, &c->match_end, err))
            return false;
        assert(c->match >= c->at && c->match <= n);
    }
    c->at = c->at < c->match ? c->match : c->match_end;
    return true;
}
