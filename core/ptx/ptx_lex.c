/* Numbers: decimal, 0x, 0b, octal, with U; 0f and 0d with the bits of a float; decimal floats are doubles. */
#include "core/ptx/ptx_lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ptx_lex_init(PtxLex *lex, const char *text, size_t n)
{
    *lex = (PtxLex){.at = text, .end = text + n, .line = 1, .next_line = 1};
}

bool ptx_lex_is(const PtxLex *lex, const char *text)
{
    return (lex->kind == PTX_TOKEN_WORD || lex->kind == PTX_TOKEN_PUNCT) && lex->text_n == strlen(text) &&
           memcmp(lex->text, text, lex->text_n) == 0;
}

static bool is_word(int c)
{
    return isalnum(c) || c == '_' || c == '$' || c == '%' || c == '.';
}

static bool skip_blank(PtxLex *lex, Err *err)
{
    while (lex->at < lex->end) {
        const char *s = lex->at;
        if (*s == '\n') {
            lex->next_line++;
            lex->at++;
        } else if (isspace((unsigned char)*s)) {
            lex->at++;
        } else if (s + 1 < lex->end && s[0] == '/' && s[1] == '/') {
            const char *e = memchr(s, '\n', (size_t)(lex->end - s));
            lex->at = e ? e : lex->end;
        } else if (s + 1 < lex->end && s[0] == '/' && s[1] == '*') {
            for (s += 2; s + 1 < lex->end && !(s[0] == '*' && s[1] == '/'); s++)
                lex->next_line += *s == '\n';
            if (s + 1 >= lex->end)
                return fail(err, E_FORMAT, "PTX line %u: a comment does not end", lex->next_line);
            lex->at = s + 2;
        } else {
            break;
        }
    }
    return true;
}

/* The digits of text[skip..n) in that base; false when one does not belong or the value needs more than 64 bits. */
static bool digits(const char *text, size_t n, size_t skip, unsigned base, uint64_t *bits)
{
    uint64_t v = 0;
    if (n > skip && (text[n - 1] == 'U' || text[n - 1] == 'u'))
        n--;
    for (size_t i = skip; i < n; i++) {
        int c = tolower((unsigned char)text[i]);
        unsigned d = isdigit(c) ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 99;
        if (d >= base || v > (UINT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    *bits = v;
    return n > skip;
}

static bool decimal_float(PtxLex *lex)
{
    char copy[64];
    char *rest;
    if (lex->text_n >= sizeof copy)
        return false;
    memcpy(copy, lex->text, lex->text_n);
    copy[lex->text_n] = 0;
    double d = strtod(copy, &rest);
    memcpy(&lex->bits, &d, sizeof d);
    lex->kind = PTX_TOKEN_F64;
    return *rest == 0;
}

static bool number(PtxLex *lex)
{
    const char *s = lex->text;
    size_t n = lex->text_n;
    char kind = n > 1 && s[0] == '0' ? (char)tolower((unsigned char)s[1]) : 0;
    lex->kind = PTX_TOKEN_INT;
    if (kind == 'f' || kind == 'd') {
        lex->kind = kind == 'f' ? PTX_TOKEN_F32 : PTX_TOKEN_F64;
        return n == (kind == 'f' ? 10U : 18U) && digits(s, n, 2, 16, &lex->bits);
    }
    if (kind == 'x')
        return digits(s, n, 2, 16, &lex->bits);
    if (kind == 'b')
        return digits(s, n, 2, 2, &lex->bits);
    if (memchr(s, '.', n) || memchr(s, 'e', n) || memchr(s, 'E', n))
        return decimal_float(lex);
    return digits(s, n, 0, kind >= '0' && kind <= '9' ? 8 : 10, &lex->bits);
}

/* 1.5e-3: the sign belongs to the number. */
static bool is_exponent_sign(const char *start, const char *s)
{
    return (*s == '-' || *s == '+') && s > start && (s[-1] == 'e' || s[-1] == 'E') && isdigit((unsigned char)start[0]) &&
           memchr(start, '.', (size_t)(s - start)) && !(start[0] == '0' && strchr("xXfFdD", start[1]));
}

bool ptx_lex_next(PtxLex *lex, Err *err)
{
    if (!skip_blank(lex, err))
        return false;
    const char *s = lex->at;
    lex->line = lex->next_line;
    lex->text = s;
    lex->text_n = 0;
    if (s == lex->end) {
        lex->kind = PTX_TOKEN_END;
        return true;
    }
    if (*s == '"') {
        const char *e = memchr(s + 1, '"', (size_t)(lex->end - s - 1));
        if (!e)
            return fail(err, E_FORMAT, "PTX line %u: a string does not end", lex->line);
        for (const char *c = s; c < e; c++)
            lex->next_line += *c == '\n';
        lex->kind = PTX_TOKEN_STRING;
        lex->text = s + 1;
        lex->text_n = (size_t)(e - s - 1);
        lex->at = e + 1;
        return true;
    }
    if (is_word((unsigned char)*s)) {
        const char *e = s;
        while (e < lex->end) {
            if (is_word((unsigned char)*e) || is_exponent_sign(s, e))
                e++;
            else if (e + 2 < lex->end && e[0] == ':' && e[1] == ':' && is_word((unsigned char)e[2]))
                e += 2;
            else
                break;
        }
        lex->text_n = (size_t)(e - s);
        lex->at = e;
        lex->kind = PTX_TOKEN_WORD;
        if (isdigit((unsigned char)*s) && !number(lex))
            return fail(err, E_FORMAT, "PTX line %u: \"%.*s\" is not a number", lex->line, (int)(lex->text_n < 60 ? lex->text_n : 60), s);
        return true;
    }
    if (!strchr("{}()[]<>,;:=+-*/!|&@~?", *s) || !*s)
        return fail(err, E_FORMAT, "PTX line %u: byte 0x%02X belongs to no PTX text", lex->line, (unsigned char)*s);
    lex->kind = PTX_TOKEN_PUNCT;
    lex->text_n = 1;
    lex->at = s + 1;
    return true;
}
