/* The table of options and what is made from it: defaults, precedence, values to text and back, nearest names, and configuration files of random bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "options.h"

static char *const no_environment[] = {NULL};

/* Arguments behind the program's name, ended by NULL. */
static enum cx_status read_options(char *const *environment, struct options *options, struct cx_error *error, ...) {
    char *arguments[32] = {"contexture"};
    int count = 1;
    va_list list;
    va_start(list, error);
    for (char *argument; (argument = va_arg(list, char *)) != NULL;)
        arguments[count++] = argument;
    va_end(list);
    return options_read(count, arguments, environment, options, error);
}

static void the_table_is_sound(void **state) {
    (void)state;
    for (size_t k = 0; k < option_count; k++) {
        const struct option *option = &option_table[k];
        assert_ptr_equal(option_find(option->name, strlen(option->name)), option);
        assert_true(option->offset < sizeof(struct options));
        assert_true(option->commands != 0);
        assert_int_equal(option->required & ~option->commands, 0);
        assert_true((option->type == OPTION_CHOICE) == (option->choices != NULL));
        assert_true(option->type == OPTION_FLAG || option->choices || option->value);
        assert_true(option->help[0] >= 'a' && option->help[0] <= 'z' ? option->help[strlen(option->help) - 1] != '.' : true);
        assert_true(option->fallback || option->type == OPTION_TEXT || option->type == OPTION_LIST);
        for (size_t other = 0; other < k; other++) {
            assert_string_not_equal(option->name, option_table[other].name);
            assert_true(option->letter == 0 || option->letter != option_table[other].letter);
            assert_true(option->offset != option_table[other].offset);
        }
    }
}

static void defaults_are_set(void **state) {
    (void)state;
    struct options options;
    struct cx_error error = {0};
    assert_int_equal(read_options(no_environment, &options, &error, "run", "--dump-config", NULL), CX_OK);
    assert_int_equal(options.run.shard_size, 0);
    assert_int_equal(options.run.maps, CX_ALL_MAPS);
    assert_int_equal(options.run.vector_stages, CX_ALL_MAPS & ~CX_STAGE_BIT(CX_MAP_ATTN_WEIGHT));
    assert_int_equal(options.run.window_memory, 16 << 20);
    assert_int_equal(options.run.too_long, CX_TOO_LONG_TRUNCATE);
    assert_int_equal(options.run.backend, CX_BACKEND_AUTO);
    assert_int_equal(options.run.map_type, CX_MAP_FLOAT32);
    assert_string_equal(options.run.layers, "all");
    assert_string_equal(options.run.vectors, "none");
    assert_string_equal(options.run.corpus.text_field, "text");
    assert_null(options.run.corpus.pair_field);
    assert_null(options.run.model);
    assert_false(options.run.per_head);
    options_free(&options);
}

static void every_value_gives_itself_back(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"threads", "17"},      {"window-memory", "3G"},       {"window-memory", "1000"}, {"completeness-bound", "0.00025"}, {"format", "jsonl"},
        {"too-long", "window"}, {"stages", "attn,ff_res_ln"},  {"stages", "none"},        {"vector-stages", "ff"},           {"per-head", "true"},
        {"layers", "0,3,5-7"},  {"pair-precision", "bf16"},    {"backend", "cuda"},       {"map-type", "float16"},           {"offsets", "byte"},
        {"model", "a b/ü"},     {"limit", "9000000000000000"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct options options = {0};
        struct cx_error error = {0};
        const struct option *option = option_find(cases[k].name, strlen(cases[k].name));
        const char *text = NULL;
        assert_int_equal(option_set(&options, option, cases[k].text, "test", &error), CX_OK);
        assert_int_equal(option_text(&options, option, 0, &text, &error), CX_OK);
        assert_string_equal(text, cases[k].text);
        options_free(&options);
    }
}

/* The table's own bounds, just inside and just outside. */
static void bounds_are_kept(void **state) {
    (void)state;
    for (size_t k = 0; k < option_count; k++) {
        const struct option *option = &option_table[k];
        if (option->type != OPTION_COUNT)
            continue;
        const double inside[] = {option->lowest, option->highest}, outside[] = {option->lowest - 1, option->highest + 1};
        for (size_t side = 0; side < 2; side++) {
            struct options options = {0};
            char text[32];
            (void)snprintf(text, sizeof text, "%.0f", inside[side]);
            assert_int_equal(option_set(&options, option, text, "test", NULL), CX_OK);
            (void)snprintf(text, sizeof text, "%.0f", outside[side]);
            assert_int_equal(option_set(&options, option, text, "test", NULL), CX_ERROR_USAGE);
            options_free(&options);
        }
    }
}

static void flags_go_before_variables_before_files(void **state) {
    (void)state;
    char path[] = "/tmp/contexture-options-XXXXXX";
    const int file = mkstemp(path);
    static const char text[] = "threads: 2\nshard_size: 20\nbatch_tokens: 200\ncorpus: [file.txt]\nper_head: true\njson: true\n";
    assert_true(file >= 0);
    assert_int_equal(write(file, text, sizeof text - 1), sizeof text - 1);
    assert_int_equal(close(file), 0);
    char *const environment[] = {"CONTEXTURE_THREADS=3", "CONTEXTURE_SHARD_SIZE=30", "CONTEXTURE_MODEL=", "OTHER=1", "CONTEXTURE_CORPUS=variable.txt", NULL};
    struct options options;
    struct cx_error error = {0};
    enum cx_status status =
        read_options(environment, &options, &error, "run", "--config", path, "--threads", "4", "--no-per-head", "-o", "out", "-m", "model", NULL);
    (void)unlink(path);
    assert_string_equal(error.message, "");
    assert_int_equal(status, CX_OK);
    assert_int_equal(options.run.threads, 4);
    assert_int_equal(options.run.shard_size, 30);
    assert_int_equal(options.run.batch_tokens, 200);
    assert_int_equal(options.run.compression, 1);
    assert_false(options.run.per_head);
    assert_true(options.json);
    assert_string_equal(options.run.model, "model");
    assert_int_equal(options.run.corpus.path_count, 1);
    assert_string_equal(options.run.corpus.paths[0], "variable.txt");
    options_free(&options);
}

static void lists_take_several_values(void **state) {
    (void)state;
    struct options options;
    assert_int_equal(read_options(no_environment, &options, NULL, "plan", "-c", "a", "b", "-", "--stages", "attn", "ff", "--corpus=c", "--layers", "-1", "0",
                                  "-m", "model", NULL),
                     CX_OK);
    assert_int_equal(options.run.corpus.path_count, 4);
    assert_string_equal(options.run.corpus.paths[2], "-");
    assert_string_equal(options.run.corpus.paths[3], "c");
    assert_int_equal(options.run.maps, CX_STAGE_BIT(CX_STAGE_ATTN) | CX_STAGE_BIT(CX_STAGE_FF));
    assert_string_equal(options.run.layers, "-1,0");
    options_free(&options);
}

static const char *name_of(size_t index, char *buffer, size_t size) {
    static const char *const names[] = {"threads", "stages", "shard-size", "layers"};
    (void)buffer;
    (void)size;
    return names[index];
}

static void the_nearest_name_is_found(void **state) {
    (void)state;
    static const struct {
        const char *word, *suggestion;
    } cases[] = {
        {"threads", "; did you mean --threads?"},
        {"treads", "; did you mean --threads?"},
        {"thraeds", "; did you mean --threads?"},
        {"stage", "; did you mean --stages?"},
        {"layer", "; did you mean --layers?"},
        {"shard", "; did you mean --shard-size?"},
        {"shardsize", "; did you mean --shard-size?"},
        {"xyzzy", ""},
        {"", ""},
        {"a-very-long-word-that-is-longer-than-any-option-could-ever-be", ""},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[64];
        suggest_nearest(cases[k].word, name_of, 4, "--", text, sizeof text);
        assert_string_equal(text, cases[k].suggestion);
    }
}

/* Files of random pieces of YAML: options, or one sentence; never a crash. */
static void random_files_do_no_harm(void **state) {
    (void)state;
    static const char *const pieces[] = {"threads", ": ",  "\n", "- ", "[",  "]", "{", "}",      "\"",    "'",     "4",    "corpus", "stages", "attn",  ",",
                                         "#",       "&a ", "*a", "\t", "  ", "|", ">", "!!int ", "---\n", "...\n", "\xff", "\\",     "?",      "model", "~"};
    char path[] = "/tmp/contexture-options-XXXXXX";
    const int file = mkstemp(path);
    unsigned seed = 7;
    int good = 0;
    assert_true(file >= 0);
    for (int round = 0; round < 3000; round++) {
        char text[512] = "";
        for (int k = rand_r(&seed) % 20; k >= 0; k--)
            strcat(text, pieces[(size_t)rand_r(&seed) % (sizeof pieces / sizeof *pieces)]);
        assert_int_equal(ftruncate(file, 0), 0);
        assert_int_equal(pwrite(file, text, strlen(text), 0), strlen(text));
        struct options options;
        struct cx_error error = {0};
        enum cx_status status = read_options(no_environment, &options, &error, "run", "--dump-config", "--config", path, NULL);
        assert_true(status == CX_OK ? error.message[0] == '\0' : status == CX_ERROR_USAGE && error.message[0] != '\0');
        good += status == CX_OK;
        options_free(&options);
    }
    assert_int_equal(close(file), 0);
    (void)unlink(path);
    assert_in_range(good, 1, 2999);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(defaults_are_set),
        cmocka_unit_test(every_value_gives_itself_back),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(flags_go_before_variables_before_files),
        cmocka_unit_test(lists_take_several_values),
        cmocka_unit_test(the_nearest_name_is_found),
        cmocka_unit_test(random_files_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
