#include "output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/json.h"
#include "contexture/tokenizer.h"

static enum cx_status check(int result, struct cx_error *error) {
    return result < 0 || ferror(stdout) ? cx_fail_errno(error, "write", "standard output") : CX_OK;
}

enum cx_status output_print(struct cx_error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int result = vprintf(format, arguments);
    va_end(arguments);
    return check(result, error);
}

enum cx_status output_bytes(const char *bytes, size_t length, struct cx_error *error) {
    return check(fwrite(bytes, 1, length, stdout) == length ? 0 : -1, error);
}

enum cx_status output_flush(struct cx_error *error) {
    return check(fflush(stdout) == 0 ? 0 : -1, error);
}

/* The second byte of U+0080 to U+009F behind 0xC2. */
static bool is_c1(const char *text) {
    return (unsigned char)text[0] == 0xC2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xA0;
}

void hide_control_characters(char *text) {
    const size_t length = strlen(text);
    char *valid = NULL, *end = text;
    size_t valid_length, replaced;
    const bool known = cx_utf8_repair(text, length, &valid, &valid_length, &replaced, NULL) == CX_OK;
    for (const char *from = valid ? valid : text; *from; from++) {
        const unsigned char byte = (unsigned char)*from;
        const bool c1 = is_c1(from), replacement = valid && strncmp(from, "\xEF\xBF\xBD", 3) == 0;
        *end++ = byte < ' ' || byte == 127 || c1 || replacement || (byte >= 0x80 && !known) ? '?' : (char)byte;
        from += c1 ? 1 : replacement ? 2 : 0;
    }
    *end = '\0';
    free(valid);
}

void print_sentence(const char *format, ...) {
    char text[8192];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    hide_control_characters(text);
    (void)fprintf(stderr, "contexture: %s\n", text);
}

void write_grouped(uint64_t number, char *text, size_t size) {
    char digits[24], grouped[32];
    const int length = snprintf(digits, sizeof digits, "%" PRIu64, number);
    size_t place = 0;
    for (int k = 0; k < length; k++) {
        if (k > 0 && (length - k) % 3 == 0)
            grouped[place++] = ',';
        grouped[place++] = digits[k];
    }
    grouped[place] = '\0';
    (void)snprintf(text, size, "%s", grouped);
}

void write_counted(uint64_t count, const char *noun, char *text, size_t size) {
    char number[32];
    write_grouped(count, number, sizeof number);
    (void)snprintf(text, size, "%s %s%s", number, noun, count == 1 ? "" : "s");
}

void write_memory(uint64_t bytes, char *text, size_t size) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; unit < 5 && value >= 1024; unit++)
        value /= 1024;
    (void)snprintf(text, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

void write_duration(double seconds, char *text, size_t size) {
    const double whole = seconds + 0.5;
    if (seconds < 10)
        (void)snprintf(text, size, "%.1f s", seconds);
    else if (whole < 60)
        (void)snprintf(text, size, "%.0f s", seconds);
    else if (whole < 3600)
        (void)snprintf(text, size, "%d min %02d s", (int)(whole / 60), (int)whole % 60);
    else if (whole < 100 * 3600.0)
        (void)snprintf(text, size, "%d h %02d min", (int)(whole / 3600), (int)(whole / 60) % 60);
    else
        (void)snprintf(text, size, "%.1f days", seconds / 86400);
}

char *json_text(const char *text, size_t length) {
    json_t *value = cx_utf8_json(text, length);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    return quoted;
}
