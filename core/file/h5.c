/* HDF5 through a narrow door. Two rules make hostile files harmless as far as the library allows: paths are walked link by
 * link by us, so that nothing but hard links is ever followed, and every size is compared with the bytes that are in the file
 * before memory is taken or a filter runs. What remains is the library's own parsing of its structures.
 * Knowledge: HDF5 1.10 reference manual; which types h5py writes, found by experiment. */
#include "core/file/h5.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    NAME_BYTES_MAX = 1024,
    ATTR_BYTES_MAX = 1 << 24,
    DEFLATE_RATIO_MAX = 1100,    /* deflate reaches 1032 at most */
    FREE_BYTES = 16 << 20,       /* sizes below this need no proof */
};

struct H5File {
    hid_t id;
    char *path, *part; /* part NULL when reading */
    uint64_t bytes;    /* of the file; 0 when writing */
    int fd;            /* of part */
    int broken;        /* errno of the first write that failed */
    bool is_trusted;   /* made by this program, or by the caller's word: read without a child */
};

/* What a dataset's elements are, in the file and in memory. */
typedef struct Element {
    DType dtype;  /* of our Tensor */
    hid_t memory; /* owned; what H5Dread and H5Dwrite are given */
    bool is_u64;  /* values may not fit I64 */
} Element;

/* ---- errors ---- */

static herr_t deepest(unsigned n, const H5E_error2_t *e, void *out)
{
    if (n == 0)
        snprintf(out, 240, "%s", e->desc ? e->desc : "no reason given");
    return 0;
}

/* As fail, with the innermost reason that HDF5 gives. */
__attribute__((format(printf, 3, 4))) static bool fail_h5(Err *err, ErrKind kind, const char *format, ...)
{
    char what[700], why[240] = "no reason given";
    va_list ap;
    va_start(ap, format);
    vsnprintf(what, sizeof what, format, ap);
    va_end(ap);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, deepest, why);
    H5Eclear2(H5E_DEFAULT);
    return fail(err, kind, "%s (HDF5: %s)", what, why);
}

/* ---- the driver below files that are written ----
 * HDF5 does not survive a failing write: it cannot close what it cannot flush, keeps the objects and crashes when the process
 * ends (1.10.8). So its writes always succeed here; the first failure is kept in H5File, later writes are dropped, and every
 * function of ours that writes looks at it before and after. */

typedef struct DiskInfo {
    int fd, *broken;
} DiskInfo;

typedef struct Disk {
    H5FD_t pub; /* first, as HDF5 wants it */
    DiskInfo info;
    haddr_t eoa, eof;
} Disk;

static H5FD_t *disk_open(const char *name, unsigned flags, hid_t fapl, haddr_t max)
{
    (void)name, (void)max;
    const DiskInfo *info = H5Pget_driver_info(fapl);
    struct stat st;
    Disk *d = info ? calloc(1, sizeof *d) : NULL;
    if (!d)
        return NULL;
    d->info = *info;
    if (flags & H5F_ACC_TRUNC && ftruncate(info->fd, 0) != 0)
        *info->broken = errno;
    d->eof = fstat(info->fd, &st) == 0 ? (haddr_t)st.st_size : 0;
    return &d->pub;
}

static herr_t disk_close(H5FD_t *file)
{
    free(file);
    return 0;
}

static herr_t disk_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t disk_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const Disk *)(const void *)file)->eoa;
}

static herr_t disk_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t eoa)
{
    (void)type;
    ((Disk *)(void *)file)->eoa = eoa;
    return 0;
}

static haddr_t disk_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const Disk *)(const void *)file)->eof;
}

/* What is not in the file reads as zeros. */
static herr_t disk_read(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t at, size_t n, void *to)
{
    (void)type, (void)dxpl;
    Disk *d = (Disk *)(void *)file;
    for (ssize_t k = 1; n > 0 && k > 0;) {
        k = pread(d->info.fd, to, n, (off_t)at);
        if (k < 0 && errno == EINTR)
            k = 1;
        else if (k > 0)
            to = (char *)to + k, n -= (size_t)k, at += (haddr_t)k;
    }
    memset(to, 0, n);
    return 0;
}

static herr_t disk_write(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t at, size_t n, const void *from)
{
    (void)type, (void)dxpl;
    Disk *d = (Disk *)(void *)file;
    if (at + n > d->eof)
        d->eof = at + n;
    while (n > 0 && *d->info.broken == 0) {
        ssize_t k = pwrite(d->info.fd, from, n, (off_t)at);
        if (k < 0 && errno != EINTR)
            *d->info.broken = errno;
        else if (k > 0)
            from = (const char *)from + k, n -= (size_t)k, at += (haddr_t)k;
    }
    return 0;
}

static herr_t disk_truncate(H5FD_t *file, hid_t dxpl, hbool_t closing)
{
    (void)dxpl, (void)closing;
    Disk *d = (Disk *)(void *)file;
    if (*d->info.broken == 0 && ftruncate(d->info.fd, (off_t)d->eoa) != 0)
        *d->info.broken = errno;
    d->eof = d->eoa;
    return 0;
}

static hid_t disk_driver(void)
{
    static const H5FD_class_t class = {
#if H5_VERSION_GE(1, 13, 0)
        .version = H5FD_CLASS_VERSION,
        .value = (H5FD_class_value_t)600, /* from the range that the library leaves to programs */
#endif
        .name = "nibble_disk",
        .maxaddr = (haddr_t)INT64_MAX,
        .fc_degree = H5F_CLOSE_STRONG,
        .fapl_size = sizeof(DiskInfo),
        .open = disk_open,
        .close = disk_close,
        .query = disk_query,
        .get_eoa = disk_get_eoa,
        .set_eoa = disk_set_eoa,
        .get_eof = disk_get_eof,
        .read = disk_read,
        .write = disk_write,
        .truncate = disk_truncate,
        .fl_map = H5FD_FLMAP_DICHOTOMY,
    };
    static hid_t id = H5I_INVALID_HID;
    if (id < 0)
        id = H5FDregister(&class);
    return id;
}

/* true while everything that was written has reached the file. */
static bool disk_is_good(H5File *f, Err *err)
{
    if (f->broken == 0)
        return true;
    errno = f->broken;
    return fail_errno(err, "cannot write %s", f->part);
}

/* ---- children ----
 * HDF5 1.10 crashes, overruns its heap or loops on many files with a few changed bytes. What it does not survive is done by a
 * child, which may die of it and otherwise writes its result into a pipe. */

enum { CHILD_CPU_S = 1, CHILD_BYTES_PER_S = 8 << 20 };

typedef struct Child {
    pid_t pid;
    FILE *result; /* what the child writes */
} Child;

/* Starts work(arg, to) in a child that has CPU time for a file of so many bytes. The caller calls child_end in any case. */
static bool child_start(Child *c, void (*work)(void *arg, FILE *to), void *arg, uint64_t bytes, Err *err)
{
    int ends[2];
    *c = (Child){-1, NULL};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail_errno(err, "cannot make a pipe to a process that reads HDF5");
    c->pid = fork();
    if (c->pid == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO); /* the last words of malloc or a sanitizer */
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGPROF, SIG_DFL);
        struct itimerval limit = {.it_value = {.tv_sec = CHILD_CPU_S + (time_t)(bytes / CHILD_BYTES_PER_S)}};
        setitimer(ITIMER_PROF, &limit, NULL);
        FILE *to = fdopen(ends[1], "wb");
        if (to)
            work(arg, to);
        _Exit(!to || fclose(to) != 0); /* the child alone ends, without what the program does at its end */
    }
    bool ok = c->pid > 0 || fail_errno(err, "cannot start a process that reads HDF5");
    close(ends[1]);
    c->result = fdopen(ends[0], "rb");
    if (!c->result)
        close(ends[0]);
    return ok && (c->result || fail(err, E_MEMORY, "no memory to read from a process"));
}

static void child_end(Child *c)
{
    if (c->result)
        fclose(c->result);
    while (c->pid > 0 && waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) /* ECHILD where the program ignores its children */
        ;
}

/* ---- opening and closing ---- */

static void quiet(void)
{
    static bool is_done;
    if (is_done)
        return;
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0); /* a file must not name a library to load */
    is_done = true;
}

static hid_t access_list(void)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(fapl, false, true); /* read-only media and some network file systems cannot lock */
#endif
    return fapl;
}

static H5File *file_new(const char *path, bool is_written, Err *err)
{
    quiet();
    H5File *f = calloc(1, sizeof *f);
    if (f) {
        f->id = H5I_INVALID_HID;
        f->fd = -1;
        f->path = strdup(path);
        if (is_written && asprintf(&f->part, "%s.part", path) < 0)
            f->part = NULL;
    }
    if (f && f->path && (f->part || !is_written))
        return f;
    h5_discard(f);
    return fail(err, E_MEMORY, "no memory to open %s", path), NULL;
}

static bool survives_reading(const char *path, Err *err);

static H5File *open_file(const char *path, Err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, "cannot open %s", path), NULL;
    bool is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    close(fd);
    if (!is_file)
        return fail(err, E_IO, "%s is not a file", path), NULL;
    H5File *f = file_new(path, false, err);
    if (!f)
        return NULL;
    f->bytes = (uint64_t)st.st_size;
    hid_t fapl = access_list();
    if (H5Fis_hdf5(path) <= 0)
        fail(err, E_FORMAT, "%s is not an HDF5 file", path);
    else if ((f->id = H5Fopen(path, H5F_ACC_RDONLY, fapl)) < 0)
        fail_h5(err, E_FORMAT, "%s is a broken HDF5 file", path);
    H5Eclear2(H5E_DEFAULT);
    H5Pclose(fapl);
    if (f->id >= 0)
        return f;
    h5_discard(f);
    return NULL;
}

H5File *h5_open(const char *path, Err *err)
{
    return survives_reading(path, err) ? open_file(path, err) : NULL;
}

H5File *h5_open_own(const char *path, Err *err)
{
    H5File *f = open_file(path, err);
    if (f)
        f->is_trusted = true;
    return f;
}

H5File *h5_open_image(const void *bytes, size_t n, Err *err)
{
    H5File *f = file_new("(image)", false, err);
    if (!f)
        return NULL;
    f->bytes = n;
    f->is_trusted = true;
    hid_t fapl = access_list();
    H5Pset_fapl_core(fapl, 1 << 16, false);
    H5Pset_file_image(fapl, (void *)(uintptr_t)bytes, n);
    if ((f->id = H5Fopen("(image)", H5F_ACC_RDONLY, fapl)) < 0)
        fail_h5(err, E_FORMAT, "not an HDF5 file");
    H5Pclose(fapl);
    if (f->id >= 0)
        return f;
    h5_discard(f);
    return NULL;
}

H5File *h5_create(const char *path, Err *err)
{
    H5File *f = file_new(path, true, err);
    if (!f)
        return NULL;
    f->fd = open(f->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        fail_errno(err, "cannot write %s", f->part);
        free(f->part);
        f->part = NULL; /* not ours to remove */
        h5_discard(f);
        return NULL;
    }
    hid_t fapl = access_list();
    H5Pset_driver(fapl, disk_driver(), &(DiskInfo){f->fd, &f->broken});
    f->id = H5Fcreate(f->part, H5F_ACC_TRUNC, H5P_DEFAULT, fapl);
    if (f->id < 0)
        fail_h5(err, E_IO, "cannot write %s", f->part);
    H5Pclose(fapl);
    if (f->id >= 0 && disk_is_good(f, err))
        return f;
    h5_discard(f);
    return NULL;
}

bool h5_close(H5File *f, Err *err)
{
    bool ok = true;
    assert(H5Fget_obj_count(f->id, H5F_OBJ_ALL | H5F_OBJ_LOCAL) == 1);
    if (f->part) {
        if (H5Fclose(f->id) < 0)
            ok = fail_h5(err, E_IO, "cannot write %s", f->part);
        f->id = H5I_INVALID_HID;
        ok = ok && disk_is_good(f, err);
        if (ok && fsync(f->fd) != 0)
            ok = fail_errno(err, "cannot write %s", f->part);
        if (ok && rename(f->part, f->path) != 0)
            ok = fail_errno(err, "cannot rename %s to %s", f->part, f->path);
        if (ok) {
            free(f->part);
            f->part = NULL;
        }
    }
    h5_discard(f);
    return ok;
}

void h5_discard(H5File *f)
{
    if (!f)
        return;
    if (f->id >= 0)
        H5Fclose(f->id);
    H5Eclear2(H5E_DEFAULT);
    if (f->part)
        unlink(f->part);
    if (f->fd >= 0)
        close(f->fd);
    free(f->part);
    free(f->path);
    free(f);
}

const char *h5_path(const H5File *f)
{
    return f->path;
}

long h5_open_objects(void)
{
    return (long)H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL);
}

/* ---- paths ---- */

/* Copies the next name of *p into name and moves *p behind it. false at the end, or with *p NULL when it is too long. */
static bool next_name(const char **p, char name[NAME_BYTES_MAX])
{
    const char *s = *p + strspn(*p, "/");
    size_t n = strcspn(s, "/");
    *p = n < NAME_BYTES_MAX ? s + n : NULL;
    if (!*p || n == 0)
        return false;
    memcpy(name, s, n);
    name[n] = 0;
    return true;
}

static bool is_group(hid_t id)
{
    return H5Iget_type(id) == H5I_GROUP;
}

/* Opens what the hard link `name` of group `at` leads to. *id stays invalid when there is no such link. */
static bool step(H5File *f, const char *p, hid_t at, const char *name, hid_t *id, Err *err)
{
    *id = H5I_INVALID_HID;
    if (strcmp(name, ".") == 0)
        return true;
    H5L_info_t info;
    if (H5Lget_info(at, name, &info, H5P_DEFAULT) < 0) {
        if (H5Lexists(at, name, H5P_DEFAULT) != 0)
            return fail_h5(err, E_FORMAT, "%s:/%s: the link \"%s\" cannot be read", f->path, p, name);
        H5Eclear2(H5E_DEFAULT);
        return true;
    }
    if (info.type != H5L_TYPE_HARD)
        return fail(err, E_UNSUPPORTED, "%s:/%s: \"%s\" is %s link; only hard links are followed", f->path, p, name,
                    info.type == H5L_TYPE_EXTERNAL ? "an external" : info.type == H5L_TYPE_SOFT ? "a soft" : "a user-defined");
    *id = H5Oopen(at, name, H5P_DEFAULT);
    return *id >= 0 || fail_h5(err, E_FORMAT, "%s:/%s: \"%s\" cannot be opened", f->path, p, name);
}

static const char *relative(const char *p)
{
    return p + strspn(p, "/");
}

/* Opens the object at p (closed by the caller with H5Oclose); *id is invalid when it is absent. */
static bool find(H5File *f, const char *p, hid_t *id, Err *err)
{
    char name[NAME_BYTES_MAX];
    const char *rest = p = relative(p);
    *id = H5Oopen(f->id, "/", H5P_DEFAULT);
    if (*id < 0)
        return fail_h5(err, E_FORMAT, "%s: the root group cannot be opened", f->path);
    while (next_name(&rest, name)) {
        hid_t next = H5I_INVALID_HID;
        bool ok = !is_group(*id) || step(f, p, *id, name, &next, err);
        H5Oclose(*id);
        *id = next;
        if (!ok || next < 0)
            return ok;
    }
    if (rest)
        return true;
    H5Oclose(*id);
    *id = H5I_INVALID_HID;
    return fail(err, E_USAGE, "a name in an HDF5 path is at most %d bytes long", NAME_BYTES_MAX - 1);
}

static hid_t find_needed(H5File *f, const char *p, Err *err)
{
    hid_t id;
    if (find(f, p, &id, err) && id < 0)
        fail(err, E_MISSING, "%s holds no \"/%s\"", f->path, relative(p));
    return id;
}

static hid_t find_dataset(H5File *f, const char *p, Err *err)
{
    hid_t id = find_needed(f, p, err);
    if (id < 0 || H5Iget_type(id) == H5I_DATASET)
        return id;
    fail(err, E_SHAPE, "%s:/%s: expected a dataset, found %s", f->path, relative(p), is_group(id) ? "a group" : "something else");
    H5Oclose(id);
    return H5I_INVALID_HID;
}

static H5Kind kind_of(hid_t id)
{
    H5I_type_t type = H5Iget_type(id);
    return type == H5I_GROUP ? H5_GROUP : type == H5I_DATASET ? H5_DATASET : H5_OTHER;
}

bool h5_kind(H5File *f, const char *p, H5Kind *kind, Err *err)
{
    hid_t id;
    *kind = H5_ABSENT;
    if (!find(f, p, &id, err))
        return false;
    if (id >= 0) {
        *kind = kind_of(id);
        H5Oclose(id);
    }
    return true;
}

/* ---- lists ---- */

static bool list_add(H5List *list, const char *name, H5Kind kind)
{
    if ((list->n & (list->n - 1)) == 0) { /* full at every power of two */
        H5Entry *more = realloc(list->entries, (list->n ? 2 * list->n : 1) * sizeof *more);
        if (!more)
            return false;
        list->entries = more;
    }
    char *copy = strdup(name);
    if (!copy)
        return false;
    list->entries[list->n++] = (H5Entry){copy, kind};
    return true;
}

void h5_list_free(H5List *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->entries[i].name);
    free(list->entries);
    *list = (H5List){0};
}

static herr_t list_link(hid_t group, const char *name, const H5L_info_t *info, void *list)
{
    H5Kind kind = H5_OTHER;
    if (info->type == H5L_TYPE_HARD) {
        hid_t id = H5Oopen(group, name, H5P_DEFAULT);
        if (id < 0)
            return -1;
        kind = kind_of(id);
        H5Oclose(id);
    }
    return list_add(list, name, kind) ? 0 : -1;
}

static herr_t list_attr(hid_t id, const char *name, const H5A_info_t *info, void *list)
{
    (void)id, (void)info;
    return list_add(list, name, H5_OTHER) ? 0 : -1;
}

bool h5_list(H5File *f, const char *p, H5List *list, Err *err)
{
    *list = (H5List){0};
    hid_t id = find_needed(f, p, err);
    if (id < 0)
        return false;
    bool ok = is_group(id) || fail(err, E_SHAPE, "%s:/%s: expected a group, found a dataset", f->path, relative(p));
    if (ok && H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, NULL, list_link, list) < 0)
        ok = fail_h5(err, E_FORMAT, "%s:/%s: the group cannot be listed", f->path, relative(p));
    H5Oclose(id);
    if (!ok)
        h5_list_free(list);
    return ok;
}

bool h5_attr_names(H5File *f, const char *p, H5List *list, Err *err)
{
    *list = (H5List){0};
    hid_t id = find_needed(f, p, err);
    if (id < 0)
        return false;
    bool ok = H5Aiterate2(id, H5_INDEX_NAME, H5_ITER_INC, NULL, list_attr, list) >= 0 ||
              fail_h5(err, E_FORMAT, "%s:/%s: its attributes cannot be listed", f->path, relative(p));
    H5Oclose(id);
    if (!ok)
        h5_list_free(list);
    return ok;
}

/* ---- types ---- */

static hid_t half_type(void)
{
    hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(t, 15, 10, 5, 0, 10);
    H5Tset_size(t, 2);
    H5Tset_ebias(t, 15);
    return t;
}

/* The type in which values of dtype are stored, ours to close. */
static hid_t stored_type(DType dtype)
{
    switch (dtype) {
    case DTYPE_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case DTYPE_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case DTYPE_F16: return half_type();
    case DTYPE_BF16: return H5Tcopy(H5T_STD_U16LE);
    case DTYPE_I8: return H5Tcopy(H5T_STD_I8LE);
    case DTYPE_I16: return H5Tcopy(H5T_STD_I16LE);
    case DTYPE_I32: return H5Tcopy(H5T_STD_I32LE);
    case DTYPE_I64: return H5Tcopy(H5T_STD_I64LE);
    case DTYPE_U8:
    case DTYPE_BOOL:
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2: return H5Tcopy(H5T_STD_U8LE);
    default: assert(!"a stored tensor has a type"); return H5I_INVALID_HID;
    }
}

/* Is dtype one that is stored as unsigned bits with an attribute that names it? */
static bool is_named(DType dtype)
{
    return dtype == DTYPE_BF16 || dtype == DTYPE_F8_E4M3 || dtype == DTYPE_F8_E5M2 || dtype == DTYPE_BOOL;
}

static bool attr_of(H5File *f, const char *p, hid_t id, const char *name, H5Attr *attr, Err *err);

/* The type that the attribute dtype gives to unsigned values of so many bytes; DTYPE_NONE without a fitting one. */
static DType named_dtype(H5File *f, const char *p, hid_t id, size_t bytes)
{
    Err ignored;
    H5Attr attr;
    DType dtype = DTYPE_NONE;
    if (H5Aexists(id, "dtype") > 0 && attr_of(f, p, id, "dtype", &attr, &ignored)) {
        if (attr.kind == H5_ATTR_STRING && !attr.is_list)
            dtype = dtype_from_name(attr.strings[0]);
        h5_attr_free(&attr);
    }
    return is_named(dtype) && dtype_bytes(dtype) == bytes ? dtype : DTYPE_NONE;
}

static Element integer_element(hid_t type, size_t bytes, DType named)
{
    bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
    if (named != DTYPE_NONE && !is_signed)
        return (Element){named, stored_type(named), false};
    switch (bytes) {
    case 1: return is_signed ? (Element){DTYPE_I8, H5Tcopy(H5T_NATIVE_INT8), false}
                             : (Element){DTYPE_U8, H5Tcopy(H5T_NATIVE_UINT8), false};
    case 2: return is_signed ? (Element){DTYPE_I16, H5Tcopy(H5T_NATIVE_INT16), false}
                             : (Element){DTYPE_I32, H5Tcopy(H5T_NATIVE_INT32), false};
    case 4: return is_signed ? (Element){DTYPE_I32, H5Tcopy(H5T_NATIVE_INT32), false}
                             : (Element){DTYPE_I64, H5Tcopy(H5T_NATIVE_INT64), false};
    case 8: return is_signed ? (Element){DTYPE_I64, H5Tcopy(H5T_NATIVE_INT64), false}
                             : (Element){DTYPE_I64, H5Tcopy(H5T_NATIVE_UINT64), true};
    default: return (Element){DTYPE_NONE, H5I_INVALID_HID, false};
    }
}

static Element float_element(size_t bytes)
{
    switch (bytes) {
    case 2: return (Element){DTYPE_F16, half_type(), false};
    case 4: return (Element){DTYPE_F32, H5Tcopy(H5T_NATIVE_FLOAT), false};
    case 8: return (Element){DTYPE_F64, H5Tcopy(H5T_NATIVE_DOUBLE), false};
    default: return (Element){DTYPE_NONE, H5I_INVALID_HID, false};
    }
}

/* How values of the dataset's type become a Tensor's; dtype NONE when they do not. */
static Element element_of(H5File *f, const char *p, hid_t dataset)
{
    Element e = {DTYPE_NONE, H5I_INVALID_HID, false};
    hid_t type = H5Dget_type(dataset);
    size_t bytes = type < 0 ? 0 : H5Tget_size(type);
    switch (type < 0 ? H5T_NO_CLASS : H5Tget_class(type)) {
    case H5T_INTEGER: e = integer_element(type, bytes, named_dtype(f, p, dataset, bytes)); break;
    case H5T_FLOAT: e = float_element(bytes); break;
    case H5T_ENUM:
        if (bytes == 1)
            e = (Element){DTYPE_U8, H5Tcopy(type), false};
        break;
    default: break;
    }
    if (type >= 0)
        H5Tclose(type);
    return e;
}

static void element_close(Element *e)
{
    if (e->memory >= 0)
        H5Tclose(e->memory);
}

/* ---- reading datasets ---- */

static bool extents(H5File *f, const char *p, hid_t dataset, H5Info *info, Err *err)
{
    hsize_t dims[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset);
    int rank = space < 0 || H5Sget_simple_extent_type(space) == H5S_NULL ? -1 : H5Sget_simple_extent_ndims(space);
    if (rank >= 0 && H5Sget_simple_extent_dims(space, dims, NULL) < 0)
        rank = -1;
    if (space >= 0)
        H5Sclose(space);
    if (rank < 0)
        return fail(err, E_SHAPE, "%s:/%s has no shape", f->path, relative(p));
    if (rank > TENSOR_RANK_MAX)
        return fail(err, E_SHAPE, "%s:/%s has %d dimensions; at most %d are read", f->path, relative(p), rank, TENSOR_RANK_MAX);
    info->rank = rank;
    for (int i = 0; i < rank; i++)
        info->shape[i] = (size_t)dims[i];
    return true;
}

bool h5_info(H5File *f, const char *p, H5Info *info, Err *err)
{
    *info = (H5Info){0};
    hid_t id = find_dataset(f, p, err);
    if (id < 0)
        return false;
    Element e = element_of(f, p, id);
    info->dtype = e.dtype;
    element_close(&e);
    bool ok = extents(f, p, id, info, err);
    H5Oclose(id);
    return ok;
}

static bool filters_are_known(H5File *f, const char *p, hid_t dcpl, Err *err)
{
    int n = H5Pget_nfilters(dcpl);
    for (int i = 0; i < n; i++) {
        unsigned flags, config;
        size_t values_n = 0;
        char name[64] = "";
        H5Z_filter_t filter = H5Pget_filter2(dcpl, (unsigned)i, &flags, &values_n, NULL, sizeof name, name, &config);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
            return fail(err, E_UNSUPPORTED, "%s:/%s goes through filter %d; only deflate, shuffle and fletcher32 are read",
                        f->path, relative(p), (int)filter);
    }
    return true;
}

/* Can `bytes` come out of what the file holds for this dataset? A shape is only a claim. */
static bool size_is_possible(H5File *f, const char *p, hid_t dataset, hid_t dcpl, uint64_t bytes, Err *err)
{
    uint64_t stored = H5Dget_storage_size(dataset), limit;
    if (stored > f->bytes)
        stored = f->bytes;
    if (__builtin_mul_overflow(stored, (uint64_t)DEFLATE_RATIO_MAX, &limit) || limit < FREE_BYTES)
        limit = FREE_BYTES;
    if (H5Pget_nfilters(dcpl) == 0 && limit > FREE_BYTES)
        limit = stored > FREE_BYTES ? stored : FREE_BYTES;
    if (bytes <= limit)
        return true;
    return fail(err, E_FORMAT, "%s:/%s: %llu bytes are announced, %llu are stored", f->path, relative(p),
                (unsigned long long)bytes, (unsigned long long)stored);
}

/* Refuses datasets whose storage we do not read: other files, unknown filters, impossible sizes of the whole or of a chunk. */
static bool storage_is_safe(H5File *f, const char *p, hid_t dataset, uint64_t bytes, Err *err)
{
    hid_t dcpl = H5Dget_create_plist(dataset);
    if (dcpl < 0)
        return fail_h5(err, E_FORMAT, "%s:/%s: its storage cannot be read", f->path, relative(p));
    bool ok = true;
    H5D_layout_t layout = H5Pget_layout(dcpl);
    if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT)
        ok = fail(err, E_UNSUPPORTED, "%s:/%s lies in other files (a virtual dataset)", f->path, relative(p));
    else if (layout == H5D_CONTIGUOUS && H5Pget_external_count(dcpl) != 0)
        ok = fail(err, E_UNSUPPORTED, "%s:/%s lies in another file (external storage)", f->path, relative(p));
    else
        ok = filters_are_known(f, p, dcpl, err) && size_is_possible(f, p, dataset, dcpl, bytes, err);
    if (ok && layout == H5D_CHUNKED) {
        hsize_t dims[H5S_MAX_RANK];
        int rank = H5Pget_chunk(dcpl, H5S_MAX_RANK, dims);
        hid_t type = H5Dget_type(dataset);
        uint64_t chunk = type < 0 ? 0 : H5Tget_size(type);
        for (int i = 0; i < rank; i++)
            if (__builtin_mul_overflow(chunk, (uint64_t)dims[i], &chunk))
                chunk = UINT64_MAX;
        if (type >= 0)
            H5Tclose(type);
        ok = size_is_possible(f, p, dataset, dcpl, chunk, err);
    }
    H5Pclose(dcpl);
    return ok;
}

/* The file's selection of rows [first, first + n), and the matching memory space in *memory; both the caller's. */
static hid_t rows_space(hid_t dataset, const H5Info *info, size_t first, size_t n, hid_t *memory)
{
    hsize_t start[TENSOR_RANK_MAX] = {first}, count[TENSOR_RANK_MAX];
    for (int i = 0; i < info->rank; i++)
        count[i] = i ? info->shape[i] : n;
    hid_t space = H5Dget_space(dataset);
    *memory = info->rank ? H5Screate_simple(info->rank, count, NULL) : H5Screate(H5S_SCALAR);
    if (info->rank && space >= 0)
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
    return space;
}

static bool read_into(H5File *f, const char *p, hid_t dataset, const Element *e, const H5Info *info, size_t first, Tensor *t,
                      Err *err)
{
    if (tensor_count(t) == 0)
        return true;
    hid_t memory, space = rows_space(dataset, info, first, t->rank ? t->shape[0] : 1, &memory);
    bool ok = space >= 0 && memory >= 0 && H5Dread(dataset, e->memory, memory, space, H5P_DEFAULT, t->data) >= 0;
    if (!ok)
        fail_h5(err, E_FORMAT, "%s:/%s: its values cannot be read", f->path, relative(p));
    if (memory >= 0)
        H5Sclose(memory);
    if (space >= 0)
        H5Sclose(space);
    for (size_t i = 0; ok && e->is_u64 && i < tensor_count(t); i++)
        if (((const int64_t *)t->data)[i] < 0)
            ok = fail(err, E_VALUE, "%s:/%s: element %zu exceeds 2^63 - 1", f->path, relative(p), i);
    return ok;
}

static Tensor *read_part(H5File *f, const char *p, hid_t dataset, Element *e, H5Part part, Err *err)
{
    H5Info info = {0};
    if (!extents(f, p, dataset, &info, err))
        return NULL;
    size_t rows = info.rank ? info.shape[0] : 1;
    size_t n = part.rows_n == SIZE_MAX && part.first_row <= rows ? rows - part.first_row : part.rows_n;
    if (part.first_row > rows || n > rows - part.first_row)
        return fail(err, E_SHAPE, "%s:/%s: %zu rows from row %zu on are asked for, %zu are there", f->path, relative(p), n,
                    part.first_row, rows), NULL;
    H5Info wanted = info;
    if (wanted.rank)
        wanted.shape[0] = n;
    uint64_t bytes = dtype_bytes(e->dtype);
    for (int i = 0; i < info.rank; i++)
        if (__builtin_mul_overflow(bytes, (uint64_t)wanted.shape[i], &bytes))
            return fail(err, E_FORMAT, "%s:/%s: its size overflows", f->path, relative(p)), NULL;
    if (!storage_is_safe(f, p, dataset, bytes, err))
        return NULL;
    Tensor *t = tensor_new(e->dtype, wanted.rank, wanted.shape, err);
    if (t && !read_into(f, p, dataset, e, &info, part.first_row, t, err)) {
        tensor_free(t);
        return NULL;
    }
    return t;
}

/* The stored bits of the dataset as values of dtype `as`; NONE when they have another size. */
static Element element_as(hid_t dataset, DType as)
{
    Element e = {DTYPE_NONE, H5I_INVALID_HID, false};
    hid_t type = H5Dget_type(dataset);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    if ((class == H5T_INTEGER || class == H5T_FLOAT) && H5Tget_size(type) == dtype_bytes(as))
        e = (Element){as, class == H5T_FLOAT && dtype_bytes(as) == 2 ? half_type() : H5Tget_native_type(type, H5T_DIR_ASCEND),
            false};
    if (type >= 0)
        H5Tclose(type);
    return e;
}

Tensor *h5_read_part(H5File *f, const char *p, H5Part part, Err *err)
{
    hid_t id = find_dataset(f, p, err);
    if (id < 0)
        return NULL;
    Element e = part.as == DTYPE_NONE ? element_of(f, p, id) : element_as(id, part.as);
    Tensor *t = NULL;
    if (e.dtype == DTYPE_NONE && part.as != DTYPE_NONE)
        fail(err, E_SHAPE, "%s:/%s: its values are not %zu bytes long and cannot be taken as %s", f->path, relative(p),
             dtype_bytes(part.as), dtype_name(part.as));
    else if (e.dtype == DTYPE_NONE)
        fail(err, E_SHAPE, "%s:/%s: expected numbers, found another type", f->path, relative(p));
    else
        t = read_part(f, p, id, &e, part, err);
    element_close(&e);
    H5Oclose(id);
    return t;
}

Tensor *h5_read(H5File *f, const char *p, Err *err)
{
    return h5_read_part(f, p, (H5Part){0, SIZE_MAX, DTYPE_NONE}, err);
}

/* ---- reading attributes ---- */

static bool fixed_strings(hid_t attr, hid_t type, size_t n, char **strings)
{
    size_t width = H5Tget_size(type);
    char *raw = calloc(n + 1, width);
    bool ok = raw && H5Aread(attr, type, raw) >= 0;
    for (size_t i = 0; ok && i < n; i++) {
        size_t len = strnlen(raw + i * width, width);
        while (H5Tget_strpad(type) == H5T_STR_SPACEPAD && len > 0 && raw[i * width + len - 1] == ' ')
            len--;
        strings[i] = strndup(raw + i * width, len);
        ok = strings[i];
    }
    free(raw);
    return ok;
}

static bool variable_strings(hid_t attr, hid_t type, size_t n, char **strings)
{
    char **raw = calloc(n + 1, sizeof *raw);
    bool ok = raw && H5Aread(attr, type, raw) >= 0;
    for (size_t i = 0; raw && i < n; i++) {
        strings[i] = ok ? strdup(raw[i] ? raw[i] : "") : NULL;
        ok = ok && strings[i];
        H5free_memory(raw[i]);
    }
    free(raw);
    return ok;
}

typedef struct Strings {
    hid_t attr, type;
    size_t n;
    char **strings;
} Strings;

static void send_strings(void *arg, FILE *to)
{
    Strings *s = arg;
    if (!variable_strings(s->attr, s->type, s->n, s->strings))
        return;
    for (size_t i = 0; i < s->n; i++) {
        uint32_t len = (uint32_t)strlen(s->strings[i]);
        fwrite(&len, sizeof len, 1, to);
        fwrite(s->strings[i], 1, len, to);
    }
}

/* The library does not check where in the file's heaps a string of variable length is said to lie: a child reads it. */
static bool strings_by_child(hid_t attr, hid_t type, size_t n, char **strings)
{
    Child c;
    Err ignored;
    Strings job = {attr, type, n, strings};
    size_t total = 0;
    bool ok = child_start(&c, send_strings, &job, 0, &ignored);
    for (size_t i = 0; ok && i < n; i++) {
        uint32_t len = 0;
        ok = fread(&len, sizeof len, 1, c.result) == 1 && (total += len) <= ATTR_BYTES_MAX;
        strings[i] = ok ? calloc(len + (size_t)1, 1) : NULL;
        ok = strings[i] && fread(strings[i], 1, len, c.result) == len;
    }
    child_end(&c);
    return ok;
}

static bool strings_of(H5File *f, hid_t attr, hid_t type, size_t n, char **strings)
{
    if (H5Tis_variable_str(type) <= 0)
        return fixed_strings(attr, type, n, strings);
    return f->is_trusted ? variable_strings(attr, type, n, strings) : strings_by_child(attr, type, n, strings);
}

/* h5py's bool is an enumeration of one byte with FALSE and TRUE; others are taken as their numbers. */
static bool enums_of(hid_t attr, hid_t type, H5Attr *out)
{
    int8_t probe;
    int8_t *raw = calloc(out->n + 1, 1);
    bool ok = raw && H5Tget_size(type) == 1 && H5Aread(attr, type, raw) >= 0;
    for (size_t i = 0; ok && i < out->n; i++)
        out->ints[i] = raw[i];
    free(raw);
    if (ok && H5Tget_nmembers(type) == 2 && H5Tenum_valueof(type, "FALSE", &probe) >= 0 && probe == 0)
        out->kind = H5_ATTR_BOOL;
    return ok;
}

static bool values_of(H5File *f, hid_t attr, hid_t type, H5Attr *out, bool *is_known)
{
    *is_known = true;
    size_t n = out->n + 1;
    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
        out->kind = H5_ATTR_INT;
        out->ints = calloc(n, sizeof *out->ints);
        return out->ints && H5Aread(attr, H5T_NATIVE_INT64, out->ints) >= 0;
    case H5T_FLOAT:
        out->kind = H5_ATTR_REAL;
        out->reals = calloc(n, sizeof *out->reals);
        return out->reals && H5Aread(attr, H5T_NATIVE_DOUBLE, out->reals) >= 0;
    case H5T_ENUM:
        out->kind = H5_ATTR_INT;
        out->ints = calloc(n, sizeof *out->ints);
        *is_known = H5Tget_size(type) == 1;
        return out->ints && enums_of(attr, type, out);
    case H5T_STRING:
        out->kind = H5_ATTR_STRING;
        out->strings = calloc(n, sizeof *out->strings);
        return out->strings && strings_of(f, attr, type, out->n, out->strings);
    default:
        *is_known = false;
        return false;
    }
}

void h5_attr_free(H5Attr *attr)
{
    for (size_t i = 0; attr->strings && i < attr->n; i++)
        free(attr->strings[i]);
    free(attr->strings);
    free(attr->ints);
    free(attr->reals);
    *attr = (H5Attr){0};
}

static bool attr_of(H5File *f, const char *p, hid_t id, const char *name, H5Attr *out, Err *err)
{
    *out = (H5Attr){0};
    htri_t is_there = H5Aexists(id, name);
    if (is_there == 0)
        return fail(err, E_MISSING, "%s:/%s has no attribute \"%s\"", f->path, relative(p), name);
    hid_t attr = is_there > 0 ? H5Aopen(id, name, H5P_DEFAULT) : H5I_INVALID_HID;
    if (attr < 0)
        return fail_h5(err, E_FORMAT, "%s:/%s: attribute \"%s\" cannot be opened", f->path, relative(p), name);
    hid_t type = H5Aget_type(attr), space = H5Aget_space(attr);
    hssize_t n = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    bool ok = false, is_known = true;
    size_t width = type < 0 ? 0 : H5Tget_size(type);
    if (n < 0 || width == 0 || (uint64_t)n > ATTR_BYTES_MAX / width) {
        fail(err, E_FORMAT, "%s:/%s: attribute \"%s\" has an impossible size", f->path, relative(p), name);
    } else {
        out->n = (size_t)n;
        out->is_list = H5Sget_simple_extent_type(space) != H5S_SCALAR;
        ok = values_of(f, attr, type, out, &is_known);
        if (!is_known)
            fail(err, E_UNSUPPORTED, "%s:/%s: attribute \"%s\" is neither numbers nor text", f->path, relative(p), name);
        else if (!ok)
            fail_h5(err, E_FORMAT, "%s:/%s: attribute \"%s\" cannot be read", f->path, relative(p), name);
    }
    if (!ok)
        h5_attr_free(out);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    H5Aclose(attr);
    return ok;
}

bool h5_attr(H5File *f, const char *p, const char *name, H5Attr *attr, Err *err)
{
    *attr = (H5Attr){0};
    hid_t id = find_needed(f, p, err);
    if (id < 0)
        return false;
    bool ok = attr_of(f, p, id, name, attr, err);
    H5Oclose(id);
    return ok;
}

/* ---- reading once in a child: what kills it is not opened here ---- */

enum { PROBE_FILE_BYTES = 1 << 20, PROBE_DATASET_BYTES = 64 << 20 };

/* All values of a dataset of a small file, else the first and the last row. */
static void probe_values(H5File *f, const char *p, hid_t id)
{
    Err ignored;
    H5Info info = {0};
    Element e = element_of(f, p, id);
    if (e.dtype != DTYPE_NONE && extents(f, p, id, &info, &ignored)) {
        size_t bytes = dtype_bytes(e.dtype), rows = info.rank ? info.shape[0] : 1;
        bool is_small = f->bytes <= PROBE_FILE_BYTES;
        for (int i = 0; i < info.rank; i++)
            is_small = is_small && !__builtin_mul_overflow(bytes, info.shape[i], &bytes) && bytes <= PROBE_DATASET_BYTES;
        tensor_free(read_part(f, p, id, &e, (H5Part){0, is_small ? SIZE_MAX : rows > 0, DTYPE_NONE}, &ignored));
        if (!is_small && rows > 1)
            tensor_free(read_part(f, p, id, &e, (H5Part){rows - 1, 1, DTYPE_NONE}, &ignored));
    }
    element_close(&e);
}

static herr_t probe_object(hid_t root, const char *p, const H5O_info_t *object, void *file)
{
    (void)object;
    Err ignored;
    H5List names = {0};
    hid_t id = H5Oopen(root, p, H5P_DEFAULT);
    if (id < 0)
        return 0;
    H5Aiterate2(id, H5_INDEX_NAME, H5_ITER_INC, NULL, list_attr, &names);
    for (size_t i = 0; i < names.n; i++) {
        H5Attr attr;
        if (attr_of(file, p, id, names.entries[i].name, &attr, &ignored))
            h5_attr_free(&attr);
    }
    h5_list_free(&names);
    if (kind_of(id) == H5_DATASET)
        probe_values(file, p, id);
    H5Oclose(id);
    return 0;
}

static void probe(void *path, FILE *to)
{
    Err ignored;
    H5File *f = open_file(path, &ignored);
    if (f) {
        f->is_trusted = true;
        H5Ovisit(f->id, H5_INDEX_NAME, H5_ITER_INC, probe_object, f);
        h5_discard(f);
    }
    fputc('!', to);
}

static bool survives_reading(const char *path, Err *err)
{
    Child c;
    struct stat st;
    uint64_t bytes = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    bool ok = child_start(&c, probe, (void *)(uintptr_t)path, bytes, err);
    if (ok && fgetc(c.result) != '!')
        ok = fail(err, E_FORMAT, "%s is a broken HDF5 file: the library does not survive reading it", path);
    child_end(&c);
    return ok;
}

/* ---- writing ---- */

/* Opens the group that is to hold the last name of p, making what is absent; the name goes to last. */
static hid_t make_parents(H5File *f, const char *p, char last[NAME_BYTES_MAX], Err *err)
{
    char name[NAME_BYTES_MAX];
    hid_t at = H5Gopen2(f->id, "/", H5P_DEFAULT);
    const char *rest = p;
    bool has_name = next_name(&rest, last);
    while (at >= 0 && has_name && next_name(&rest, name)) {
        hid_t next = H5I_INVALID_HID;
        bool ok = step(f, p, at, last, &next, err);
        if (ok && next < 0)
            next = H5Gcreate2(at, last, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (ok && next >= 0 && !is_group(next)) {
            fail(err, E_USAGE, "%s:/%s: \"%s\" is a dataset and holds nothing", f->path, p, last);
            H5Oclose(next);
            next = H5I_INVALID_HID;
        } else if (ok && next < 0) {
            fail_h5(err, E_IO, "%s:/%s: the group \"%s\" cannot be made", f->path, p, last);
        }
        H5Oclose(at);
        at = next;
        memcpy(last, name, sizeof name);
    }
    if (at >= 0 && has_name && rest)
        return at;
    if (at >= 0) {
        fail(err, E_USAGE, "\"%s\" names nothing that can be made in an HDF5 file", p);
        H5Oclose(at);
    }
    return H5I_INVALID_HID;
}

bool h5_make_group(H5File *f, const char *p, Err *err)
{
    char last[NAME_BYTES_MAX];
    H5Kind kind;
    p = relative(p);
    if (!disk_is_good(f, err) || !h5_kind(f, p, &kind, err))
        return false;
    if (kind != H5_ABSENT)
        return kind == H5_GROUP || fail(err, E_USAGE, "%s:/%s exists and is no group", f->path, p);
    hid_t at = make_parents(f, p, last, err);
    if (at < 0)
        return false;
    hid_t group = H5Gcreate2(at, last, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = group >= 0 || fail_h5(err, E_IO, "%s:/%s: the group cannot be made", f->path, p);
    if (group >= 0)
        H5Gclose(group);
    H5Oclose(at);
    return ok && disk_is_good(f, err);
}

static hid_t layout_list(const H5Layout *layout, int rank, const size_t *shape)
{
    hid_t dcpl = H5Pcreate(H5P_DATASET_CREATE);
    bool is_empty = rank == 0;
    hsize_t chunk[TENSOR_RANK_MAX];
    for (int i = 0; i < rank; i++) {
        chunk[i] = i ? shape[i] : layout->chunk_rows < shape[0] ? layout->chunk_rows : shape[0];
        is_empty = is_empty || shape[i] == 0;
    }
    if (layout->chunk_rows && !is_empty) {
        H5Pset_chunk(dcpl, rank, chunk);
        if (layout->deflate) {
            H5Pset_shuffle(dcpl);
            H5Pset_deflate(dcpl, (unsigned)layout->deflate);
        }
    } else {
        H5Pset_alloc_time(dcpl, H5D_ALLOC_TIME_EARLY);
        H5Pset_fill_time(dcpl, H5D_FILL_TIME_NEVER);
    }
    return dcpl;
}

static bool set_attr(H5File *f, const char *p, hid_t id, const char *name, const H5Attr *attr, Err *err);

static bool make_dataset(H5File *f, const char *p, hid_t at, const char *name, DType dtype, int rank, const size_t *shape,
                         const H5Layout *layout, Err *err)
{
    hsize_t dims[TENSOR_RANK_MAX];
    for (int i = 0; i < rank; i++)
        dims[i] = shape[i];
    hid_t type = stored_type(dtype), dcpl = layout_list(layout, rank, shape);
    hid_t space = rank ? H5Screate_simple(rank, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t dataset = H5Dcreate2(at, name, type, space, H5P_DEFAULT, dcpl, H5P_DEFAULT);
    bool ok = dataset >= 0 || fail_h5(err, E_IO, "%s:/%s: the dataset cannot be made", f->path, p);
    char *spelling = (char *)(uintptr_t)dtype_name(dtype);
    if (ok && is_named(dtype))
        ok = set_attr(f, p, dataset, "dtype", &(H5Attr){.kind = H5_ATTR_STRING, .n = 1, .strings = &spelling}, err);
    if (dataset >= 0)
        H5Dclose(dataset);
    if (space >= 0)
        H5Sclose(space);
    H5Pclose(dcpl);
    H5Tclose(type);
    return ok;
}

bool h5_make(H5File *f, const char *p, DType dtype, int rank, const size_t *shape, H5Layout layout, Err *err)
{
    char last[NAME_BYTES_MAX];
    H5Kind kind;
    assert(f->part && rank <= TENSOR_RANK_MAX);
    p = relative(p);
    if (!disk_is_good(f, err) || !h5_kind(f, p, &kind, err))
        return false;
    if (kind != H5_ABSENT)
        return fail(err, E_USAGE, "%s:/%s exists already", f->path, p);
    hid_t at = make_parents(f, p, last, err);
    if (at < 0)
        return false;
    bool ok = make_dataset(f, p, at, last, dtype, rank, shape, &layout, err);
    H5Oclose(at);
    return ok && disk_is_good(f, err);
}

static bool rows_fit(H5File *f, const char *p, const H5Info *info, DType dtype, size_t first_row, const Tensor *t, Err *err)
{
    bool ok = dtype == t->dtype && info->rank == t->rank;
    for (int i = 1; ok && i < t->rank; i++)
        ok = info->shape[i] == t->shape[i];
    if (ok && t->rank)
        ok = first_row <= info->shape[0] && t->shape[0] <= info->shape[0] - first_row;
    if (ok)
        return true;
    char want[160], have[160];
    Tensor like = {.dtype = dtype, .rank = info->rank};
    memcpy(like.shape, info->shape, sizeof like.shape);
    return fail(err, E_SHAPE, "%s:/%s is %s; %s does not fit into it from row %zu on", f->path, p,
                tensor_describe(&like, want, sizeof want), tensor_describe(t, have, sizeof have), first_row);
}

bool h5_write_rows(H5File *f, const char *p, size_t first_row, const Tensor *t, Err *err)
{
    H5Info info = {0};
    p = relative(p);
    hid_t memory, id = disk_is_good(f, err) ? find_dataset(f, p, err) : H5I_INVALID_HID;
    if (id < 0)
        return false;
    Element e = element_of(f, p, id);
    bool ok = extents(f, p, id, &info, err) && rows_fit(f, p, &info, e.dtype, first_row, t, err);
    if (ok && tensor_count(t) > 0) {
        hid_t space = rows_space(id, &info, first_row, t->rank ? t->shape[0] : 1, &memory);
        if (H5Dwrite(id, e.memory, memory, space, H5P_DEFAULT, t->data) < 0)
            ok = fail_h5(err, E_IO, "%s:/%s cannot be written", f->path, p);
        H5Sclose(memory);
        H5Sclose(space);
    }
    element_close(&e);
    H5Oclose(id);
    return ok && disk_is_good(f, err);
}

bool h5_write(H5File *f, const char *p, const Tensor *t, Err *err)
{
    return h5_make(f, p, t->dtype, t->rank, t->shape, (H5Layout){0}, err) && h5_write_rows(f, p, 0, t, err);
}

bool h5_reserve(H5File *f, Err *err)
{
    struct stat st;
    if (H5Fflush(f->id, H5F_SCOPE_GLOBAL) < 0)
        return fail_h5(err, E_IO, "cannot write %s", f->part);
    if (!disk_is_good(f, err))
        return false;
    f->broken = fstat(f->fd, &st) == 0 ? posix_fallocate(f->fd, 0, st.st_size) : errno;
    if (f->broken == 0)
        return true;
    errno = f->broken;
    return fail_errno(err, "%s needs %lld bytes", f->part, (long long)st.st_size);
}

bool h5_offset(H5File *f, const char *p, uint64_t *offset, Err *err)
{
    hid_t id = find_dataset(f, p, err);
    if (id < 0)
        return false;
    haddr_t at = H5Dget_offset(id);
    H5Oclose(id);
    *offset = at;
    return at != HADDR_UNDEF || fail_h5(err, E_FORMAT, "%s:/%s has no place of its own in the file", f->path, relative(p));
}

static hid_t attr_type(H5AttrKind kind)
{
    hid_t type = H5I_INVALID_HID;
    switch (kind) {
    case H5_ATTR_INT: return H5Tcopy(H5T_STD_I64LE);
    case H5_ATTR_REAL: return H5Tcopy(H5T_IEEE_F64LE);
    case H5_ATTR_BOOL:
        type = H5Tenum_create(H5T_STD_I8LE);
        H5Tenum_insert(type, "FALSE", &(int8_t){0});
        H5Tenum_insert(type, "TRUE", &(int8_t){1});
        return type;
    case H5_ATTR_STRING:
        type = H5Tcopy(H5T_C_S1);
        H5Tset_size(type, H5T_VARIABLE);
        H5Tset_cset(type, H5T_CSET_UTF8);
        return type;
    }
    return type;
}

static herr_t write_values(hid_t id, const H5Attr *attr)
{
    if (attr->n == 0)
        return 0;
    if (attr->kind == H5_ATTR_STRING) {
        hid_t type = attr_type(H5_ATTR_STRING);
        herr_t status = H5Awrite(id, type, attr->strings);
        H5Tclose(type);
        return status;
    }
    if (attr->kind == H5_ATTR_BOOL) {
        hid_t type = attr_type(H5_ATTR_BOOL);
        int8_t *raw = calloc(attr->n, 1);
        for (size_t i = 0; raw && i < attr->n; i++)
            raw[i] = attr->ints[i] != 0;
        herr_t status = raw ? H5Awrite(id, type, raw) : -1;
        free(raw);
        H5Tclose(type);
        return status;
    }
    return attr->kind == H5_ATTR_INT ? H5Awrite(id, H5T_NATIVE_INT64, attr->ints) : H5Awrite(id, H5T_NATIVE_DOUBLE, attr->reals);
}

static bool set_attr(H5File *f, const char *p, hid_t id, const char *name, const H5Attr *attr, Err *err)
{
    assert(attr->is_list || attr->n == 1);
    if (H5Aexists(id, name) > 0)
        H5Adelete(id, name);
    hid_t type = attr_type(attr->kind);
    hid_t space = attr->is_list ? H5Screate_simple(1, &(hsize_t){attr->n}, NULL) : H5Screate(H5S_SCALAR);
    hid_t to = H5Acreate2(id, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = to >= 0 && write_values(to, attr) >= 0;
    if (!ok)
        fail_h5(err, E_IO, "%s:/%s: attribute \"%s\" cannot be written", f->path, p, name);
    if (to >= 0)
        H5Aclose(to);
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

bool h5_set_attr(H5File *f, const char *p, const char *name, const H5Attr *attr, Err *err)
{
    p = relative(p);
    if (name[0] == 0)
        return fail(err, E_USAGE, "%s:/%s: an attribute needs a name", f->path, p);
    hid_t id = disk_is_good(f, err) ? find_needed(f, p, err) : H5I_INVALID_HID;
    if (id < 0)
        return false;
    bool ok = set_attr(f, p, id, name, attr, err);
    H5Oclose(id);
    return ok && disk_is_good(f, err);
}
