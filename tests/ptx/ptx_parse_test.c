/* The parser: what it reads it prints so that reading it again gives the same; what is not PTX, or not known, is an error that
 * names the line; types and names are checked; scopes and labels of inline assembly. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ptx/ptx_parse.h"

#include <cmocka.h>

static char *read_text(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s cannot be opened; tests run from the repository's root", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n);
    assert_int_equal(fread(text, 1, *n, f), *n);
    fclose(f);
    return text;
}

static PtxModule *parse(const char *text, size_t n)
{
    Err err;
    PtxModule *m = ptx_parse_module(text, n, &err);
    if (!m)
        fail_msg("%s", err.text);
    return m;
}

static void assert_same_var(const PtxVar *a, const PtxVar *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->space, b->space);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->vec, b->vec);
    assert_int_equal(a->align, b->align);
    assert_true(a->bytes == b->bytes && a->is_extern == b->is_extern && a->is_array == b->is_array && a->is_visible == b->is_visible);
    assert_int_equal(a->data != NULL, b->data != NULL);
    if (a->data)
        assert_memory_equal(a->data, b->data, a->bytes);
}

static void assert_same_vars(PtxVar *const *a, uint32_t a_n, PtxVar *const *b, uint32_t b_n)
{
    assert_int_equal(a_n, b_n);
    for (uint32_t i = 0; i < a_n; i++)
        assert_same_var(a[i], b[i]);
}

static void assert_same_operand(const PtxOperand *a, const PtxOperand *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->role, b->role);
    assert_true(a->is_negated == b->is_negated && a->is_float == b->is_float && a->imm == b->imm);
    assert_int_equal(a->idx, b->idx);
    assert_int_equal(a->elems_n, b->elems_n);
    assert_int_equal(a->var != NULL, b->var != NULL);
    if (a->var)
        assert_same_var(a->var, b->var);
    for (uint32_t i = 0; a->kind == PTX_KIND_VEC && i < a->elems_n; i++)
        assert_same_operand(a->elems + i, b->elems + i);
    assert_int_equal(a->second != NULL, b->second != NULL);
    if (a->second)
        assert_same_operand(a->second, b->second);
}

static void assert_same_insn(const PtxInsn *a, const PtxInsn *b)
{
    assert_string_equal(a->opcode, b->opcode);
    assert_int_equal(a->form, b->form);
    assert_int_equal(a->vec, b->vec);
    assert_int_equal(a->space, b->space);
    assert_int_equal(a->types_n, b->types_n);
    assert_memory_equal(a->types, b->types, sizeof a->types);
    assert_memory_equal(a->mods, b->mods, sizeof a->mods);
    assert_int_equal(a->guard, b->guard);
    assert_int_equal(a->is_guard_negated, b->is_guard_negated);
    assert_int_equal(a->loc_file, b->loc_file);
    assert_int_equal(a->loc_line, b->loc_line);
    assert_int_equal(a->operands_n, b->operands_n);
    for (uint32_t k = 0; k < a->operands_n; k++)
        assert_same_operand(a->operands + k, b->operands + k);
}

/* All that ptx_ir.h holds, but for lines of the text and the numbers of variables. */
static void assert_same_func(const PtxFunc *a, const PtxFunc *b)
{
    assert_string_equal(a->name, b->name);
    assert_true(a->is_entry == b->is_entry && a->is_visible == b->is_visible && a->is_extern == b->is_extern);
    assert_same_vars(a->params, a->params_n, b->params, b->params_n);
    assert_same_vars(a->rets, a->rets_n, b->rets, b->rets_n);
    assert_same_vars(a->vars, a->vars_n, b->vars, b->vars_n);
    assert_int_equal(a->regs_n, b->regs_n);
    assert_int_equal(a->labels_n, b->labels_n);
    assert_int_equal(a->insns_n, b->insns_n);
    assert_memory_equal(a->maxntid, b->maxntid, sizeof a->maxntid);
    assert_memory_equal(a->reqntid, b->reqntid, sizeof a->reqntid);
    assert_int_equal(a->minnctapersm, b->minnctapersm);
    assert_int_equal(a->maxnreg, b->maxnreg);
    for (uint32_t i = 0; i < a->regs_n; i++) {
        assert_string_equal(a->regs[i].name, b->regs[i].name);
        assert_int_equal(a->regs[i].type, b->regs[i].type);
    }
    for (uint32_t i = 0; i < a->insns_n; i++)
        assert_same_insn(a->insns + i, b->insns + i);
    for (uint32_t i = 0; i < a->labels_n; i++) {
        assert_string_equal(a->labels[i].name, b->labels[i].name);
        assert_int_equal(a->labels[i].insn, b->labels[i].insn);
    }
}

static void assert_same_module(const PtxModule *a, const PtxModule *b)
{
    assert_string_equal(a->version, b->version);
    assert_string_equal(a->target, b->target);
    assert_same_vars(a->vars, a->vars_n, b->vars, b->vars_n);
    assert_int_equal(a->files_n, b->files_n);
    for (uint32_t i = 0; i < a->files_n; i++) {
        assert_int_equal(a->files[i].idx, b->files[i].idx);
        assert_string_equal(a->files[i].name, b->files[i].name);
    }
    assert_int_equal(a->funcs_n, b->funcs_n);
    for (uint32_t i = 0; i < a->funcs_n; i++)
        assert_same_func(a->funcs[i], b->funcs[i]);
}

static void assert_round_trip(const char *text, size_t n)
{
    PtxModule *a = parse(text, n);
    char *printed = ptx_print(a);
    PtxModule *b = parse(printed, strlen(printed));
    char *again = ptx_print(b);
    assert_string_equal(printed, again);
    assert_same_module(a, b);
    free(printed);
    free(again);
    ptx_free(a);
    ptx_free(b);
}

/* Calls visit for every .ptx of a folder; returns how many there are. */
static int each_text(const char *folder, void (*visit)(const char *path, const char *text, size_t n))
{
    struct dirent **names;
    int visited = 0, count = scandir(folder, &names, NULL, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        char path[400];
        size_t n;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        free(names[i]);
        if (!strstr(path, ".ptx"))
            continue;
        char *text = read_text(path, &n);
        visit(path, text, n);
        free(text);
        visited++;
    }
    free(names);
    return visited;
}

static void round_trip(const char *path, const char *text, size_t n)
{
    (void)path;
    assert_round_trip(text, n);
}

static void recorded_kernels_and_cases_print_and_parse_back(void **state)
{
    (void)state;
    assert_true(each_text("tests/golden/ptx", round_trip) >= 8);
    assert_true(each_text("tests/ptx/cases", round_trip) > 70);
}

#define HEAD ".version 9.0\n.target sm_120a\n.address_size 64\n"
#define BEFORE HEAD ".visible .entry k(.param .u64 p)\n{\n.reg .pred %p<4>;\n.reg .b16 %h<4>;\n.reg .b32 %r<8>;\n.reg .f32 %f<4>;\n" \
    ".reg .b64 %d<4>;\n"
#define AFTER "\nret;\n}\n"
#define BODY(text) BEFORE text AFTER /* text starts on line 11 */

static void directives_scopes_and_labels(void **state)
{
    static const char text[] =
        HEAD "/* two\nlines */ .file 1 \"/src/a.cu\", 123, 456\n"
        ".global .align 4 .f32 table[4] = {0f3F800000, 0f40000000};\n"
        ".const .align 8 .u64 big = 0x123456789ABCDEF0;\n"
        ".extern .shared .align 16 .b8 dyn[];\n"
        ".func (.param .b32 out) twice(.param .b32 in);\n"
        ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);\n"
        ".visible .entry k(.param .u64 .ptr .global .align 16 p, .param .align 8 .b8 s[24])\n"
        ".maxntid 128, 1, 1\n.minnctapersm 2\n{\n"
        ".reg .b32 %r<4>;\n.reg .pred %p;\n.local .align 8 .b8 frame[16];\n"
        ".loc 1 7 3\n"
        "mov.u32 %r1, -1;\n"
        "{ .reg .b32 t; L: mov.b32 t, %r1; setp.eq.s32 %p, t, 0; @%p bra L; }\n"
        "{ .reg .b32 t; L: add.s32 t, %r1, 1; @!%p bra.uni L; }\n"
        "{ .param .b32 a0; .param .b32 r0;\n st.param.b32 [a0], %r1;\n call.uni (r0), twice, (a0);\n ld.param.b32 %r2, [r0+0];\n}\n"
        "st.shared.u32 [dyn+4], %r2;\nst.shared.u32 [8-12], %r2;\n"
        ".loc 1 0 3\nbra done;\n.loc 1 7 3\n" /* code of no line */
        "done:\nret;\n}\n"
        ".func (.param .b32 out) twice(.param .b32 in)\n{\n.reg .b32 %r<2>;\nld.param.b32 %r0, [in];\nshl.b32 %r1, %r0, 1;\n"
        "st.param.b32 [out], %r1;\nret;\n}\n"
        ".section .debug_str { .b8 1, 2 }\n";
    (void)state;
    assert_round_trip(text, strlen(text));
    PtxModule *m = parse(text, strlen(text));
    const PtxFunc *k = ptx_func(m, "k");
    assert_int_equal(m->vars_n, 3);
    assert_int_equal(k->maxntid[0], 128);
    assert_int_equal(k->insns[0].loc_line, 7);
    assert_int_equal(k->insns[k->insns_n - 2].loc_line, 0);
    assert_int_equal(k->insns[k->insns_n - 1].loc_line, 7);
    assert_string_equal(ptx_file_name(m, 1), "/src/a.cu");
    /* the two t and the two L are different ones */
    assert_int_not_equal(k->insns[1].operands[0].idx, k->insns[4].operands[0].idx);
    assert_int_equal(k->labels[k->insns[3].operands[0].idx].insn, 1);
    assert_int_equal(k->labels[k->insns[5].operands[0].idx].insn, 4);
    assert_false(ptx_func(m, "twice")->is_extern);
    ptx_free(m);
}

typedef struct Wrong {
    const char *text;
    ErrKind kind;
    const char *says; /* part of the message */
} Wrong;

static void wrong_text_is_an_error_with_its_line(void **state)
{
    static const Wrong rows[] = {
        {BODY("frobnicate.u32 %r1, %r2;"), E_UNSUPPORTED, "line 11: unknown instruction \"frobnicate.u32\""},
        {BODY("add.u32.ftz %r1, %r2, %r3;"), E_UNSUPPORTED, "modifier \".ftz\""},
        {BODY("add.frob.f32 %f1, %f2, %f3;"), E_UNSUPPORTED, "modifier \".frob.f32\""},
        {BODY("\nadd.s32 %r1, %r2;"), E_FORMAT, "line 12"},
        {BODY("add.s32 %r1, %r2, %r3, %r0;"), E_FORMAT, "operand 4"},
        {BODY("add.s32 %r1, %r2, %h1;"), E_FORMAT, "operand 3 has another size"},
        {BODY("add.s32 %r1, %r2, %p1;"), E_FORMAT, "operand 3 is a predicate"},
        {BODY("add.f32 %f1, %f2, 1;"), E_FORMAT, "operand 3 is not a float"},
        {BODY("add.s32 %f1, %r2, 1;"), E_FORMAT, "operand 1 is a float"},
        {BODY("add.s32 5, %r2, 1;"), E_FORMAT, "operand 1 is not a register"},
        {BODY("mov.u16 %h1, 70000;"), E_FORMAT, "does not fit"},
        {BODY("add.s32 %r1, %r2, nowhere;"), E_FORMAT, "\"nowhere\" is not declared"},
        {BODY("mov.u32 %r1, %clock;"), E_UNSUPPORTED, "%clock"},
        {BODY("bra nowhere;"), E_FORMAT, "label \"nowhere\""},
        {BODY("L: L: ret;"), E_FORMAT, "declared twice"},
        {BODY(".reg .b32 %r1;"), E_FORMAT, "declared twice"},
        {BODY("@%r1 ret;"), E_FORMAT, "guard"},
        {BODY("ld.global.v4.u32 {%r1, %r2}, [%d1];"), E_FORMAT, "vector"},
        {BODY("ld.global.u32 %r1, [%f1];"), E_FORMAT, "address of type f32"},
        {BODY("ld.global.u32 %r1, %d1;"), E_FORMAT, "address in brackets"},
        {BODY("mov.b32 {%h1, %r1}, %r2;"), E_FORMAT, "operand 1"},
        {BODY("wgmma.fence.sync.aligned;"), E_UNSUPPORTED, "unknown instruction"},
        {BODY("mma.sync.aligned.m16n8k16.row.row.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3},{%r0,%r1,%r2,%r3},{%r0,%r1},{%f0,%f1,%f2,%f3};"),
         E_UNSUPPORTED, "modifier \".row.f32"},
        {BODY(".frob 1;"), E_UNSUPPORTED, "unknown directive"},
        {BODY("mov.u32 %r1, 0xG;"), E_FORMAT, "not a number"},
        {BODY("mov.u32 %r1, \x01;"), E_FORMAT, "byte 0x01"},
        {BODY("/* open"), E_FORMAT, "comment does not end"},
        {BODY("{"), E_FORMAT, "expected }"},
        {HEAD ".visible .entry k(.param .u64 p)\n{\nret;\n", E_FORMAT, "the end of the text"},
        {".version 9.0\n.target sm_120a\n.address_size 32\n", E_UNSUPPORTED, "address_size 32"},
        {".target sm_90\n", E_FORMAT, "expected .version"},
        {HEAD ".global .u32 x = {1, 2};", E_FORMAT, "longer than the variable"},
        {HEAD ".global .u32 x;\n.global .u32 x;", E_FORMAT, "line 5: \"x\" is declared twice"},
        {HEAD ".global .align 3 .u32 x;", E_VALUE, "alignment 3"},
        {HEAD ".global .b8 x[999999999];", E_VALUE, "999999999"},
        {HEAD ".entry k() { .reg .b32 %r<9999999>; ret; }", E_VALUE, "9999999"},
        {HEAD ".func f(.param .b32 a);\n.entry k() { .reg .b32 %r<2>;\ncall f, (%r1);\n}", E_UNSUPPORTED, "line 6"},
        {"", E_FORMAT, "expected .version, found the end of the text"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Err err = {0};
        PtxModule *m = ptx_parse_module(rows[i].text, strlen(rows[i].text), &err);
        if (m || err.kind != rows[i].kind || !strstr(err.text, rows[i].says) || !strstr(err.text, "PTX line "))
            fail_msg("row %zu: expected %s with \"%s\", got %s: %s", i, err_name(rows[i].kind), rows[i].says, m ? "no error" : err_name(err.kind),
                     m ? "" : err.text);
    }
}

/* Every row of the table is reached by at least one spelling: its required modifiers, first alternatives. */
static void every_row_fits_its_own_spelling(void **state)
{
    (void)state;
    for (int form = 0; form < PTX_FORMS; form++) {
        char spelled[400];
        int n = snprintf(spelled, sizeof spelled, "%s", ptx_op[form].mnemonic);
        for (const char *s = ptx_op[form].modifiers; *s; s += strcspn(s, " "), s += *s == ' ') {
            size_t length = strcspn(s, " ");
            if (s[length - 1] != '?')
                n += snprintf(spelled + n, sizeof spelled - (size_t)n, ".%.*s", (int)strcspn(s, "| "), s);
        }
        char text[900];
        snprintf(text, sizeof text, "%s%s;%s", BEFORE, spelled, AFTER);
        Err err = {0};
        PtxModule *m = ptx_parse_module(text, strlen(text), &err);
        /* operands are missing for most, but the opcode is known */
        if (!m && (strstr(err.text, "unknown") || strstr(err.text, "modifier")))
            fail_msg("%s: \"%s\": %s", ptx_op[form].form, spelled, err.text);
        ptx_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_kernels_and_cases_print_and_parse_back), cmocka_unit_test(directives_scopes_and_labels),
        cmocka_unit_test(wrong_text_is_an_error_with_its_line), cmocka_unit_test(every_row_fits_its_own_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
