/* safetensors files: what a header may say, what it may not, and that every refusal says what was
 * expected and found. */
#include "tests/test.h"

#include "core/file/safetensors.h"
#include "tests/file/folder.h"

#define T(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

typedef struct BadHeader {
    const char *what, *header;
    size_t data_n;
    ErrKind kind;
    const char *words; /* in the message */
} BadHeader;

static const BadHeader bad_headers[] = {
    {"empty header", "", 0, E_FORMAT, "byte 8: expected '{' of the header, found the end"},
    {"an array", "[]", 0, E_FORMAT, "byte 8: expected '{' of the header, found '['"},
    {"white space in front", " {}", 0, E_FORMAT, "byte 8: expected '{', found white space"},
    {"cut short", "{\"a\":", 0, E_FORMAT, "byte 13: expected '{' of a tensor, found the end"},
    {"cut inside a name", "{\"abc", 0, E_FORMAT,
     "byte 13: expected the rest of a string, found the end"},
    {"text behind", "{}x", 0, E_FORMAT,
     "byte 10: expected nothing but white space behind the value, found 'x'"},
    {"a comma too many", "{" T("a", "U8", "[1]", "[0,1]") ",}", 1, E_FORMAT,
     "expected the name of a tensor, found '}'"},
    {"no comma", "{" T("a", "U8", "[1]", "[0,1]") T("b", "U8", "[1]", "[1,2]") "}", 2, E_FORMAT,
     "expected ',' or '}', found '\"'"},
    {"name is a number", "{1:2}", 0, E_FORMAT, "expected the name of a tensor, found '1'"},
    {"tensor is a list", "{\"a\":[]}", 0, E_FORMAT, "tensor a: "},
    {"tensor is empty", "{\"a\":{}}", 0, E_FORMAT,
     "expected one of the keys dtype, shape, data_offsets"},
    {"unknown key", "{\"a\":{\"dtyp\":\"U8\"}}", 0, E_FORMAT, "found \"dtyp\""},
    {"key twice", "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\"}}", 0, E_FORMAT,
     "found \"dtype\" again"},
    {"no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, E_FORMAT,
     "tensor a: the key dtype is missing"},
    {"no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, E_FORMAT,
     "the key shape is missing"},
    {"no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, E_FORMAT,
     "the key data_offsets is missing"},
    {"unknown dtype", "{" T("a", "F4", "[2]", "[0,1]") "}", 1, E_UNSUPPORTED,
     "tensor a: dtype \"F4\""},
    {"lower-case dtype", "{" T("a", "bf16", "[2]", "[0,4]") "}", 4, E_UNSUPPORTED,
     "dtype \"bf16\""},
    {"dtype NONE", "{" T("a", "NONE", "[2]", "[0,4]") "}", 4, E_UNSUPPORTED, "dtype \"NONE\""},
    {"dtype is a number", "{\"a\":{\"dtype\":7}}", 0, E_FORMAT, "expected a dtype, found '7'"},
    {"dtype without end", "{\"a\":{\"dtype\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}", 0,
     E_FORMAT, "32 or more bytes"},
    {"shape is a number", "{" T("a", "U8", "1", "[0,1]") "}", 1, E_FORMAT,
     "expected '[' of a shape, found '1'"},
    {"negative extent", "{" T("a", "U8", "[-1]", "[0,1]") "}", 1, E_FORMAT,
     "expected an extent of the shape, found '-'"},
    {"fractional extent", "{" T("a", "U8", "[1.0]", "[0,1]") "}", 1, E_FORMAT,
     "expected a whole number, found '.'"},
    {"exponent", "{" T("a", "U8", "[1e0]", "[0,1]") "}", 1, E_FORMAT,
     "expected a whole number, found 'e'"},
    {"leading zero", "{" T("a", "U8", "[01]", "[0,1]") "}", 1, E_FORMAT, "without leading zeros"},
    {"extent beyond 64 bits", "{" T("a", "U8", "[18446744073709551616]", "[0,1]") "}", 1, E_FORMAT,
     "below 2^64"},
    {"nine dimensions", "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, E_UNSUPPORTED,
     "more than 8 dimensions"},
    {"shape overflows", "{" T("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, E_FORMAT,
     "overflows 64 bits at dimension 1"},
    {"shape × type overflows", "{" T("a", "F32", "[4611686018427387904]", "[0,0]") "}", 0, E_FORMAT,
     "overflows 64 bits"},
    {"overflow hidden by a zero", "{" T("a", "U8", "[4294967296,4294967296,0]", "[0,0]") "}", 0,
     E_FORMAT, "overflows 64 bits"},
    {"too few bytes", "{" T("a", "BF16", "[2,3]", "[0,11]") "}", 12, E_FORMAT,
     "dtype BF16 need 12 bytes, data_offsets hold 11"},
    {"too many bytes", "{" T("a", "U8", "[]", "[0,2]") "}", 2, E_FORMAT,
     "need 1 bytes, data_offsets hold 2"},
    {"one offset", "{" T("a", "U8", "[1]", "[1]") "}", 1, E_FORMAT,
     "expected ',' between two data_offsets, found ']'"},
    {"three offsets", "{" T("a", "U8", "[1]", "[0,1,2]") "}", 1, E_FORMAT,
     "expected ']' behind two data_offsets, found ','"},
    {"offsets reversed", "{" T("a", "U8", "[1]", "[1,0]") "}", 1, E_FORMAT,
     "[1, 0] end before they begin"},
    {"offsets wrap round", "{" T("a", "U8", "[2]", "[18446744073709551615,1]") "}", 2, E_FORMAT,
     "end before they begin"},
    {"data behind the file", "{" T("a", "U8", "[4]", "[0,4]") "}", 3, E_FORMAT,
     "end at 4, the file has 3 bytes of data: truncated by at least 1"},
    {"far behind the file",
     "{" T("a", "U8", "[1]", "[18446744073709551614,18446744073709551615]") "}", 1, E_FORMAT,
     "truncated"},
    {"same name twice", "{" T("a", "U8", "[1]", "[0,1]") "," T("a", "U8", "[1]", "[1,2]") "}", 2,
     E_FORMAT, "tensor a stands in the header twice"},
    {"same name, escaped",
     "{" T("a", "U8", "[1]", "[0,1]") "," T("\\u0061", "U8", "[1]", "[1,2]") "}", 2, E_FORMAT,
     "tensor a stands in the header twice"},
    {"overlap by one byte", "{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[4]", "[3,7]") "}",
     7, E_FORMAT, "tensors a and b overlap"},
    {"the same bytes", "{" T("a", "U8", "[4]", "[0,4]") "," T("b", "U8", "[4]", "[0,4]") "}", 4,
     E_FORMAT, "overlap"},
    {"one inside the other, unsorted",
     "{" T("b", "U8", "[1]", "[5,6]") "," T("c", "U8", "[2]", "[2,4]") "," T("a", "U8", "[6]",
                                                                             "[0,6]") "}",
     6, E_FORMAT, "tensors a and c overlap"},
    {"U+0000 in a name", "{" T("a\\u0000", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT,
     "without U+0000"},
    {"control character in a name", "{" T("a\n", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT,
     "found byte 0x0a"},
    {"half a surrogate", "{" T("\\ud83d", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT,
     "second half of a surrogate pair"},
    {"wrong surrogate", "{" T("\\ud83d\\u0041", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT,
     "a low surrogate"},
    {"lone low surrogate", "{" T("\\udc00", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT,
     "lone low surrogate"},
    {"bad escape", "{" T("\\x41", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "expected an escape"},
    {"bad hexadecimal", "{" T("\\u00g0", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT,
     "four hexadecimal digits"},
    {"bare UTF-8 continuation", "{" T("\x80", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT,
     "expected UTF-8, found byte 0x80"},
    {"overlong UTF-8", "{" T("\xc0\xaf", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "expected UTF-8"},
    {"UTF-8 surrogate", "{" T("\xed\xa0\x80", "U8", "[1]", "[0,1]") "}", 1, E_FORMAT,
     "expected UTF-8"},
    {"metadata is a list", "{\"__metadata__\":[]}", 0, E_FORMAT, "expected '{' of __metadata__"},
    {"metadata of numbers", "{\"__metadata__\":{\"a\":1}}", 0, E_FORMAT,
     "expected a string as value of __metadata__, found '1'"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, E_FORMAT,
     "__metadata__ stands in the header twice"},
};

static Safetensors *parse(const char *header, size_t data_n, unsigned char **bytes, Err *err)
{
    size_t n;
    *bytes = folder_frame(header, data_n, &n);
    return safetensors_parse("x.safetensors", *bytes, n, err);
}

static void bad_headers_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        const BadHeader *b = &bad_headers[i];
        Err err = {0};
        unsigned char *bytes;
        Safetensors *f = parse(b->header, b->data_n, &bytes, &err);
        if (f || err.kind != b->kind || !strstr(err.text, b->words)
            || !strstr(err.text, "x.safetensors"))
            fail_msg("%s: want %s with \"%s\", got %s: %s", b->what, err_name(b->kind), b->words,
                     f ? "a file" : err_name(err.kind), f ? "" : err.text);
        free(bytes);
    }
}

/* Lengths that do not fit the file, as raw bytes. */
static void bad_lengths_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *words;
    } rows[] = {
        {"", 0, "found a file of 0 bytes"},
        {"\x02\0\0\0\0\0\0", 7, "expected 8 bytes of header length, found a file of 7 bytes"},
        {"\x03\0\0\0\0\0\0\0{}", 10, "says 3 bytes, behind it the file has 2"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff{}", 10,
         "says 18446744073709551615 bytes, behind it the file has 2"},
        {"\xf8\xff\xff\xff\xff\xff\xff\xff{}", 10, "behind it the file has 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Err err = {0};
        assert_null(
            safetensors_parse("x.safetensors", (const uint8_t *)rows[i].bytes, rows[i].n, &err));
        assert_int_equal(err.kind, E_FORMAT);
        if (!strstr(err.text, rows[i].words))
            fail_msg("row %zu: want \"%s\", got %s", i, rows[i].words, err.text);
    }
    size_t n = 8 + (size_t)SAFETENSORS_HEADER_MAX + 1;
    unsigned char *big = calloc(1, n);
    assert_non_null(big);
    for (int i = 0; i < 8; i++)
        big[i] = (unsigned char)((n - 8) >> 8 * i);
    Err err = {0};
    assert_null(safetensors_parse("x.safetensors", big, n, &err));
    assert_non_null(strstr(err.text, "the format allows 100000000"));
    free(big);
}

static void good_header_is_read(void **state)
{
    (void)state;
    /* Order, holes, bytes behind, an empty tensor, escapes and white space are all fine. */
    static const char header[] =
        "{ \"__metadata__\" : {\"format\":\"pt\", \"k\":\"\\u00e9\"},\n"
        "\"z\": {\"data_offsets\":[16,20], \"shape\":[ ], \"dtype\":\"F32\"}," T(
            "m\\u00e9\\ud83d\\ude00\\n\\/", "BF16", "[2,1,3]",
            "[4,16]") "," T("", "I64", "[3,0]", "[2,2]") "," T("b", "BOOL", "[1]",
                                                               "[3,4]") "}   \n";
    Err err = {0};
    unsigned char *bytes;
    Safetensors *f = parse(header, 32, &bytes, &err);
    if (!f)
        fail_msg("%s", err.text);
    uint64_t data = 8 + sizeof header - 1, header_n;
    assert_int_equal(safetensors_count(f), 4);
    assert_int_equal(safetensors_file_bytes(f), data + 32);
    assert_ptr_equal(safetensors_header(f, &header_n), bytes + 8);
    assert_int_equal(header_n, sizeof header - 1);
    assert_string_equal(safetensors_path(f), "x.safetensors");
    const SafetensorsEntry *e = safetensors_find(f, "m\xc3\xa9\xf0\x9f\x98\x80\n/");
    assert_non_null(e);
    assert_ptr_equal(e, safetensors_entry(f, 1));
    assert_int_equal(e->dtype, DTYPE_BF16);
    assert_int_equal(e->rank, 3);
    assert_int_equal(e->shape[0], 2);
    assert_int_equal(e->shape[1], 1);
    assert_int_equal(e->shape[2], 3);
    assert_int_equal(e->offset, data + 4);
    assert_int_equal(e->bytes, 12);
    assert_ptr_equal(safetensors_data(f, e), bytes + data + 4);
    e = safetensors_find(f, "z");
    assert_non_null(e);
    assert_int_equal(e->rank, 0);
    assert_int_equal(e->bytes, 4);
    e = safetensors_find(f, "");
    assert_non_null(e);
    assert_int_equal(e->bytes, 0);
    assert_null(safetensors_find(f, "__metadata__"));
    assert_null(safetensors_find(f, "zz"));
    safetensors_close(f);
    free(bytes);
}

/* Many names: every one is found, no other, and in header order. */
static void many_names_are_found(void **state)
{
    (void)state;
    enum { N = 5000 };
    char *header = malloc(N * 80 + 8), *at = header, name[32];
    assert_non_null(header);
    *at++ = '{';
    for (int i = 0; i < N; i++)
        at += sprintf(at, "%s\"t.%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                      i ? "," : "", i * 7, i, i + 1);
    strcpy(at, "}");
    Err err = {0};
    unsigned char *bytes;
    Safetensors *f = parse(header, N, &bytes, &err);
    assert_non_null(f);
    for (int i = 0; i < 7 * N; i++) {
        snprintf(name, sizeof name, "t.%d", i);
        const SafetensorsEntry *e = safetensors_find(f, name);
        if (i % 7 == 0)
            assert_ptr_equal(e, safetensors_entry(f, (size_t)i / 7));
        else
            assert_null(e);
    }
    safetensors_close(f);
    free(bytes);
    free(header);
}

/* Cutting a good file at any length, or overwriting any byte of its header, never crashes; cutting
 * is always refused. */
static void every_cut_is_refused(void **state)
{
    (void)state;
    static const char header[] =
        "{" T("a", "BF16", "[2]", "[0,4]") "," T("b", "U8", "[3]", "[4,7]") "}";
    size_t n;
    unsigned char *bytes = folder_frame(header, 7, &n);
    for (size_t cut = 0; cut < n; cut++) {
        Err err = {0};
        unsigned char *part = malloc(cut + 1); /* exact size: a read behind it is seen by ASAN */
        assert_non_null(part);
        unsigned char *exact = realloc(part, cut ? cut : 1);
        memcpy(exact, bytes, cut);
        assert_null(safetensors_parse("x", exact, cut, &err));
        assert_int_equal(err.kind, E_FORMAT);
        free(exact);
    }
    for (size_t i = 0; i < n - 7; i++)
        for (int v = 0; v < 256; v++) {
            unsigned char old = bytes[i];
            Err err = {0};
            bytes[i] = (unsigned char)v;
            safetensors_close(safetensors_parse("x", bytes, n, &err));
            bytes[i] = old;
        }
    free(bytes);
}

static void expect_bad(const char *folder, const char *name, ErrKind kind, const char *words)
{
    char path[512];
    Err err = {0};
    folder_path(path, sizeof path, folder, name);
    Safetensors *f = safetensors_open(path, &err);
    if (f || err.kind != kind || !strstr(err.text, words) || !strstr(err.text, path))
        fail_msg("%s: want %s with \"%s\", got %s: %s", name, err_name(kind), words,
                 f ? "a file" : err_name(err.kind), err.text);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    char folder[64], path[512];
    folder_new(folder);
    size_t handles = folder_handles();
    expect_bad(folder, "absent.safetensors", E_IO, "No such file");
    folder_text(folder, "empty.safetensors", "");
    expect_bad(folder, "empty.safetensors", E_FORMAT, "found an empty file");
    folder_path(path, sizeof path, folder, "folder.safetensors");
    assert_int_equal(mkdir(path, 0700), 0);
    expect_bad(folder, "folder.safetensors", E_IO, "expected a file, found a folder");
    folder_path(path, sizeof path, folder, "pipe.safetensors");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_bad(folder, "pipe.safetensors", E_IO, "found a device or pipe");
    folder_text(folder, "text.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    expect_bad(folder, "text.safetensors", E_FORMAT, "the header length says");
    folder_text(folder, "secret.safetensors", "x");
    folder_path(path, sizeof path, folder, "secret.safetensors");
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(folder, 0711), 0);
    bool is_root = geteuid() == 0;
    if (is_root)
        assert_int_equal(seteuid(65534), 0);
    expect_bad(folder, "secret.safetensors", E_IO, "Permission denied");
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(folder_handles(), handles);
    folder_free(folder);
}

static void mapping_ends_with_close(void **state)
{
    (void)state;
    char folder[64], path[512];
    folder_new(folder);
    size_t handles = folder_handles();
    folder_tensors(folder, "a.safetensors", &(TestTensor){"x", "U8", "[3]", "abc", 3}, 1);
    folder_path(path, sizeof path, folder, "a.safetensors");
    Err err = {0};
    Safetensors *f = safetensors_open(path, &err);
    assert_non_null(f);
    assert_int_equal(folder_handles(), handles + 1); /* the mapping; the descriptor is closed */
    assert_memory_equal(safetensors_data(f, safetensors_find(f, "x")), "abc", 3);
    safetensors_close(f);
    safetensors_close(NULL);
    assert_int_equal(folder_handles(), handles);
    folder_free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_headers_are_refused), cmocka_unit_test(bad_lengths_are_refused),
        cmocka_unit_test(good_header_is_read),     cmocka_unit_test(many_names_are_found),
        cmocka_unit_test(every_cut_is_refused),    cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(mapping_ends_with_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
