/* Mutated safetensors files: every one is refused with a message, or what it says holds for its
 * bytes and jansson reads the same. */
#include <jansson.h>
#include <stdbool.h>

#include "core/file/safetensors.h"
#include "tests/file/mutate.h"

#define T(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const char *const bases[] = {
    "{}",
    "{\"__metadata__\":{\"format\":\"pt\"}," T("a.weight", "BF16", "[2,3]",
                                               "[0,12]") "," T("b", "F32", "[]", "[12,16]") "}",
    "{" T("c", "U8", "[4,2]", "[8,16]") "," T("d", "F8_E4M3", "[8]", "[0,8]") "," T(
        "e\\u00e9", "I64", "[0,3]", "[4,4]") "}  ",
    "{" T("a", "U8", "[1,1,1,1,1,1,1,1]",
          "[0,1]") "," T("b", "BOOL", "[1]", "[2,3]") "," T("aa", "I16", "[3]", "[4,10]") "}",
};

/* The file's bytes around the mutated header; the length field is right three times out of four. */
static unsigned char *frame(Mutant *m, size_t *n)
{
    size_t data_n = mutate_below(m, 4) ? 16 : mutate_below(m, 24);
    uint64_t length = m->n;
    if (mutate_below(m, 4) == 0) {
        static const uint64_t bad[] = {0,
                                       1,
                                       7,
                                       100000000,
                                       100000001,
                                       0x7fffffff,
                                       UINT64_MAX,
                                       UINT64_MAX - 7,
                                       UINT64_MAX - 8,
                                       1u << 31};
        length = mutate_below(m, 2) ? length + mutate_below(m, 9) - 4
                                    : bad[mutate_below(m, sizeof bad / sizeof *bad)];
    }
    *n = 8 + m->n + data_n;
    unsigned char *bytes = calloc(1, *n);
    assert(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(length >> 8 * i);
    memcpy(bytes + 8, m->text, m->n);
    return bytes;
}

static void check_entry(const Safetensors *f, const SafetensorsEntry *e, size_t file_n,
                        json_t *object)
{
    uint64_t bytes = dtype_bytes(e->dtype);
    json_t *shape = json_object_get(object, "shape");
    assert(json_is_array(shape) && json_array_size(shape) == (size_t)e->rank);
    assert(strcmp(json_string_value(json_object_get(object, "dtype")), dtype_name(e->dtype)) == 0);
    for (int i = 0; i < e->rank; i++) {
        assert(json_real_value(json_array_get(shape, (size_t)i)) == (double)e->shape[i]);
        bytes *= e->shape[i];
    }
    assert(bytes == e->bytes);
    assert(e->offset <= file_n && e->bytes <= file_n - e->offset);
    assert(safetensors_find(f, e->name) == e);
    const uint8_t *data = safetensors_data(f, e);
    assert(e->bytes == 0 || data[0] + data[e->bytes - 1] >= 0); /* readable */
    for (size_t j = 0; j < safetensors_count(f); j++) {
        const SafetensorsEntry *o = safetensors_entry(f, j);
        assert(o == e || o->bytes == 0 || e->bytes == 0 || o->offset + o->bytes <= e->offset
               || e->offset + e->bytes <= o->offset);
    }
}

static bool one(Mutant *m)
{
    size_t n;
    Err err = {0};
    mutate(m, bases[mutate_below(m, sizeof bases / sizeof *bases)]);
    unsigned char *bytes = frame(m, &n);
    Safetensors *f = safetensors_parse("x", bytes, n, &err);
    if (!f) {
        assert(err.kind == E_FORMAT || err.kind == E_UNSUPPORTED);
        assert(strstr(err.text, "x: "));
    } else {
        uint64_t header_n;
        const char *header = safetensors_header(f, &header_n);
        json_t *root = json_loadb(header, (size_t)header_n, JSON_DECODE_INT_AS_REAL, NULL);
        assert(json_is_object(root));
        assert(json_object_size(root)
               == safetensors_count(f) + (json_object_get(root, "__metadata__") != NULL));
        for (size_t i = 0; i < safetensors_count(f); i++) {
            const SafetensorsEntry *e = safetensors_entry(f, i);
            check_entry(f, e, n, json_object_get(root, e->name));
        }
        json_decref(root);
    }
    bool is_good = f != NULL;
    safetensors_close(f);
    free(bytes);
    return is_good;
}

int main(int argc, char **argv)
{
    return mutate_main(argc, argv, "safetensors", one);
}
