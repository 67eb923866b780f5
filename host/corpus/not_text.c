#include "not_text.h"

#include <string.h>

/* A signature counts only if no line of text is likely to begin with it. UTF-32 stands before UTF-16, whose mark it begins with. */
static const struct {
    size_t offset;
    const char *bytes;
    size_t count;
    const char *format;
    const char *advice;
} signatures[] = {
    {0, "\xff\xfe\0\0", 4, "UTF-32 text", "convert it to UTF-8 with: iconv -f UTF-32 -t UTF-8"},
    {0, "\0\0\xfe\xff", 4, "UTF-32 text", "convert it to UTF-8 with: iconv -f UTF-32 -t UTF-8"},
    {0, "\xff\xfe", 2, "UTF-16 text", "convert it to UTF-8 with: iconv -f UTF-16 -t UTF-8"},
    {0, "\xfe\xff", 2, "UTF-16 text", "convert it to UTF-8 with: iconv -f UTF-16 -t UTF-8"},
    {0,
     "\xfd"
     "7zXZ\0",
     6, "an xz archive", "decompress it, or compress it with gzip or zstd"},
    {0, "\x5d\0\0\x80\0", 5, "an lzma archive", "decompress it, or compress it with gzip or zstd"},
    {4, "1AY&SY", 6, "a bzip2 archive", "decompress it, or compress it with gzip or zstd"},
    {0, "\x04\x22\x4d\x18", 4, "an lz4 archive", "decompress it, or compress it with gzip or zstd"},
    {0, "7z\xbc\xaf\x27\x1c", 6, "a 7-Zip archive", "unpack it and give the files in it"},
    {0, "PK\x03\x04", 4, "a zip archive", "unpack it and give the files in it"},
    {0, "\x1f\x8b\x08", 3, "compressed twice (gzip inside)", "decompress it once"},
    {0, "\x28\xb5\x2f\xfd", 4, "compressed twice (zstd inside)", "decompress it once"},
    {0, "\x1f\x9d", 2, "compressed with compress (.Z)", "decompress it, or compress it with gzip or zstd"},
    {257, "ustar", 5, "a tar archive", "unpack it and give the files in it"},
    {0, "PAR1\x15", 5, "a Parquet table", "convert it to JSON lines, one object a line"},
    {0, "ARROW1\0\0", 8, "an Arrow table", "convert it to JSON lines, one object a line"},
    {0, "SQLite format 3\0", 16, "an SQLite database", "convert it to JSON lines, one object a line"},
    {0, "\x89HDF\r\n\x1a\n", 8, "an HDF5 file", "convert it to JSON lines, one object a line"},
    {0, "%PDF-1.", 7, "a PDF document", "convert it to text, for example with pdftotext"},
};

enum cx_status cx_refuse_what_is_no_text(const char *path, const char *bytes, size_t count, struct cx_error *error) {
    for (size_t k = 0; k < sizeof signatures / sizeof *signatures; k++)
        if (count >= signatures[k].offset + signatures[k].count && memcmp(bytes + signatures[k].offset, signatures[k].bytes, signatures[k].count) == 0)
            return cx_fail(error, CX_ERROR_UNSUPPORTED, "%s is %s: expected UTF-8 text or JSON lines, plain or compressed with gzip or zstd; %s", path,
                           signatures[k].format, signatures[k].advice);
    return CX_OK;
}
