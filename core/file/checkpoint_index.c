#include "core/file/checkpoint_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/file/json_scan.h"

static const char where[] = CHECKPOINT_INDEX_FILE, suffix[] = ".safetensors";

enum { FILE_NAME_MAX = 256, KEY_MAX = 64 };

void checkpoint_index_deinit(CheckpointIndex *index)
{
    free(index->rows);
    index->rows = NULL;
    arena_deinit(&index->arena);
}

bool checkpoint_index_is_file(const char *name)
{
    size_t n = strlen(name), m = sizeof suffix - 1;
    return name[0] != '.' && n > m && strcmp(name + n - m, suffix) == 0;
}

bool checkpoint_index_add(CheckpointIndex *index, const char *name, size_t *file, Err *err)
{
    for (size_t i = index->files_n; i-- > 0;)
        if (strcmp(index->files[i], name) == 0) {
            *file = i;
            return true;
        }
    if (index->files_n == CHECKPOINT_FILES_MAX)
        return fail(err, E_UNSUPPORTED, "a checkpoint of more than %d files", CHECKPOINT_FILES_MAX);
    if (!index->files)
        index->files = arena_alloc(&index->arena, CHECKPOINT_FILES_MAX * sizeof *index->files);
    char *copy = arena_strndup(&index->arena, name, strlen(name));
    if (!index->files || !copy)
        return fail(err, E_MEMORY, "no memory for a list of files");
    index->files[index->files_n] = copy;
    *file = index->files_n++;
    return true;
}

/* An index may only name files that lie in the folder itself. */
static bool check_file_name(const char *tensor, const char *name, Err *err)
{
    if (strchr(name, '/') || name[0] == '.' || name[0] == 0)
        return fail(err, E_FORMAT,
                    "%s: tensor %s: expected the plain name of a file in the folder, found \"%s\"",
                    where, tensor, name);
    if (!checkpoint_index_is_file(name))
        return fail(err, E_FORMAT,
                    "%s: tensor %s: expected a file name that ends in %s, found \"%s\"", where,
                    tensor, suffix, name);
    return true;
}

static bool add_row(CheckpointIndex *index, const char *name, size_t file, Err *err)
{
    if (index->rows_n == index->rows_cap) {
        size_t cap = index->rows_cap ? 2 * index->rows_cap : 256;
        CheckpointIndexRow *grown = realloc(index->rows, cap * sizeof *grown);
        if (!grown)
            return fail(err, E_MEMORY, "%s: no memory for %zu tensors", where, cap);
        index->rows = grown;
        index->rows_cap = cap;
    }
    index->rows[index->rows_n++] = (CheckpointIndexRow){name, file};
    return true;
}

/* "weight_map": {tensor: file, …} */
static bool read_weight_map(CheckpointIndex *index, JsonScan *s)
{
    size_t file = 0, used = 0, cap = s->n + 1;
    char *names = arena_alloc(&index->arena, cap), name[FILE_NAME_MAX];
    if (!names)
        return fail(s->err, E_MEMORY, "%s: no memory for %zu bytes of names", where, cap);
    if (!json_scan_expect(s, '{', "'{' of weight_map"))
        return false;
    bool more = json_scan_peek(s) != '}';
    if (!more)
        s->at++;
    while (more) {
        char *tensor = names + used;
        size_t len;
        if (!json_scan_string(s, tensor, cap - used, &len, "the name of a tensor")
            || !json_scan_expect(s, ':', "':' behind the name of a tensor")
            || !json_scan_string(s, name, sizeof name, NULL, "the name of a file"))
            return false;
        used += len + 1;
        bool is_same = index->rows_n > 0 && strcmp(index->files[file], name) == 0;
        if (!is_same
            && (!check_file_name(tensor, name, s->err)
                || !checkpoint_index_add(index, name, &file, s->err)))
            return false;
        if (!add_row(index, tensor, file, s->err) || !json_scan_more(s, '}', &more))
            return false;
    }
    return true;
}

bool checkpoint_index_parse(CheckpointIndex *index, const char *text, size_t n, Err *err)
{
    JsonScan s = {.text = text, .n = n, .where = where, .err = err};
    bool has_map = false;
    if (!json_scan_expect(&s, '{', "'{' of the index"))
        return false;
    bool more = json_scan_peek(&s) != '}';
    if (!more)
        s.at++;
    while (more) {
        char key[KEY_MAX];
        if (!json_scan_string(&s, key, sizeof key, NULL, "a short key")
            || !json_scan_expect(&s, ':', "':' behind a key"))
            return false;
        bool is_map = strcmp(key, "weight_map") == 0;
        if (is_map && has_map)
            return fail(err, E_FORMAT, "%s: \"weight_map\" stands there twice", where);
        has_map = has_map || is_map;
        if (!(is_map ? read_weight_map(index, &s) : json_scan_skip(&s))
            || !json_scan_more(&s, '}', &more))
            return false;
    }
    if (!json_scan_end(&s))
        return false;
    if (!has_map || index->files_n == 0)
        return fail(err, E_FORMAT,
                    "%s: expected an object \"weight_map\" with the file of every tensor, found %s",
                    where, has_map ? "an empty one" : "none");
    return true;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool checkpoint_index_sort(CheckpointIndex *index, Err *err)
{
    char **old = arena_alloc(&index->arena, index->files_n * sizeof *old);
    size_t *place = arena_alloc(&index->arena, index->files_n * sizeof *place);
    if (!old || !place)
        return fail(err, E_MEMORY, "no memory for a list of files");
    memcpy(old, index->files, index->files_n * sizeof *old);
    qsort(index->files, index->files_n, sizeof *index->files, by_text);
    for (size_t i = 0; i < index->files_n; i++) {
        char **hit = bsearch(&old[i], index->files, index->files_n, sizeof *index->files, by_text);
        assert(hit);
        place[i] = (size_t)(hit - index->files);
    }
    for (size_t r = 0; r < index->rows_n; r++)
        index->rows[r].file = place[index->rows[r].file];
    return true;
}
