#include "core/base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int status;
} kinds[ERR_KINDS] = {
    [E_NONE] = {"E_NONE", 0},
#define ERR(kind, status, text) [kind] = {#kind, status},
#include "core/base/err.def"
#undef ERR
};

bool fail(Err *err, ErrKind kind, const char *format, ...)
{
    assert(err);
    va_list ap;
    va_start(ap, format);
    err->kind = kind;
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    return false;
}

bool fail_errno(Err *err, const char *format, ...)
{
    int code = errno;
    assert(err);
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", strerror(code));
    err->kind = code == ENOSPC || code == EDQUOT ? E_SPACE : code == ENOMEM ? E_MEMORY : E_IO;
    return false;
}

bool err_in(Err *err, const char *format, ...)
{
    assert(err);
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", old);
    return false;
}

const char *err_name(ErrKind kind)
{
    assert(kind < ERR_KINDS);
    return kinds[kind].name;
}

int err_status(ErrKind kind)
{
    assert(kind < ERR_KINDS);
    return kinds[kind].status;
}

ErrKind err_kind(const char *name)
{
    for (int k = 0; k < ERR_KINDS; k++)
        if (strcmp(kinds[k].name, name) == 0)
            return (ErrKind)k;
    return E_NONE;
}
