/* Mutated JSON: the scanner accepts exactly what jansson accepts (nesting and huge numbers apart,
 * where their limits differ). */
#include <jansson.h>
#include <stdbool.h>

#include "core/file/json_scan.h"
#include "tests/file/mutate.h"

static const char *const bases[] = {
    "{\"a\":[1,-2.5e+3,0,0.5,1E-2],\"b\":{\"c\":null,\"d\":true,\"e\":false},\"f\":\"\"}",
    " [ [ ] , { } , \"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\" ,\t\"\xe2\x82\xac\xf0\x9f\x98\x80\" ]\r\n",
    "\"text\"",
    "-0.0e-0",
};

static bool one(Mutant *m)
{
    Err err = {0};
    json_error_t at;
    mutate(m, bases[mutate_below(m, sizeof bases / sizeof *bases)]);
    char *text = (char *)mutate_exact(m->text, m->n);
    JsonScan s = {.text = text, .n = m->n, .where = "x", .err = &err};
    bool is_good = json_scan_skip(&s) && json_scan_end(&s);
    assert(is_good || (err.kind == E_FORMAT && strncmp(err.text, "x: byte ", 8) == 0));
    json_t *root = json_loadb(text, m->n, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &at);
    bool is_limit = (is_good && !root && strstr(at.text, "overflow"))
                 || (!is_good && strstr(err.text, "fewer nested"));
    if (!is_limit && is_good != (root != NULL)) {
        printf("not ok 1 - json_scan and jansson differ: \"%.*s\" · %s · %s\n", (int)m->n, text,
               is_good ? "good" : err.text, root ? "good" : at.text);
        abort();
    }
    json_decref(root);
    free(text);
    return is_good;
}

int main(int argc, char **argv)
{
    return mutate_main(argc, argv, "json_scan", one);
}
