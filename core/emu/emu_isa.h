/* Compiles a handler file once for each instruction set, and twice (fast, checked) where it asks for it. No guard: included by
 * each core/emu/emu_op_*.c, which first defines EMU_SELF as its own path and, for both modes, EMU_BOTH.
 * The file sees FN(name) for what it defines, EMU_LEVEL 0 plain, 1 AVX2, 2 AVX-512, and EMU_IS_CHECKED; inside macros
 * IF_VECTOR(code) is code where there is AVX2. */
#define EMU_LEVEL 0
#define IF_VECTOR(...)
#define EMU_IS_CHECKED 0
#define FN(name) name##_plain
#include EMU_SELF
#undef FN
#undef EMU_IS_CHECKED
#ifdef EMU_BOTH
#define EMU_IS_CHECKED 1
#define FN(name) name##_plain_checked
#include EMU_SELF
#undef FN
#undef EMU_IS_CHECKED
#endif
#undef EMU_LEVEL
#undef IF_VECTOR

#define IF_VECTOR(...) __VA_ARGS__
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt,lzcnt")
#define EMU_LEVEL 1
#define EMU_IS_CHECKED 0
#define FN(name) name##_avx2
#include EMU_SELF
#undef FN
#undef EMU_IS_CHECKED
#ifdef EMU_BOTH
#define EMU_IS_CHECKED 1
#define FN(name) name##_avx2_checked
#include EMU_SELF
#undef FN
#undef EMU_IS_CHECKED
#endif
#undef EMU_LEVEL
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,prefer-vector-width=512")
#define EMU_LEVEL 2
#define EMU_IS_CHECKED 0
#define FN(name) name##_avx512
#include EMU_SELF
#undef FN
#undef EMU_IS_CHECKED
#ifdef EMU_BOTH
#define EMU_IS_CHECKED 1
#define FN(name) name##_avx512_checked
#include EMU_SELF
#undef FN
#undef EMU_IS_CHECKED
#endif
#undef EMU_LEVEL
#pragma GCC pop_options
#undef IF_VECTOR

#define EMU_TABLE_ROW(table) {table, sizeof table / sizeof *table}
#ifdef EMU_BOTH
#define EMU_TABLES(function)                                                                                             \
    EmuBinds function(EmuIsa isa, EmuMode mode)                                                                          \
    {                                                                                                                    \
        static const EmuBinds tables[EMU_ISAS][2] = {                                                                    \
            [EMU_ISA_PLAIN] = {EMU_TABLE_ROW(binds_plain), EMU_TABLE_ROW(binds_plain_checked)},                          \
            [EMU_ISA_AVX2] = {EMU_TABLE_ROW(binds_avx2), EMU_TABLE_ROW(binds_avx2_checked)},                             \
            [EMU_ISA_AVX512] = {EMU_TABLE_ROW(binds_avx512), EMU_TABLE_ROW(binds_avx512_checked)},                       \
        };                                                                                                               \
        return tables[isa][mode];                                                                                        \
    }
#else
#define EMU_TABLES(function)                                                                                             \
    EmuBinds function(EmuIsa isa, EmuMode mode)                                                                          \
    {                                                                                                                    \
        static const EmuBinds tables[EMU_ISAS] = {                                                                       \
            [EMU_ISA_PLAIN] = EMU_TABLE_ROW(binds_plain),                                                                \
            [EMU_ISA_AVX2] = EMU_TABLE_ROW(binds_avx2),                                                                  \
            [EMU_ISA_AVX512] = EMU_TABLE_ROW(binds_avx512),                                                              \
        };                                                                                                               \
        (void)mode;                                                                                                      \
        return tables[isa];                                                                                              \
    }
#endif
