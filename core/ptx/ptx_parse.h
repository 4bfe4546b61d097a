/* PTX text → checked module: every instruction fits a row of ptx_ops.def, every name is declared, register sizes and classes
 * agree with the instruction's types. Nothing is skipped silently: an unknown instruction, modifier or directive is an error. */
#ifndef CORE_PTX_PTX_PARSE_H
#define CORE_PTX_PTX_PARSE_H
#include <stddef.h>

#include "core/ptx/ptx_ir.h"

/* Parses n bytes of PTX, which need not end in 0 and are not kept. ptx_free releases the module; NULL on error:
 * E_FORMAT (not PTX: names, numbers, types that disagree), E_UNSUPPORTED (PTX that this program does not know). Both name the line. */
PtxModule *ptx_parse_module(const char *text, size_t n, Err *err);

#endif
