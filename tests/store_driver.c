/*
 * A small run in the folder DIRECTORY, for the tests that look at its files or hurt it while it is made.
 *
 *     store_driver write DIRECTORY [--shards N] [--sequences N] [--threads N] [--half] [--bits N] [--level N] [--plain]
 *     store_driver serve - [options as above]                   runs, one after the other, each in a process forked for it: see serve()
 *     store_driver verify DIRECTORY
 *     store_driver samples FILE [--shards N] [--sequences N]    what `write` is given: lines "name type count" with the bytes behind each
 *
 * Exit code and sentence are those of the program.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_samples.h"

static void print_complaint(void *context, const char *sentence) {
    (void)context;
    printf("%s\n", sentence);
}

static enum cx_status verify(const char *directory, struct cx_error *error) {
    struct cx_verify_report report;
    enum cx_status status = cx_store_verify(directory, 1e-5, print_complaint, NULL, &report, error);
    printf("shards %llu sequences %llu tokens %llu damaged %llu complete %d\n", (unsigned long long)report.shards, (unsigned long long)report.sequences,
           (unsigned long long)report.tokens, (unsigned long long)report.damaged, report.complete);
    return status;
}

static void put(FILE *file, const char *name, const char *type, const void *data, size_t count, size_t size) {
    fprintf(file, "%s %s %zu\n", name, type, count);
    if (count > 0 && fwrite(data, size, count, file) != count)
        abort();
    fputc('\n', file);
}

static void put_floats(FILE *file, const char *group, unsigned index, const float *values, size_t count) {
    static const char *const names[] = {"attn", "attn_res", "attn_res_ln", "ff", "ff_res", "ff_res_ln", "attn_weight"};
    char name[64];
    snprintf(name, sizeof name, "%s/%s", group, names[index]);
    if (values)
        put(file, name, "<f4", values, count, 4);
}

static void put_sample(FILE *file, const struct cx_store_options *options, const struct sample *sample) {
    const struct cx_sequence *sequence = &sample->sequence;
    const struct cx_sequence_result *result = &sample->result;
    const size_t n = sequence->tokens, stored = options->stored_layer_count, width = options->hidden_size;
    const int64_t numbers[] = {(int64_t)sequence->document, sequence->source, (int64_t)sequence->line, sequence->window, sequence->flags, (int64_t)n};
    put(file, "sequence", "<i8", numbers, 6, 8);
    put(file, "/seq/id", "|u1", sequence->id, strlen(sequence->id), 1);
    put(file, "/text/bytes", "|u1", sequence->text, sequence->text_length, 1);
    put(file, "/text/pair_bytes", "|u1", sequence->pair, sequence->pair_length, 1);
    put(file, "/tok/input_id", "<i4", sequence->input_ids, n, 4);
    put(file, "/tok/token_type_id", "<i4", sequence->token_type_ids, n, 4);
    put(file, "/tok/char_start", "<i4", sequence->char_start, n, 4);
    put(file, "/tok/char_end", "<i4", sequence->char_end, n, 4);
    put(file, "/tok/special", "|u1", sequence->special, n, 1);
    put(file, "/tok/word_id", "<i4", sequence->word_ids, n, 4);
    put(file, "/tok/text_index", "|i1", sequence->text_index, n, 1);
    for (unsigned map = 0; map < CX_MAPS; map++)
        put_floats(file, "/maps", map, result->maps[map], stored * n * n);
    for (unsigned stage = 0; stage < CX_STAGES; stage++) {
        put_floats(file, "/tokstat/mixing_ratio", stage, result->mixing_ratio[stage], n * stored);
        put_floats(file, "/tokstat/bias_norm", stage, result->bias_norm[stage], n * stored);
        put_floats(file, "/vectors", stage, result->vectors[stage], options->vector_layer_count * n * n * width);
    }
    put_floats(file, "/maps_head", CX_MAP_ATTN_WEIGHT, result->head_attention_weight, stored * options->heads * n * n);
    put_floats(file, "/maps_head", CX_STAGE_ATTN, result->head_attention_norm, stored * options->heads * n * n);
    if (result->hidden_states)
        put(file, "/vectors/hidden_state", "<f4", result->hidden_states, (options->layers + 1) * n * width, 4);
    put(file, "/seq/completeness_error", "<f4", result->completeness_error, stored, 4);
}

static void write_samples(const char *path, const struct cx_store_options *options, uint64_t count) {
    FILE *file = fopen(path, "wb");
    if (!file)
        abort();
    for (uint64_t number = 0; number < count; number++) {
        struct sample sample = sample_make(options, number, sample_tokens(number));
        put_sample(file, options, &sample);
        sample_free(&sample);
    }
    if (fclose(file) != 0)
        abort();
}

static int end(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK)
        fprintf(stderr, "%s: %s\n", cx_status_name(status), error->message);
    return cx_status_exit_code(status);
}

/* What a forked process does: DIRECTORY, a file for its standard error, the number of shards, then NAME=VALUE for its environment. */
static int run_line(struct cx_store_options options, uint64_t sequences, char *line) {
    struct cx_error error = {0};
    char *rest = NULL;
    options.directory = strtok_r(line, " \n", &rest);
    const char *messages = strtok_r(NULL, " \n", &rest), *shards = strtok_r(NULL, " \n", &rest);
    if (!options.directory || !messages || !shards || !freopen(messages, "w", stderr))
        return 2;
    for (char *word; (word = strtok_r(NULL, " \n", &rest)) != NULL;)
        if (putenv(word) != 0)
            return 2;
    return end(sample_write_run(&options, strtoull(shards, NULL, 10), sequences, &error), &error);
}

/* One run a line of standard input; answers with the status that waitpid() gave. Hundreds of runs cost no more than their own work. */
static int serve(const struct cx_store_options *options, uint64_t sequences) {
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        int status = 0;
        pid_t child = fork();
        if (child == 0)
            exit(run_line(*options, sequences, line));
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 1;
        printf("%d\n", status);
        (void)fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    struct cx_error error = {0};
    enum cx_status status;
    unsigned long long shards = 3, sequences = 5;
    if (argc < 3)
        return 2;
    struct cx_store_options options = sample_options(argv[2]);
    for (int i = 3; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--half") == 0)
            options.map_type = CX_MAP_FLOAT16;
        else if (strcmp(argv[i], "--plain") == 0)
            options.per_head = options.hidden_states = false, options.vector_layer_count = 0;
        else if (strcmp(argv[i], "--shards") == 0)
            shards = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--sequences") == 0)
            sequences = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--threads") == 0)
            options.threads = atoi(value), i++;
        else if (strcmp(argv[i], "--level") == 0)
            options.compression_level = atoi(value), i++;
        else if (strcmp(argv[i], "--bits") == 0)
            options.kept_mantissa_bits = atoi(value), i++;
        else
            return 2;
    }
    if (strcmp(argv[1], "samples") == 0) {
        write_samples(argv[2], &options, shards * sequences);
        return 0;
    }
    if (strcmp(argv[1], "serve") == 0)
        return serve(&options, sequences);
    status = strcmp(argv[1], "verify") == 0 ? verify(argv[2], &error) : sample_write_run(&options, shards, sequences, &error);
    return end(status, &error);
}
