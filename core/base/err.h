/* Errors of the world (files, options, hardware). Our own mistakes are asserts; disagreeing numbers are results.
 * The place that finds a fault says `return fail(err, E_FORMAT, "…")`; callers add where with err_in and pass it up.
 * Nobody prints, nobody exits: only nibble_main turns an Err into a message and an exit status. */
#ifndef CORE_BASE_ERR_H
#define CORE_BASE_ERR_H
#include <stdbool.h>

typedef enum ErrKind {
    E_NONE,
#define ERR(kind, status, text) kind,
#include "core/base/err.def"
#undef ERR
    ERR_KINDS
} ErrKind;

typedef struct Err {
    ErrKind kind;
    char text[1000]; /* expected, found, where; cut at the end when longer */
} Err;

/* Fills *err (never NULL) and returns false; pointer functions write `return fail(…), NULL`. */
__attribute__((format(printf, 3, 4))) bool fail(Err *err, ErrKind kind, const char *format, ...);
/* As fail, with the reason of errno appended; ENOSPC and EDQUOT become E_SPACE, ENOMEM E_MEMORY, all else E_IO. */
__attribute__((format(printf, 2, 3))) bool fail_errno(Err *err, const char *format, ...);
/* Puts "context: " before the text of an error that is being passed up. Returns false. */
__attribute__((format(printf, 2, 3))) bool err_in(Err *err, const char *format, ...);
/* "E_FORMAT" and the program's exit status for a kind. */
const char *err_name(ErrKind kind);
int err_status(ErrKind kind);
/* The kind whose name this is, E_NONE if none. */
ErrKind err_kind(const char *name);

#endif
