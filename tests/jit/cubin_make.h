/* A cubin made by hand, for tests of its reader: two kernels, their attributes, shared memory and code. */
#ifndef TESTS_JIT_CUBIN_MAKE_H
#define TESTS_JIT_CUBIN_MAKE_H
#include <stdint.h>
#include <string.h>

enum { MADE_SECTIONS = 8, MADE_BYTES = 2048, MADE_TABLE = 1024, MADE_CODE = 48 };

static inline void made_put(unsigned char *to, uint64_t x, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (unsigned char)(x >> 8 * i);
}

/* One row of the section table. */
static inline void made_section(unsigned char *file, unsigned idx, unsigned name, unsigned type, size_t offset,
    size_t size, unsigned link)
{
    unsigned char *row = file + MADE_TABLE + 64 * idx;
    made_put(row, name, 4);
    made_put(row + 4, type, 4);
    made_put(row + 24, offset, 8);
    made_put(row + 32, size, 8);
    made_put(row + 40, link, 4);
}

/* Kernels "first" (42 registers, 16 bytes of stack, 2048 shared) and "second" (255 registers), into
 * file[MADE_BYTES]; returns its size. */
static inline size_t made_cubin(unsigned char *file)
{
    static const char names[] = "\0.shstrtab\0.strtab\0.symtab\0.nv.info\0.text.first\0.text.second\0.nv.shared.first";
    static const char symbols[] = "\0second\0first";
    static const unsigned attributes[][3] = {{0x2F04, 1, 42}, {0x1104, 1, 16}, {0x2F04, 2, 255}, {0x1204, 1, 7}};
    memset(file, 0, MADE_BYTES);
    memcpy(file, "\177ELF\2\1\1", 7);
    made_put(file + 16, 2, 2);
    made_put(file + 18, 190, 2);
    made_put(file + 40, MADE_TABLE, 8);
    made_put(file + 48, 0x5004, 4); /* sm_80 */
    made_put(file + 58, 64, 2);
    made_put(file + 60, MADE_SECTIONS, 2);
    made_put(file + 62, 1, 2);
    memcpy(file + 64, names, sizeof names);
    memcpy(file + 192, symbols, sizeof symbols);
    made_put(file + 256 + 24, 8, 4); /* symbol 1: first */
    made_put(file + 256 + 48, 1, 4); /* symbol 2: second */
    size_t at = 352;
    made_put(file + at, 0x0A03, 2); /* an attribute without bytes behind it */
    at += 4;
    for (size_t i = 0; i < 4; i++, at += 12) {
        made_put(file + at, attributes[i][0], 2);
        made_put(file + at + 2, 8, 2);
        made_put(file + at + 4, attributes[i][1], 4);
        made_put(file + at + 8, attributes[i][2], 4);
    }
    static const uint64_t code[] = {0x23C, 0x7981, 0x94D}; /* HMMA, LDG, EXIT */
    for (size_t i = 0; i < 3; i++)
        made_put(file + 512 + 16 * i, code[i], 8);
    made_section(file, 1, 1, 3, 64, sizeof names, 0);
    made_section(file, 2, 11, 3, 192, sizeof symbols, 0);
    made_section(file, 3, 19, 2, 256, 72, 2);
    made_section(file, 4, 27, 0x70000000, 352, at - 352, 3);
    made_section(file, 5, 36, 1, 512, MADE_CODE, 3);
    made_section(file, 6, 48, 1, 560, 16, 3);
    made_section(file, 7, 61, 8, 1u << 30, 2048, 0);
    return MADE_TABLE + 64 * MADE_SECTIONS;
}

#endif
