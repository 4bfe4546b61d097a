/* A scratch folder with checkpoint files for tests: text files and safetensors files made from a
 * list of tensors. */
#ifndef TESTS_FILE_FOLDER_H
#define TESTS_FILE_FOLDER_H
#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct TestTensor {
    const char *name, *dtype, *shape; /* shape as JSON: "[2,3]" */
    const void *data;                 /* NULL: zeros */
    size_t bytes;
} TestTensor;

static inline void folder_path(char *out, size_t n, const char *folder, const char *name)
{
    assert(snprintf(out, n, "%s/%s", folder, name) < (int)n);
}

/* Makes an empty folder; its path goes into out[64]. */
static inline void folder_new(char *out)
{
    strcpy(out, "/tmp/nibble-test-XXXXXX");
    assert(mkdtemp(out));
}

static inline void folder_write(const char *folder, const char *name, const void *bytes, size_t n)
{
    char path[512];
    folder_path(path, sizeof path, folder, name);
    FILE *f = fopen(path, "wb");
    assert(f);
    assert(fwrite(bytes, 1, n, f) == n);
    assert(fclose(f) == 0);
}

static inline void folder_text(const char *folder, const char *name, const char *text)
{
    folder_write(folder, name, text, strlen(text));
}

/* The length field and the header of a file; *n becomes the number of bytes. Freed by the caller.
 */
static inline unsigned char *folder_frame(const char *header, size_t data_n, size_t *n)
{
    size_t header_n = strlen(header);
    unsigned char *bytes = calloc(1, 8 + header_n + data_n);
    assert(bytes);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(header_n >> 8 * i);
    memcpy(bytes + 8, header, header_n);
    *n = 8 + header_n + data_n;
    return bytes;
}

/* A safetensors file that holds the tensors in the given order. */
static inline void folder_tensors(const char *folder, const char *name, const TestTensor *t,
                                  size_t tensors_n)
{
    size_t data_n = 0, header_n = 3, n;
    for (size_t i = 0; i < tensors_n; i++) {
        data_n += t[i].bytes;
        header_n += strlen(t[i].name) + strlen(t[i].shape) + 120;
    }
    char *header = malloc(header_n), *at = header;
    assert(header);
    *at++ = '{';
    size_t offset = 0;
    for (size_t i = 0; i < tensors_n; i++) {
        at += sprintf(at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                      i ? "," : "", t[i].name, t[i].dtype, t[i].shape, offset, offset + t[i].bytes);
        offset += t[i].bytes;
    }
    strcpy(at, "}");
    unsigned char *bytes = folder_frame(header, data_n, &n);
    unsigned char *data = bytes + n - data_n;
    for (size_t i = 0; i < tensors_n; i++) {
        if (t[i].data)
            memcpy(data, t[i].data, t[i].bytes);
        data += t[i].bytes;
    }
    folder_write(folder, name, bytes, n);
    free(bytes);
    free(header);
}

/* Deletes the folder and the plain files in it. */
static inline void folder_free(const char *folder)
{
    char command[128];
    assert(strncmp(folder, "/tmp/nibble-test-", 17) == 0);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert(system(command) == 0);
}

/* Open descriptors and mapped files of this process: equal before and after, or something leaks. */
static inline size_t folder_handles(void)
{
    size_t n = 0;
    char line[4352];
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) != -1;
    FILE *f = fopen("/proc/self/maps", "r");
    assert(f);
    while (fgets(line, sizeof line, f))
        n += strstr(line, "/tmp/nibble-test-") != NULL;
    fclose(f);
    return n;
}

#endif
