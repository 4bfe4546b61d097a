/* Mutated shard indices: refused with a message, or every file is a plain name and every row points
 * at the file that jansson reads. */
#include <jansson.h>
#include <stdbool.h>

#include "core/file/checkpoint_index.h"
#include "tests/file/mutate.h"

static const char *const bases[] = {
    "{\"metadata\":{\"total_size\":12},"
    "\"weight_map\":{\"a.weight\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"}}",
    "{\"weight_map\":{\"x\":\"a.safetensors\",\"y\":\"b.safetensors\","
    "\"z\":\"c.safetensors\",\"\\u00e9\":\"a.safetensors\"},\"more\":[1,2]}\n",
};

static bool one(Mutant *m)
{
    Err err = {0};
    CheckpointIndex index = {0};
    mutate(m, bases[mutate_below(m, sizeof bases / sizeof *bases)]);
    char *text = (char *)mutate_exact(m->text, m->n);
    bool is_good = checkpoint_index_parse(&index, text, m->n, &err);
    if (!is_good) {
        assert(err.kind == E_FORMAT);
        assert(err.text[0]);
    } else {
        json_error_t at;
        json_t *root = json_loadb(text, m->n, JSON_DECODE_INT_AS_REAL, &at);
        json_t *map = json_object_get(root, "weight_map");
        if (!root && !strstr(at.text, "overflow")) { /* a number beyond jansson's */
            printf("not ok 1 - accepted \"%.*s\", jansson says %s\n", (int)m->n, text, at.text);
            abort();
        }
        assert(checkpoint_index_sort(&index, &err));
        assert(index.files_n > 0 && index.rows_n >= index.files_n);
        for (size_t i = 0; i < index.files_n; i++) {
            assert(checkpoint_index_is_file(index.files[i]) && !strchr(index.files[i], '/'));
            assert(i == 0 || strcmp(index.files[i - 1], index.files[i]) < 0);
        }
        for (size_t r = 0; r < index.rows_n; r++) {
            assert(index.rows[r].file < index.files_n);
            bool is_twice = false; /* then jansson keeps the last one */
            for (size_t q = 0; q < index.rows_n; q++)
                is_twice =
                    is_twice || (q != r && strcmp(index.rows[q].tensor, index.rows[r].tensor) == 0);
            if (map && !is_twice)
                assert(strcmp(json_string_value(json_object_get(map, index.rows[r].tensor)),
                              index.files[index.rows[r].file])
                       == 0);
        }
        json_decref(root);
    }
    checkpoint_index_deinit(&index);
    free(text);
    return is_good;
}

int main(int argc, char **argv)
{
    return mutate_main(argc, argv, "checkpoint_index", one);
}
