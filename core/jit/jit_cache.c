#include "core/jit/jit_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, ROOM_BYTES = 1 << 16 };

static bool make_folders(const char *dir, Err *err)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path)
        return fail(err, E_IO, "cache folder: its path is longer than %d bytes", PATH_BYTES);
    for (char *cut = strchr(path + 1, '/');; cut = strchr(cut + 1, '/')) {
        if (cut)
            *cut = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return fail_errno(err, "cache folder %s", path);
        if (!cut)
            return true;
        *cut = '/';
    }
}

/* A file of a small entry's size goes through: the disk is neither full nor over a quota. */
static bool has_room(const char *dir, Err *err)
{
    static const char zeros[ROOM_BYTES];
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/.room-XXXXXX", dir) >= (int)sizeof path)
        return fail(err, E_IO, "cache folder: its path is longer than %d bytes", PATH_BYTES);
    int fd = mkstemp(path);
    if (fd < 0)
        return fail_errno(err, "cache folder %s", dir);
    ssize_t written = write(fd, zeros, sizeof zeros);
    if (written >= 0 && written < (ssize_t)sizeof zeros)
        errno = ENOSPC;
    bool is_ok = written == (ssize_t)sizeof zeros || fail_errno(err, "cache folder %s", dir);
    close(fd);
    unlink(path);
    return is_ok;
}

bool jit_cache_prepare(const char *dir, Err *err)
{
    if (!make_folders(dir, err))
        return false;
    return (access(dir, W_OK | X_OK) == 0 || fail_errno(err, "cache folder %s", dir)) && has_room(dir, err);
}

static bool write_file(const char *path, const JitFile *file, Err *err)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return fail_errno(err, "%s", path);
    bool is_ok = fwrite(file->bytes, 1, file->n, f) == file->n;
    is_ok = fclose(f) == 0 && is_ok;
    return is_ok || fail_errno(err, "%s", path);
}

static void drop(const char *dir, const JitFile *files, int n)
{
    char path[PATH_BYTES];
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i].name);
        unlink(path);
    }
    rmdir(dir);
}

bool jit_cache_put(const char *dir, const char *key, const JitFile *files, int n, Err *err)
{
    char aside[PATH_BYTES], path[PATH_BYTES], final[PATH_BYTES];
    snprintf(final, sizeof final, "%s/%s", dir, key);
    if (snprintf(aside, sizeof aside, "%s/.%s-XXXXXX", dir, key) >= PATH_BYTES - 64)
        return fail(err, E_IO, "cache folder: its path is too long");
    if (!mkdtemp(aside))
        return fail_errno(err, "cache folder %s", dir);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", aside, files[i].name);
        if (!write_file(path, &files[i], err)) {
            drop(aside, files, n);
            return false;
        }
    }
    if (rename(aside, final) == 0)
        return true;
    bool is_there = errno == EEXIST || errno == ENOTEMPTY;
    if (!is_there)
        fail_errno(err, "cache entry %s", final);
    drop(aside, files, n);
    return is_there;
}

char *jit_cache_get(const char *dir, const char *key, const char *name, size_t *n, Err *err)
{
    char path[PATH_BYTES];
    struct stat st;
    err->kind = E_NONE;
    snprintf(path, sizeof path, "%s/%s", dir, key);
    if (stat(path, &st) != 0)
        return NULL;
    snprintf(path, sizeof path, "%s/%s/%s", dir, key, name);
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st) != 0) {
        if (f)
            fclose(f);
        fail(err, E_FORMAT, "cache entry %s/%s has no %s: expected a whole entry; remove that folder", dir, key, name);
        return NULL;
    }
    *n = (size_t)st.st_size;
    char *bytes = malloc(*n + 1);
    bool is_ok = bytes && fread(bytes, 1, *n, f) == *n;
    fclose(f);
    if (!is_ok) {
        free(bytes);
        fail(err, bytes ? E_IO : E_MEMORY, "cache entry %s cannot be read", path);
        return NULL;
    }
    bytes[*n] = 0;
    return bytes;
}
