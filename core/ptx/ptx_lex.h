/* PTX text → tokens. A word holds dots and `::` (`ld.global.L1::no_allocate`, `%tid.x`, `.reg`); a number is kept with its bits. */
#ifndef CORE_PTX_PTX_LEX_H
#define CORE_PTX_PTX_LEX_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"

typedef enum PtxToken { PTX_TOKEN_END, PTX_TOKEN_WORD, PTX_TOKEN_INT, PTX_TOKEN_F32, PTX_TOKEN_F64, PTX_TOKEN_STRING, PTX_TOKEN_PUNCT } PtxToken;

typedef struct PtxLex {
    const char *at, *end;  /* rest of the text, borrowed */
    uint32_t line;         /* of the current token */
    uint32_t next_line;
    PtxToken kind;
    const char *text;      /* the current token in the text; a string without its quotes */
    size_t text_n;
    uint64_t bits;         /* numbers */
} PtxLex;

void ptx_lex_init(PtxLex *lex, const char *text, size_t n);
/* Reads the next token. E_FORMAT: a byte or number that PTX does not have; names the line. */
bool ptx_lex_next(PtxLex *lex, Err *err);
/* Is the current token this punctuation or word? */
bool ptx_lex_is(const PtxLex *lex, const char *text);

#endif
