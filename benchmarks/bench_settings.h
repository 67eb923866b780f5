/* What bench_ops is asked for. */
#ifndef CONTEXTURE_BENCHMARKS_BENCH_SETTINGS_H
#define CONTEXTURE_BENCHMARKS_BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "contexture/backend.h"

enum { short_sentences = 0, most_repeats = 101 };

struct settings {
    const char *shape, *ops, *json;
    enum cx_backend_kind backend;
    enum cx_forward_precision forward_precision;
    enum cx_pair_precision precision;
    enum cx_pair_kernel pair_kernel;
    size_t pair_chunk, reference; /* reference: rows of the device's product */
    long n;                       /* -1: all lengths; short_sentences: the batch of short sentences */
    size_t batch;                 /* tokens of a batch of sequences of n tokens; 0: one sequence */
    bool causal;                  /* of a causal model */
    int repeats, threads;         /* repeats: at most most_repeats */
};

/* The settings of the command line; false, and the usage is printed, if it is wrong or asks for help. */
bool settings_parse(int argc, char **argv, struct settings *settings);

/* Whether a list "a,b,c" has the name; NULL has all. */
bool is_listed(const char *list, const char *name);

#endif
