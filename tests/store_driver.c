/*
 * A small run in the folder DIRECTORY, for the tests that look at its files or hurt it while it is made.
 *
 *     store_driver write DIRECTORY [--shards N] [--sequences N] [--threads N] [--half] [--bits N] [--plain]
 *     store_driver verify DIRECTORY
 *
 * Exit code and sentence are those of the program.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        else if (strcmp(argv[i], "--bits") == 0)
            options.kept_mantissa_bits = atoi(value), i++;
        else
            return 2;
    }
    status = strcmp(argv[1], "verify") == 0 ? verify(argv[2], &error) : sample_write_run(&options, shards, sequences, &error);
    if (status != CX_OK)
        fprintf(stderr, "%s: %s\n", cx_status_name(status), error.message);
    return cx_status_exit_code(status);
}
