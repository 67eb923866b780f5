/* What reaches a terminal: lines on standard error hold no control character, whatever bytes a corpus has put into a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "output.h"
#include "progress.h"

static void expect_hidden(const char *text, const char *expected) {
    char hidden[256];
    (void)snprintf(hidden, sizeof hidden, "%s", text);
    hide_control_characters(hidden);
    assert_string_equal(hidden, expected);
}

static void control_characters_are_hidden_and_nothing_else(void **state) {
    (void)state;
    expect_hidden("", "");
    expect_hidden("na\xC3\xAFve \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\xA6\x87 \xC2\xA0 ~", "na\xC3\xAFve \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\xA6\x87 \xC2\xA0 ~");
    expect_hidden("a\033[31mb\a\r\n\tc\177", "a?[31mb????c?");
    expect_hidden("a\xC2\x9B"
                  "31m\xC2\x80\xC2\x9F\xC2\xA0",
                  "a?31m??\xC2\xA0"); /* C1: CSI as one character */
    expect_hidden("\x9B"
                  "31m \xFF\xC2 \xC3\xA9",
                  "?31m ?? \xC3\xA9"); /* no UTF-8 */
    expect_hidden("cut \xE4\xB8", "cut ?");
    expect_hidden("cut \xC2", "cut ?");
    expect_hidden("\xEF\xBF\xBD", "\xEF\xBF\xBD");
}

/* Everything written to standard error by work(), as text to free(). */
static char *written_by(void (*work)(const char *), const char *argument, size_t *length) {
    FILE *file = tmpfile();
    assert_non_null(file);
    (void)fflush(stderr);
    const int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    work(argument);
    (void)fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    *length = (size_t)lseek(fileno(file), 0, SEEK_END);
    char *text = calloc(*length + 1, 1);
    assert_non_null(text);
    assert_int_equal(pread(fileno(file), text, *length, 0), *length);
    (void)fclose(file);
    return text;
}

static void say_all(const char *sentence) {
    struct progress progress;
    progress_begin(&progress, false, true);
    const struct cx_run_observer observer = progress_observer(&progress);
    const struct cx_skipped_document own = {.source = "a.txt", .reason = sentence, .line = 3}, other = {.source = sentence, .reason = sentence, .line = 3};
    observer.notice(observer.context, sentence);
    observer.skipped(observer.context, &own);
    observer.skipped(observer.context, &other);
    print_sentence("%s", sentence);
    progress_end(&progress);
}

static void expect_plain_lines(const char *sentence) {
    size_t length, lines = 0;
    char *text = written_by(say_all, sentence, &length);
    assert_int_equal(strlen(text), length);
    for (size_t k = 0; k < length; k++) {
        const unsigned char byte = (unsigned char)text[k], next = (unsigned char)text[k + 1];
        lines += byte == '\n';
        if ((byte < ' ' && byte != '\n') || byte == 127 || (byte == 0xC2 && next >= 0x80 && next < 0xA0))
            fail_msg("byte %zu of standard error is %#x, followed by %#x", k, byte, next);
    }
    assert_int_equal(lines, 4);
    free(text);
}

static void no_corpus_reaches_the_terminal_as_commands(void **state) {
    (void)state;
    char sentence[3000];
    uint32_t random = 1;
    for (int round = 0; round < 200; round++) {
        const size_t length = 1 + (size_t)round * 14;
        for (size_t k = 0; k < length; k++) {
            random = random * 1664525 + 1013904223;
            sentence[k] = (char)(1 + (random >> 16) % 255);
        }
        sentence[length] = '\0';
        expect_plain_lines(sentence);
    }
    memset(sentence, 033, sizeof sentence - 1);
    sentence[sizeof sentence - 1] = '\0';
    expect_plain_lines(sentence);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_characters_are_hidden_and_nothing_else),
        cmocka_unit_test(no_corpus_reaches_the_terminal_as_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
