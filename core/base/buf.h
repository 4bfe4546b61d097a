/* Growable bytes for text and records whose length is not known beforehand. {0} is empty and ready; buf_deinit frees. */
#ifndef CORE_BASE_BUF_H
#define CORE_BASE_BUF_H
#include <stddef.h>

#include "core/base/err.h"

typedef struct Buf {
    char *data; /* aligned as malloc's; NULL while cap is 0 */
    size_t n, cap;
} Buf;

/* Makes room for `more` bytes behind the first n; pointers into the buffer die. E_MEMORY. */
bool buf_reserve(Buf *b, size_t more, Err *err);
/* Copies n bytes behind the end. E_MEMORY. */
bool buf_append(Buf *b, const void *data, size_t n, Err *err);
/* Appends the whole file at path. E_IO, E_MEMORY. */
bool buf_read_file(Buf *b, const char *path, Err *err);
void buf_deinit(Buf *b);

#endif
