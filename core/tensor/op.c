#include "core/tensor/op.h"

#include <assert.h>
#include <string.h>

#include "core/num/bf16.h"

static const char *const direction_names[] = {"in", "out", "inout", "weight", "weights", "state"};
static const char *const type_names[OP_TYPES] = {"act", "nvfp4", "kv", "f32", "i32", "u8", "any"};

/* Reads letters, digits and _ into word; returns the place behind, NULL when there is none or it is too long. */
static const char *read_word(const char *at, char word[OP_NAME_MAX])
{
    size_t n = strspn(at, "abcdefghijklmnopqrstuvwxyz_0123456789");
    if (n == 0 || n >= OP_NAME_MAX)
        return NULL;
    memcpy(word, at, n);
    word[n] = 0;
    return at + n;
}

static int find_word(const char *word, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    return -1;
}

/* "[a,b][c]" into extents; brackets join, so experts read as one more extent in front. */
static const char *read_extents(const char *at, OpArgSpec *out)
{
    while (at && *at == '[') {
        do {
            if (out->rank == OP_RANK_MAX)
                return NULL;
            at = read_word(at + 1, out->extents[out->rank++]);
        } while (at && *at == ',');
        if (!at || *at != ']')
            return NULL;
        at++;
    }
    return at;
}

bool op_parse_arg(const char *row, OpArgSpec *out, Err *err)
{
    char word[OP_NAME_MAX];
    *out = (OpArgSpec){0};
    const char *at = read_word(row, out->name);
    if (!at || strncmp(at, ": ", 2) != 0)
        return fail(err, E_FORMAT, "signature row \"%s\": expected \"name: direction type[extents]\"", row);
    at = read_word(at + 2, word);
    int direction = at ? find_word(word, direction_names, 6) : -1;
    if (direction < 0)
        return fail(err, E_FORMAT, "signature row \"%s\": expected in, out, inout, weight, weights or state", row);
    out->direction = (OpDirection)direction;
    if (*at == '?') {
        out->is_optional = true;
        at++;
    }
    do {
        at = read_word(at + 1, word);
        int type = at ? find_word(word, type_names, OP_TYPES) : -1;
        if (type < 0)
            return fail(err, E_FORMAT, "signature row \"%s\": expected act, nvfp4, kv, f32, i32, u8 or any", row);
        out->types |= 1u << type;
    } while (*at == '|');
    at = read_extents(at, out);
    if (!at || *at)
        return fail(err, E_FORMAT, "signature row \"%s\": expected extents as [rows,k], at most %d", row, OP_RANK_MAX);
    return true;
}

const OpArg *op_arg(const OpCall *call, const char *name)
{
    for (int i = 0; i < call->signature->args_n; i++)
        if (strcmp(call->signature->args[i].name, name) == 0)
            return &call->args[i];
    assert(!"the signature has no argument of that name");
    return NULL;
}

double op_number(const OpCall *call, const char *name)
{
    for (int i = 0; i < call->numbers_n; i++)
        if (strcmp(call->number_name[i], name) == 0)
            return call->number[i];
    assert(!"the call has no number of that name");
    return 0;
}

size_t op_extent(const OpCall *call, const char *name)
{
    for (int i = 0; i < call->signature->args_n; i++) {
        const OpArgSpec *spec = call->args[i].spec;
        for (int d = 0; spec && d < spec->rank; d++)
            if (strcmp(spec->extents[d], name) == 0)
                return call->args[i].extent[d];
    }
    assert(!"no argument has an extent of that name");
    return 0;
}

void op_round(const OpCall *call, float *x, size_t n)
{
    if (call->round == ROUND_BF16)
        for (size_t i = 0; i < n; i++)
            x[i] = bf16_round(x[i]);
}
