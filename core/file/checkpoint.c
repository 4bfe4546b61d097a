#include "core/file/checkpoint.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/arena.h"
#include "core/file/checkpoint_config.h"
#include "core/file/json_scan.h"
#include "core/file/name_table.h"

static const char index_file[] = "model.safetensors.index.json", suffix[] = ".safetensors";

enum { FILES_MAX = 10000, TEXT_MAX = 1 << 28 };

typedef struct Stored {
    const SafetensorsEntry *entry;
    const Safetensors *file;
} Stored;

struct Checkpoint {
    char *path;
    char *config, *quant_config; /* texts, 0-terminated; quant_config may be NULL */
    size_t config_n, quant_config_n;
    CheckpointConfig settings;
    CheckpointFormat format;
    const char *prefix;
    Safetensors **files; /* in the order of their names */
    size_t files_n;
    Stored *stored;      /* all tensors, by name */
    size_t count;
    NameTable table;     /* name → index in stored */
};

/* One row of the index: the tensor and the number of its file. */
typedef struct IndexRow {
    const char *name;
    size_t file;
} IndexRow;

/* What is to be opened, and while opening only. */
typedef struct Listing {
    Arena arena;
    char **files;
    size_t files_n;
    bool has_index;
    IndexRow *rows;
    size_t rows_n, rows_cap;
} Listing;

/* Reads a whole small file; *text gets a 0 behind it. An absent file gives *text = NULL and true when it is optional. */
static bool read_text(const char *folder, const char *name, bool is_optional, char **text, size_t *n, Err *err)
{
    char *path = NULL;
    struct stat st;
    int fd = -1;
    bool ok = false;
    *text = NULL;
    *n = 0;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return fail(err, E_MEMORY, "%s: no memory to read it", name);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        if (errno == ENOENT && is_optional)
            ok = true;
        else if (errno == ENOENT)
            fail(err, E_MISSING, "%s: expected %s in a checkpoint folder, found none", folder, name);
        else
            fail_errno(err, "%s: cannot be opened", path);
        goto done;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        fail(err, E_IO, "%s: expected a file, found a %s", path, S_ISDIR(st.st_mode) ? "folder" : "device or pipe");
        goto done;
    }
    if (st.st_size > TEXT_MAX) {
        fail(err, E_FORMAT, "%s: expected a text of at most %d bytes, found %lld", path, TEXT_MAX, (long long)st.st_size);
        goto done;
    }
    size_t want = (size_t)st.st_size;
    *text = malloc(want + 1);
    if (!*text) {
        fail(err, E_MEMORY, "%s: no memory for %zu bytes", path, want);
        goto done;
    }
    while (*n < want) {
        ssize_t got = read(fd, *text + *n, want - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            fail_errno(err, "%s: cannot be read at byte %zu", path, *n);
            goto done;
        }
        if (got == 0)
            break;
        *n += (size_t)got;
    }
    (*text)[*n] = 0;
    ok = true;
done:
    if (fd >= 0)
        close(fd);
    if (!ok) {
        free(*text);
        *text = NULL;
    }
    free(path);
    return ok;
}

static bool has_suffix(const char *name)
{
    size_t n = strlen(name), m = sizeof suffix - 1;
    return n > m && strcmp(name + n - m, suffix) == 0;
}

/* Adds name to the files to open, or finds it there. */
static bool add_file(Listing *list, const char *name, size_t *file, Err *err)
{
    for (size_t i = list->files_n; i-- > 0;)
        if (strcmp(list->files[i], name) == 0) {
            *file = i;
            return true;
        }
    if (list->files_n == FILES_MAX)
        return fail(err, E_UNSUPPORTED, "a checkpoint of more than %d files", FILES_MAX);
    if (!list->files)
        list->files = arena_alloc(&list->arena, FILES_MAX * sizeof *list->files);
    char *copy = arena_strndup(&list->arena, name, strlen(name));
    if (!list->files || !copy)
        return fail(err, E_MEMORY, "no memory for a list of files");
    list->files[list->files_n] = copy;
    *file = list->files_n++;
    return true;
}

/* An index may only name files that lie in the folder itself. */
static bool check_file_name(const char *tensor, const char *name, Err *err)
{
    if (strchr(name, '/') || name[0] == '.' || name[0] == 0)
        return fail(err, E_FORMAT, "%s: tensor %s: expected the plain name of a file in the folder, found \"%s\"", index_file, tensor,
                    name);
    if (!has_suffix(name))
        return fail(err, E_FORMAT, "%s: tensor %s: expected a file name that ends in %s, found \"%s\"", index_file, tensor, suffix, name);
    return true;
}

static bool add_row(Listing *list, const char *name, size_t file, Err *err)
{
    if (list->rows_n == list->rows_cap) {
        size_t cap = list->rows_cap ? 2 * list->rows_cap : 256;
        IndexRow *grown = realloc(list->rows, cap * sizeof *grown);
        if (!grown)
            return fail(err, E_MEMORY, "%s: no memory for %zu tensors", index_file, cap);
        list->rows = grown;
        list->rows_cap = cap;
    }
    list->rows[list->rows_n++] = (IndexRow){name, file};
    return true;
}

/* "weight_map": {tensor: file, …} */
static bool read_weight_map(Listing *list, JsonScan *s)
{
    size_t file = 0, used = 0, cap = s->n + 1;
    char *names = arena_alloc(&list->arena, cap), name[256];
    if (!names)
        return fail(s->err, E_MEMORY, "%s: no memory for %zu bytes of names", index_file, cap);
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
        bool is_same = list->rows_n > 0 && strcmp(list->files[file], name) == 0;
        if (!is_same && (!check_file_name(tensor, name, s->err) || !add_file(list, name, &file, s->err)))
            return false;
        if (!add_row(list, tensor, file, s->err) || !json_scan_more(s, '}', &more))
            return false;
    }
    return true;
}

static bool read_index(Listing *list, const char *text, size_t n, Err *err)
{
    JsonScan s = {.text = text, .n = n, .where = index_file, .err = err};
    bool has_map = false;
    if (!json_scan_expect(&s, '{', "'{' of the index"))
        return false;
    bool more = json_scan_peek(&s) != '}';
    if (!more)
        s.at++;
    while (more) {
        char key[64];
        if (!json_scan_string(&s, key, sizeof key, NULL, "a short key") || !json_scan_expect(&s, ':', "':' behind a key"))
            return false;
        bool is_map = strcmp(key, "weight_map") == 0;
        if (is_map && has_map)
            return fail(err, E_FORMAT, "%s: \"weight_map\" stands there twice", index_file);
        has_map = has_map || is_map;
        if (!(is_map ? read_weight_map(list, &s) : json_scan_skip(&s)) || !json_scan_more(&s, '}', &more))
            return false;
    }
    if (!json_scan_end(&s))
        return false;
    if (!has_map || list->files_n == 0)
        return fail(err, E_FORMAT, "%s: expected an object \"weight_map\" with the file of every tensor, found %s", index_file,
                    has_map ? "an empty one" : "none");
    return true;
}

static bool list_folder(Listing *list, const char *path, Err *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return fail_errno(err, "%s: cannot be listed", path);
    bool ok = true;
    for (const struct dirent *d; ok && (d = readdir(dir));) {
        size_t file;
        if (d->d_name[0] != '.' && has_suffix(d->d_name))
            ok = add_file(list, d->d_name, &file, err);
    }
    closedir(dir);
    if (ok && list->files_n == 0)
        ok = fail(err, E_MISSING, "%s: expected %s or at least one *%s, found none", path, index_file, suffix);
    return ok;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Puts the files in the order of their names, whatever order the index mentions them in. */
static bool sort_files(Listing *list, Err *err)
{
    char **old = arena_alloc(&list->arena, list->files_n * sizeof *old);
    size_t *place = arena_alloc(&list->arena, list->files_n * sizeof *place);
    if (!old || !place)
        return fail(err, E_MEMORY, "no memory for a list of files");
    memcpy(old, list->files, list->files_n * sizeof *old);
    qsort(list->files, list->files_n, sizeof *list->files, by_text);
    for (size_t i = 0; i < list->files_n; i++) {
        char **hit = bsearch(&old[i], list->files, list->files_n, sizeof *list->files, by_text);
        assert(hit);
        place[i] = (size_t)(hit - list->files);
    }
    for (size_t r = 0; r < list->rows_n; r++)
        list->rows[r].file = place[list->rows[r].file];
    return true;
}

static bool make_listing(Listing *list, const char *path, Err *err)
{
    char *text;
    size_t n;
    if (!read_text(path, index_file, true, &text, &n, err))
        return false;
    list->has_index = text != NULL;
    bool ok = text ? read_index(list, text, n, err) : list_folder(list, path, err);
    free(text);
    if (!ok)
        return list->has_index ? err_in(err, "%s", path) : false;
    return sort_files(list, err);
}

static bool open_one(const Checkpoint *c, const Listing *list, size_t i, Safetensors **file, Err *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", c->path, list->files[i]) < 0)
        return fail(err, E_MEMORY, "%s: no memory to open it", list->files[i]);
    if (list->has_index && access(path, F_OK) != 0 && errno == ENOENT)
        fail(err, E_MISSING, "%s: %s names the file %s, which is not in the folder", c->path, index_file, list->files[i]);
    else
        *file = safetensors_open(path, err);
    free(path);
    return *file != NULL;
}

/* Opens every file; headers are parsed in parallel. The first bad file in the order of the list is reported. */
static bool open_files(Checkpoint *c, const Listing *list, Err *err)
{
    c->files = calloc(list->files_n, sizeof *c->files);
    Err *errors = calloc(list->files_n, sizeof *errors);
    bool ok = c->files && errors;
    if (!ok)
        fail(err, E_MEMORY, "%s: no memory for %zu files", c->path, list->files_n);
    else
        c->files_n = list->files_n;
    #pragma omp parallel for schedule(dynamic) if (c->files_n > 1)
    for (size_t i = 0; i < c->files_n; i++)
        open_one(c, list, i, &c->files[i], &errors[i]);
    for (size_t i = 0; ok && i < c->files_n; i++)
        if (!c->files[i]) {
            *err = errors[i];
            ok = false;
        }
    free(errors);
    return ok;
}

/* Merges the sorted runs a[0..m) and a[m..n) through the spare array. */
static void merge(Stored *a, size_t m, size_t n, Stored *spare)
{
    memcpy(spare, a, m * sizeof *a);
    size_t i = 0, j = m, out = 0;
    while (i < m && j < n)
        a[out++] = strcmp(spare[i].entry->name, a[j].entry->name) <= 0 ? spare[i++] : a[j++];
    memcpy(a + out, spare + i, (m - i) * sizeof *a);
}

/* Sorts by name. Files hold a few long sorted runs (writers sort by dtype, then name), so natural runs are merged. */
static bool sort_stored(Stored *a, size_t n)
{
    Stored *spare = malloc(n * sizeof *spare);
    size_t *start = malloc((n + 1) * sizeof *start), runs = 0;
    bool ok = spare && start;
    for (size_t i = 0; ok && i < n; i++)
        if (i == 0 || strcmp(a[i - 1].entry->name, a[i].entry->name) > 0)
            start[runs++] = i;
    while (ok && runs > 1) {
        size_t left = 0;
        start[runs] = n;
        for (size_t r = 0; r < runs; r += 2) {
            if (r + 1 < runs)
                merge(a + start[r], start[r + 1] - start[r], start[r + 2] - start[r], spare);
            start[left++] = start[r];
        }
        runs = left;
    }
    free(spare);
    free(start);
    return ok;
}

/* One table over all files; a tensor that two files hold is an error. */
static bool collect(Checkpoint *c, Err *err)
{
    for (size_t i = 0; i < c->files_n; i++)
        c->count += safetensors_count(c->files[i]);
    c->stored = malloc((c->count + 1) * sizeof *c->stored);
    if (!c->stored || !name_table_init(&c->table, c->count, err))
        return fail(err, E_MEMORY, "%s: no memory for %zu tensors", c->path, c->count);
    size_t n = 0;
    for (size_t i = 0; i < c->files_n; i++)
        for (size_t j = 0; j < safetensors_count(c->files[i]); j++)
            c->stored[n++] = (Stored){safetensors_entry(c->files[i], j), c->files[i]};
    if (n > 0 && !sort_stored(c->stored, n))
        return fail(err, E_MEMORY, "%s: no memory to sort %zu tensors", c->path, n);
    for (size_t i = 0; i < n; i++) {
        size_t first = name_table_put(&c->table, c->stored[i].entry->name, i);
        if (first != i)
            return fail(err, E_FORMAT, "%s: tensor %s is stored twice: in %s and in %s", c->path, c->stored[i].entry->name,
                        safetensors_path(c->stored[first].file), safetensors_path(c->stored[i].file));
    }
    return true;
}

/* Every tensor of the index is where the index says. */
static bool check_index(const Checkpoint *c, const Listing *list, Err *err)
{
    bool *is_seen = calloc(c->count + 1, sizeof *is_seen), ok = true;
    if (!is_seen)
        return fail(err, E_MEMORY, "%s: no memory to check the index", c->path);
    for (size_t r = 0; ok && r < list->rows_n; r++) {
        const IndexRow *row = &list->rows[r];
        size_t i;
        if (!name_table_find(&c->table, row->name, &i))
            ok = fail(err, E_MISSING, "%s: %s places tensor %s in %s, which does not hold it", c->path, index_file, row->name,
                      list->files[row->file]);
        else if (c->stored[i].file != c->files[row->file])
            ok = fail(err, E_MISSING, "%s: %s places tensor %s in %s, it is in %s", c->path, index_file, row->name,
                      list->files[row->file], safetensors_path(c->stored[i].file));
        else if (is_seen[i])
            ok = fail(err, E_FORMAT, "%s: %s: tensor %s stands there twice", c->path, index_file, row->name);
        else
            is_seen[i] = true;
    }
    free(is_seen);
    return ok;
}

/* True when a stored name starts with text. stored is sorted. */
static bool has_names_under(const Checkpoint *c, const char *text)
{
    size_t lo = 0, hi = c->count, n = strlen(text);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(c->stored[mid].entry->name, text) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->count && strncmp(c->stored[lo].entry->name, text, n) == 0;
}

static CheckpointFormat format_by_content(const Checkpoint *c)
{
    static const struct {
        const char *ending;
        CheckpointFormat format;
    } marks[] = {{".weight_packed", CHECKPOINT_COMPRESSED_TENSORS},
                 {"_scale_2", CHECKPOINT_MODELOPT},
                 {"_scale_inv", CHECKPOINT_FP8_BLOCK}};
    for (size_t i = 0; i < c->count; i++) {
        const char *name = c->stored[i].entry->name;
        size_t n = strlen(name);
        for (size_t m = 0; m < sizeof marks / sizeof *marks; m++) {
            size_t e = strlen(marks[m].ending);
            if (n >= e && memcmp(name + n - e, marks[m].ending, e) == 0)
                return marks[m].format;
        }
    }
    return CHECKPOINT_BF16;
}

static bool open_parts(Checkpoint *c, Listing *list, Err *err)
{
    if (!read_text(c->path, "config.json", false, &c->config, &c->config_n, err)
        || !read_text(c->path, "hf_quant_config.json", true, &c->quant_config, &c->quant_config_n, err))
        return false;
    if (!checkpoint_config_parse(c->config, c->config_n, c->quant_config, c->quant_config_n, &c->settings, err))
        return err_in(err, "%s", c->path);
    if (!make_listing(list, c->path, err) || !open_files(c, list, err) || !collect(c, err) || !check_index(c, list, err))
        return false;
    c->prefix = has_names_under(c, "model.language_model.") ? "model.language_model." : "model.";
    c->format = c->settings.has_label ? c->settings.label : format_by_content(c);
    return true;
}

static bool check_folder(const char *path, Err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fail_errno(err, "%s: cannot be opened", path);
    if (!S_ISDIR(st.st_mode))
        return fail(err, E_IO, "%s: expected the folder of a checkpoint, found a file", path);
    return true;
}

Checkpoint *checkpoint_open(const char *path, Err *err)
{
    if (!check_folder(path, err))
        return NULL;
    Listing list = {0};
    Checkpoint *c = calloc(1, sizeof *c);
    if (c)
        c->path = strdup(path);
    bool ok = c && c->path ? open_parts(c, &list, err) : fail(err, E_MEMORY, "%s: no memory to open it", path);
    free(list.rows);
    arena_deinit(&list.arena);
    if (ok)
        return c;
    checkpoint_close(c);
    return NULL;
}

void checkpoint_close(Checkpoint *c)
{
    if (!c)
        return;
    name_table_deinit(&c->table);
    free(c->stored);
    for (size_t i = 0; i < c->files_n; i++)
        safetensors_close(c->files[i]);
    free(c->files);
    free(c->config);
    free(c->quant_config);
    free(c->path);
    free(c);
}

const char *checkpoint_path(const Checkpoint *c)
{
    return c->path;
}

CheckpointFormat checkpoint_format(const Checkpoint *c)
{
    return c->format;
}

const char *checkpoint_format_name(CheckpointFormat f)
{
    static const char *const names[] = {[CHECKPOINT_BF16] = "bf16",
                                        [CHECKPOINT_MODELOPT] = "modelopt",
                                        [CHECKPOINT_COMPRESSED_TENSORS] = "compressed-tensors",
                                        [CHECKPOINT_FP8_BLOCK] = "fp8_block"};
    assert((size_t)f < sizeof names / sizeof *names);
    return names[f];
}

const char *checkpoint_config(const Checkpoint *c)
{
    return c->config;
}

const char *checkpoint_quant_config(const Checkpoint *c)
{
    return c->quant_config;
}

const char *checkpoint_prefix(const Checkpoint *c)
{
    return c->prefix;
}

const CheckpointConfig *checkpoint_settings(const Checkpoint *c)
{
    return &c->settings;
}

size_t checkpoint_count(const Checkpoint *c)
{
    return c->count;
}

const SafetensorsEntry *checkpoint_entry(const Checkpoint *c, size_t i)
{
    assert(i < c->count);
    return c->stored[i].entry;
}

const Safetensors *checkpoint_entry_file(const Checkpoint *c, size_t i)
{
    assert(i < c->count);
    return c->stored[i].file;
}

const SafetensorsEntry *checkpoint_find(const Checkpoint *c, const char *name, const Safetensors **file)
{
    size_t i;
    if (!name_table_find(&c->table, name, &i))
        return NULL;
    if (file)
        *file = c->stored[i].file;
    return c->stored[i].entry;
}

bool checkpoint_kv_is_fp8(const Checkpoint *c)
{
    return c->settings.kv_is_fp8;
}

void checkpoint_id(const Checkpoint *c, char hex[33])
{
    XXH3_state_t *state = XXH3_createState();
    assert(state);
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, c->config, c->config_n + 1);
    for (size_t i = 0; i < c->files_n; i++) {
        uint64_t n;
        const char *header = safetensors_header(c->files[i], &n);
        XXH3_128bits_update(state, &n, sizeof n);
        XXH3_128bits_update(state, header, (size_t)n);
    }
    XXH128_hash_t h = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(hex, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}
