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

#include "core/file/checkpoint_config.h"
#include "core/file/checkpoint_index.h"
#include "core/file/name_table.h"

enum { TEXT_MAX = 1 << 28, ID_PIECES = 64, ID_PIECE = 4096 };

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
    Stored *stored; /* all tensors, by name */
    size_t count;
    NameTable table; /* name → index in stored */
};

/* Reads a whole small file; *text gets a 0 behind it. An absent file gives *text = NULL and true
 * when it is optional. */
static bool read_text(const char *folder, const char *name, bool is_optional, char **text,
                      size_t *n, Err *err)
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
            fail(err, E_MISSING, "%s: expected %s in a checkpoint folder, found none", folder,
                 name);
        else
            fail_errno(err, "%s: cannot be opened", path);
        goto done;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        fail(err, E_IO, "%s: expected a file, found a %s", path,
             S_ISDIR(st.st_mode) ? "folder" : "device or pipe");
        goto done;
    }
    if (st.st_size > TEXT_MAX) {
        fail(err, E_FORMAT, "%s: expected a text of at most %d bytes, found %lld", path, TEXT_MAX,
             (long long)st.st_size);
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

static bool list_folder(CheckpointIndex *index, const char *path, Err *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return fail_errno(err, "%s: cannot be listed", path);
    bool ok = true;
    for (const struct dirent *d; ok && (d = readdir(dir));) {
        size_t file;
        if (checkpoint_index_is_file(d->d_name))
            ok = checkpoint_index_add(index, d->d_name, &file, err);
    }
    closedir(dir);
    if (ok && index->files_n == 0)
        ok =
            fail(err, E_MISSING,
                 "%s: expected " CHECKPOINT_INDEX_FILE " or at least one *.safetensors, found none",
                 path);
    return ok;
}

static bool read_index(CheckpointIndex *index, const char *path, Err *err)
{
    char *text;
    size_t n;
    if (!read_text(path, CHECKPOINT_INDEX_FILE, true, &text, &n, err))
        return false;
    bool ok = text ? checkpoint_index_parse(index, text, n, err) || err_in(err, "%s", path)
                   : list_folder(index, path, err);
    free(text);
    return ok && checkpoint_index_sort(index, err);
}

static bool open_one(const Checkpoint *c, const CheckpointIndex *index, size_t i,
                     Safetensors **file, Err *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", c->path, index->files[i]) < 0)
        return fail(err, E_MEMORY, "%s: no memory to open it", index->files[i]);
    if (index->rows_n > 0 && access(path, F_OK) != 0 && errno == ENOENT)
        fail(err, E_MISSING,
             "%s: " CHECKPOINT_INDEX_FILE " names the file %s, which is not in the folder", c->path,
             index->files[i]);
    else
        *file = safetensors_open(path, err);
    free(path);
    return *file != NULL;
}

/* Opens every file; headers are parsed in parallel. The first bad file in the order of the list is
 * reported. */
static bool open_files(Checkpoint *c, const CheckpointIndex *index, Err *err)
{
    Err *errors = calloc(index->files_n, sizeof *errors);
    c->files = calloc(index->files_n, sizeof *c->files);
    if (!c->files || !errors) {
        free(errors);
        return fail(err, E_MEMORY, "%s: no memory for %zu files", c->path, index->files_n);
    }
    c->files_n = index->files_n;
    if (c->files_n == 1) { /* no threads: starting them has no way to report that memory is exhausted */
        open_one(c, index, 0, &c->files[0], &errors[0]);
    } else {
        #pragma omp parallel for schedule(dynamic)
        for (size_t i = 0; i < c->files_n; i++)
            open_one(c, index, i, &c->files[i], &errors[i]);
    }
    bool ok = true;
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

/* Sorts by name. Files hold a few long sorted runs (writers sort by dtype, then name), so natural
 * runs are merged. */
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
            return fail(err, E_FORMAT, "%s: tensor %s is stored twice: in %s and in %s", c->path,
                        c->stored[i].entry->name, safetensors_path(c->stored[first].file),
                        safetensors_path(c->stored[i].file));
    }
    return true;
}

/* Every tensor of the index is where the index says. */
static bool check_index(const Checkpoint *c, const CheckpointIndex *index, Err *err)
{
    bool *is_seen = calloc(c->count + 1, sizeof *is_seen), ok = true;
    if (!is_seen)
        return fail(err, E_MEMORY, "%s: no memory to check the index", c->path);
    for (size_t r = 0; ok && r < index->rows_n; r++) {
        const CheckpointIndexRow *row = &index->rows[r];
        size_t i;
        if (!name_table_find(&c->table, row->tensor, &i))
            ok =
                fail(err, E_MISSING,
                     "%s: " CHECKPOINT_INDEX_FILE " places tensor %s in %s, which does not hold it",
                     c->path, row->tensor, index->files[row->file]);
        else if (c->stored[i].file != c->files[row->file])
            ok = fail(err, E_MISSING,
                      "%s: " CHECKPOINT_INDEX_FILE " places tensor %s in %s, it is in %s", c->path,
                      row->tensor, index->files[row->file], safetensors_path(c->stored[i].file));
        else if (is_seen[i])
            ok = fail(err, E_FORMAT, "%s: " CHECKPOINT_INDEX_FILE ": tensor %s stands there twice",
                      c->path, row->tensor);
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

static bool open_parts(Checkpoint *c, CheckpointIndex *index, Err *err)
{
    if (!read_text(c->path, "config.json", false, &c->config, &c->config_n, err)
        || !read_text(c->path, "hf_quant_config.json", true, &c->quant_config, &c->quant_config_n,
                      err))
        return false;
    if (!checkpoint_config_parse(c->config, c->config_n, c->quant_config, c->quant_config_n,
                                 &c->settings, err))
        return err_in(err, "%s", c->path);
    if (!read_index(index, c->path, err) || !open_files(c, index, err) || !collect(c, err)
        || !check_index(c, index, err))
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
    CheckpointIndex index = {0};
    Checkpoint *c = calloc(1, sizeof *c);
    if (c)
        c->path = strdup(path);
    bool ok = c && c->path ? open_parts(c, &index, err)
                           : fail(err, E_MEMORY, "%s: no memory to open it", path);
    checkpoint_index_deinit(&index);
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

const CheckpointConfig *checkpoint_config_settings(const Checkpoint *c)
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

const SafetensorsEntry *checkpoint_find(const Checkpoint *c, const char *name,
                                        const Safetensors **file)
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

/* Pieces of the data of one file, spread evenly over it. */
static void sample_data(XXH3_state_t *state, const Safetensors *f)
{
    uint64_t header_n;
    const char *header = safetensors_header(f, &header_n), *data = header + header_n;
    uint64_t n = safetensors_file_bytes(f) - header_n - SAFETENSORS_LENGTH_BYTES;
    uint64_t piece = n < ID_PIECE ? n : ID_PIECE;
    safetensors_expect_scattered(f, true); /* else the system reads far more around every piece */
    for (uint64_t i = 0; i < ID_PIECES; i++)
        XXH3_128bits_update(state, data + (n - piece) / (ID_PIECES - 1) * i, (size_t)piece);
    safetensors_expect_scattered(f, false);
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
        sample_data(state, c->files[i]);
    }
    XXH128_hash_t h = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(hex, 33, "%016" PRIx64 "%016" PRIx64, (uint64_t)h.high64, (uint64_t)h.low64);
}
