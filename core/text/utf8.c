#include "core/text/utf8.h"

#include <assert.h>
#include <string.h>
#include <utf8proc.h>

Utf8Kind utf8_next(const char *s, size_t n, size_t *len)
{
    const uint8_t *b = (const uint8_t *)s;
    uint8_t low = 0x80, high = 0xBF; /* of the second byte: shuts out overlong forms, surrogates and what is too large */
    size_t need = 0;
    assert(n > 0);
    *len = 1;
    if (b[0] < 0x80)
        return UTF8_CHAR;
    if (b[0] >= 0xC2 && b[0] <= 0xDF) {
        need = 2;
    } else if (b[0] >= 0xE0 && b[0] <= 0xEF) {
        need = 3;
        low = b[0] == 0xE0 ? 0xA0 : 0x80;
        high = b[0] == 0xED ? 0x9F : 0xBF;
    } else if (b[0] >= 0xF0 && b[0] <= 0xF4) {
        need = 4;
        low = b[0] == 0xF0 ? 0x90 : 0x80;
        high = b[0] == 0xF4 ? 0x8F : 0xBF;
    } else {
        return UTF8_BAD;
    }
    for (; *len < need; ++*len) {
        if (*len == n)
            return UTF8_PARTIAL;
        if (b[*len] < low || b[*len] > high)
            return UTF8_BAD;
        low = 0x80;
        high = 0xBF;
    }
    return UTF8_CHAR;
}

size_t utf8_check(const char *s, size_t n)
{
    size_t at = 0, len;
    while (at < n && utf8_next(s + at, n - at, &len) == UTF8_CHAR)
        at += len;
    return at;
}

uint32_t utf8_get(const char *s, size_t *len)
{
    const uint8_t *b = (const uint8_t *)s;
    *len = b[0] < 0x80 ? 1 : b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    uint32_t cp = *len == 1 ? b[0] : b[0] & (0x7Fu >> *len);
    for (size_t i = 1; i < *len; i++)
        cp = cp << 6 | (b[i] & 0x3Fu);
    return cp;
}

size_t utf8_put(uint32_t cp, char out[UTF8_BYTES_MAX])
{
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    assert(cp <= 0x10FFFF);
    if (n == 1) {
        out[0] = (char)cp;
        return 1;
    }
    for (size_t i = n - 1; i > 0; i--, cp >>= 6)
        out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)((0xF00u >> n & 0xF0u) | cp);
    return n;
}

size_t utf8_cut(const char *s, size_t n, size_t max)
{
    if (n <= max)
        return n;
    while (max > 0 && ((uint8_t)s[max] & 0xC0) == 0x80)
        max--;
    return max;
}

bool utf8_repair(const char *s, size_t n, Buf *out, size_t *rest, Err *err)
{
    size_t from = 0, at = 0, len; /* s[from … at) is good and not yet written */
    if (rest)
        *rest = 0;
    while (at < n) {
        Utf8Kind kind = utf8_next(s + at, n - at, &len);
        if (kind != UTF8_CHAR) {
            if (!buf_append(out, s + from, at - from, err))
                return false;
            from = at + len;
            if (kind == UTF8_PARTIAL && rest)
                *rest = len;
            else if (!buf_append(out, "\xEF\xBF\xBD", 3, err))
                return false;
        }
        at += len;
    }
    return buf_append(out, s + from, n - from, err);
}

bool utf8_is_space(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0D) || cp == 0x20 || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool utf8_is_word(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return cp == 0x200C || cp == 0x200D || (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) ||
               (cp >= 0x1F150 && cp <= 0x1F169) || (cp >= 0x1F170 && cp <= 0x1F189);
    }
}
