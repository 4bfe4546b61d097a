#include "core/file/json_scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Says what was expected at the current byte and what stands there. */
static bool unexpected(JsonScan *s, const char *what)
{
    char found[24];
    if (s->at >= s->n)
        snprintf(found, sizeof found, "the end");
    else if (s->text[s->at] >= 0x20 && s->text[s->at] < 0x7f)
        snprintf(found, sizeof found, "'%c'", s->text[s->at]);
    else
        snprintf(found, sizeof found, "byte 0x%02x", (unsigned char)s->text[s->at]);
    return fail(s->err, E_FORMAT, "%s: byte %" PRIu64 ": expected %s, found %s", s->where,
                s->base + s->at, what, found);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int json_scan_peek(JsonScan *s)
{
    while (s->at < s->n && is_space(s->text[s->at]))
        s->at++;
    return s->at < s->n ? (unsigned char)s->text[s->at] : -1;
}

bool json_scan_expect(JsonScan *s, char c, const char *what)
{
    if (json_scan_peek(s) != (unsigned char)c)
        return unexpected(s, what);
    s->at++;
    return true;
}

/* Length of the well-formed UTF-8 sequence at p (n bytes left), 0 when there is none. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    size_t len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool is_bad = (p[0] == 0xe0 && p[1] < 0xa0)   /* overlong */
               || (p[0] == 0xed && p[1] >= 0xa0)  /* surrogate */
               || (p[0] == 0xf0 && p[1] < 0x90)   /* overlong */
               || (p[0] == 0xf4 && p[1] >= 0x90); /* beyond U+10FFFF */
    return is_bad ? 0 : len;
}

static size_t utf8_put(uint32_t u, char *out)
{
    if (u < 0x80) {
        out[0] = (char)u;
        return 1;
    }
    if (u < 0x800) {
        out[0] = (char)(0xc0 | u >> 6);
        out[1] = (char)(0x80 | (u & 63));
        return 2;
    }
    if (u < 0x10000) {
        out[0] = (char)(0xe0 | u >> 12);
        out[1] = (char)(0x80 | (u >> 6 & 63));
        out[2] = (char)(0x80 | (u & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | u >> 18);
    out[1] = (char)(0x80 | (u >> 12 & 63));
    out[2] = (char)(0x80 | (u >> 6 & 63));
    out[3] = (char)(0x80 | (u & 63));
    return 4;
}

static bool hex4(JsonScan *s, uint32_t *u)
{
    *u = 0;
    for (int i = 0; i < 4; i++) {
        int c = s->at < s->n ? (unsigned char)s->text[s->at] : -1;
        int digit = c >= '0' && c <= '9' ? c - '0'
                  : c >= 'a' && c <= 'f' ? c - 'a' + 10
                  : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                         : -1;
        if (digit < 0)
            return unexpected(s, "four hexadecimal digits behind \\u");
        *u = *u << 4 | (uint32_t)digit;
        s->at++;
    }
    return true;
}

/* The escape behind a backslash, as UTF-8 in out. */
static bool escape(JsonScan *s, char out[4], size_t *len)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *hit = s->at < s->n && s->text[s->at] ? strchr(from, s->text[s->at]) : NULL;
    if (hit) {
        s->at++;
        out[0] = to[hit - from];
        *len = 1;
        return true;
    }
    if (s->at >= s->n || s->text[s->at] != 'u')
        return unexpected(s, "an escape (\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u)");
    s->at++;
    uint32_t u, low;
    if (!hex4(s, &u))
        return false;
    if (u >= 0xd800 && u < 0xdc00) {
        if (s->n - s->at < 2 || s->text[s->at] != '\\' || s->text[s->at + 1] != 'u')
            return unexpected(s, "the second half of a surrogate pair");
        s->at += 2;
        if (!hex4(s, &low))
            return false;
        if (low < 0xdc00 || low > 0xdfff)
            return unexpected(s, "a low surrogate before this");
        u = 0x10000 + ((u - 0xd800) << 10 | (low - 0xdc00));
    } else if (u >= 0xdc00 && u < 0xe000) {
        return unexpected(s, "no lone low surrogate before this");
    } else if (u == 0) {
        return unexpected(s, "a string without U+0000 before this");
    }
    *len = utf8_put(u, out);
    return true;
}

/* The one reader of strings; out may be NULL to check only. */
static bool read_string(JsonScan *s, char *out, size_t cap, size_t *len, const char *what)
{
    if (!json_scan_expect(s, '"', what))
        return false;
    size_t used = 0;
    for (;;) {
        size_t start = s->at;
        while (s->at < s->n) {
            unsigned char c = (unsigned char)s->text[s->at];
            if (c < 0x20 || c == '"' || c == '\\' || c >= 0x80)
                break;
            s->at++;
        }
        const char *piece = s->text + start;
        size_t piece_n = s->at - start;
        char unit[4];
        bool is_end = false;
        if (piece_n == 0) {
            if (s->at >= s->n || (unsigned char)s->text[s->at] < 0x20)
                return unexpected(s, "the rest of a string");
            if (s->text[s->at] == '"') {
                s->at++;
                is_end = true;
            } else if (s->text[s->at] == '\\') {
                s->at++;
                if (!escape(s, unit, &piece_n))
                    return false;
                piece = unit;
            } else {
                piece_n = utf8_length((const unsigned char *)piece, s->n - s->at);
                if (piece_n == 0)
                    return unexpected(s, "UTF-8");
                s->at += piece_n;
            }
        }
        if (out) {
            if (piece_n >= cap - used)
                return fail(s->err, E_FORMAT,
                            "%s: byte %" PRIu64
                            ": expected %s, found a string of %zu or more bytes",
                            s->where, s->base + start, what, cap);
            memcpy(out + used, piece, piece_n);
            used += piece_n;
        }
        if (is_end)
            break;
    }
    if (out)
        out[used] = 0;
    if (len)
        *len = used;
    return true;
}

bool json_scan_string(JsonScan *s, char *out, size_t cap, size_t *len, const char *what)
{
    return read_string(s, out, cap, len, what);
}

static bool is_digit(const JsonScan *s)
{
    return s->at < s->n && s->text[s->at] >= '0' && s->text[s->at] <= '9';
}

bool json_scan_u64(JsonScan *s, uint64_t *v, const char *what)
{
    json_scan_peek(s);
    size_t start = s->at;
    *v = 0;
    if (!is_digit(s))
        return unexpected(s, what);
    while (is_digit(s)) {
        uint64_t digit = (uint64_t)(s->text[s->at] - '0');
        if (s->at == start + 1 && s->text[start] == '0')
            return unexpected(s, "a number without leading zeros");
        if (__builtin_mul_overflow(*v, (uint64_t)10, v) || __builtin_add_overflow(*v, digit, v))
            return fail(s->err, E_FORMAT,
                        "%s: byte %" PRIu64 ": expected %s below 2^64, found a larger number",
                        s->where, s->base + start, what);
        s->at++;
    }
    if (s->at < s->n && (s->text[s->at] == '.' || s->text[s->at] == 'e' || s->text[s->at] == 'E'))
        return unexpected(s, "a whole number");
    return true;
}

static bool digits(JsonScan *s)
{
    if (!is_digit(s))
        return unexpected(s, "a digit");
    while (is_digit(s))
        s->at++;
    return true;
}

static bool skip_number(JsonScan *s)
{
    if (s->text[s->at] == '-')
        s->at++;
    size_t start = s->at;
    if (!digits(s))
        return false;
    if (s->text[start] == '0' && s->at > start + 1)
        return unexpected(s, "a number without leading zeros before this");
    if (s->at < s->n && s->text[s->at] == '.') {
        s->at++;
        if (!digits(s))
            return false;
    }
    if (s->at < s->n && (s->text[s->at] == 'e' || s->text[s->at] == 'E')) {
        s->at++;
        if (s->at < s->n && (s->text[s->at] == '+' || s->text[s->at] == '-'))
            s->at++;
        return digits(s);
    }
    return true;
}

static bool skip_word(JsonScan *s, const char *word)
{
    size_t n = strlen(word);
    if (s->n - s->at < n || memcmp(s->text + s->at, word, n) != 0)
        return unexpected(s, "a JSON value");
    s->at += n;
    return true;
}

static bool skip_value(JsonScan *s, int depth)
{
    if (depth > JSON_SCAN_DEPTH_MAX)
        return unexpected(s, "fewer nested values");
    int c = json_scan_peek(s);
    switch (c) {
    case '"': return read_string(s, NULL, 0, NULL, "a string");
    case 't': return skip_word(s, "true");
    case 'f': return skip_word(s, "false");
    case 'n': return skip_word(s, "null");
    case '{':
    case '[': break;
    default:
        return c == '-' || (c >= '0' && c <= '9') ? skip_number(s) : unexpected(s, "a JSON value");
    }
    char close = c == '{' ? '}' : ']';
    s->at++;
    bool more = json_scan_peek(s) != close;
    if (!more)
        s->at++;
    while (more) {
        if (c == '{'
            && (!read_string(s, NULL, 0, NULL, "a key")
                || !json_scan_expect(s, ':', "':' behind a key")))
            return false;
        if (!skip_value(s, depth + 1) || !json_scan_more(s, close, &more))
            return false;
    }
    return true;
}

bool json_scan_skip(JsonScan *s)
{
    return skip_value(s, 1);
}

bool json_scan_more(JsonScan *s, char close, bool *more)
{
    int c = json_scan_peek(s);
    *more = c == ',';
    if (c != ',' && c != close)
        return unexpected(s, close == '}' ? "',' or '}'" : "',' or ']'");
    s->at++;
    return true;
}

bool json_scan_end(JsonScan *s)
{
    return json_scan_peek(s) < 0 || unexpected(s, "nothing but white space behind the value");
}
