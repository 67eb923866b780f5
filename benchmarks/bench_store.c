/*
 * How fast results reach the disk: the store's own path (shuffle, deflate and fletcher32 on threads, chunks written directly) against
 * plain H5Dwrite() with the same filters and level, on the same bytes, in turns.
 *
 *     bench_store [--threads N] [--level N] [--megabytes N] [--rounds N] [--directory DIRECTORY]
 *
 * The maps have the entropy of real ones: norms of a log-normal spread that follow from their neighbours, and attention rows. Prints a table; the figure that
 * counts is the ratio, taken in every round.
 */
#include <hdf5.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store_samples.h"

enum { tokens = 64, layers = 6, most_rounds = 32 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void stop(const char *what) {
    fprintf(stderr, "bench_store: %s\n", what);
    exit(1);
}

static struct cx_store_options make_options(const char *directory, int threads, int level) {
    static const size_t all_layers[layers] = {0, 1, 2, 3, 4, 5};
    struct cx_store_options options = sample_options(directory);
    options.per_head = options.hidden_states = false;
    options.vector_layer_count = 0;
    options.layers = layers;
    options.stored_layers = all_layers;
    options.stored_layer_count = layers;
    options.threads = threads;
    options.compression_level = level;
    return options;
}

/* The time of cx_part_append() for all sequences, and of cx_part_finish(). */
static void write_with_store(const struct cx_store_options *options, const struct cx_sequence *sequences, const struct cx_sequence_result *results,
                             size_t count, double *append, double *finish, uint64_t *bytes) {
    struct cx_error error = {0};
    struct cx_part *part = NULL;
    struct cx_part_summary summary = {0};
    if (cx_part_create(options, 0, &part, &error) != CX_OK)
        stop(error.message);
    double start = now();
    if (cx_part_append(part, sequences, results, count, &error) != CX_OK)
        stop(error.message);
    double middle = now();
    if (cx_part_finish(part, &summary, &error) != CX_OK)
        stop(error.message);
    *append = middle - start;
    *finish = now() - middle;
    *bytes = summary.bytes;
}

/* The maps alone, one dataset each, in pieces of a sequence, through HDF5's filters. */
static double write_with_hdf5(const char *path, const struct cx_sequence_result *results, size_t count, int level) {
    const hsize_t block = (hsize_t)layers * tokens * tokens, chunk = 16384, total = block * count;
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), properties = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &total, NULL), memory = H5Screate_simple(1, &block, NULL), datasets[CX_MAPS];
    if (file < 0 || H5Pset_chunk(properties, 1, &chunk) < 0 || H5Pset_shuffle(properties) < 0 || H5Pset_deflate(properties, (unsigned)level) < 0 ||
        H5Pset_fletcher32(properties) < 0)
        stop("HDF5 cannot create the file of the comparison");
    for (int map = 0; map < CX_MAPS; map++) {
        char name[8];
        snprintf(name, sizeof name, "m%d", map);
        datasets[map] = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    }
    double start = now();
    for (hsize_t s = 0; s < count; s++) {
        hsize_t first = s * block;
        if (H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &block, NULL) < 0)
            stop("HDF5 cannot select");
        for (int map = 0; map < CX_MAPS; map++)
            if (H5Dwrite(datasets[map], H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, results[s].maps[map]) < 0)
                stop("HDF5 cannot write");
    }
    for (int map = 0; map < CX_MAPS; map++)
        H5Dclose(datasets[map]);
    if (H5Fflush(file, H5F_SCOPE_LOCAL) < 0)
        stop("HDF5 cannot write");
    double seconds = now() - start;
    H5Pclose(properties), H5Sclose(space), H5Sclose(memory), H5Fclose(file);
    return seconds;
}

/* Norms of real layers change little from one target to the next: every row is the one above, a little moved. */
static void smooth(float *map, uint64_t *state) {
    for (size_t i = 1; i < (size_t)layers * tokens; i++)
        for (size_t j = 0; j < tokens; j++)
            map[i * tokens + j] = map[(i - 1) * tokens + j] * (0.7f + 0.3f * map[i * tokens + j] / (map[i * tokens + j] + sample_unit(state)));
}

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

int main(int argc, char **argv) {
    int threads = 2, level = 1, rounds = 5, megabytes = 60;
    char directory[256] = "bench-store-XXXXXX", path[512], part[512];
    for (int i = 1; i + 1 < argc; i += 2) {
        int value = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--threads") == 0)
            threads = value;
        else if (strcmp(argv[i], "--level") == 0)
            level = value;
        else if (strcmp(argv[i], "--megabytes") == 0)
            megabytes = value;
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = value > most_rounds ? most_rounds : value;
        else if (strcmp(argv[i], "--directory") == 0)
            snprintf(directory, sizeof directory, "%s/bench-store-XXXXXX", argv[i + 1]);
        else
            stop("options: --threads --level --megabytes --rounds --directory");
    }
    if (!mkdtemp(directory))
        stop("cannot make a folder");
    snprintf(path, sizeof path, "%s/plain.h5", directory);
    snprintf(part, sizeof part, "%s/parts/shard-000000.h5", directory);
    struct cx_store_options options = make_options(directory, threads, level);
    const size_t map_bytes = (size_t)CX_MAPS * layers * tokens * tokens * sizeof(float), count = (size_t)megabytes * 1000000 / map_bytes + 1;
    struct sample *samples = sample_memory(count, sizeof *samples);
    struct cx_sequence *sequences = sample_memory(count, sizeof *sequences);
    struct cx_sequence_result *results = sample_memory(count, sizeof *results);
    uint64_t state = 7, bytes = 0;
    for (size_t s = 0; s < count; s++) {
        samples[s] = sample_make(&options, s, tokens);
        for (int stage = 0; stage < CX_STAGES; stage++)
            smooth(samples[s].result.maps[stage], &state);
        sequences[s] = samples[s].sequence;
        results[s] = samples[s].result;
    }
    const double size = (double)(map_bytes * count) / 1e6;
    double append[most_rounds], finish[most_rounds], plain[most_rounds], ratio[most_rounds];
    for (int round = 0; round < rounds; round++) {
        plain[round] = write_with_hdf5(path, results, count, level);
        write_with_store(&options, sequences, results, count, &append[round], &finish[round], &bytes);
        ratio[round] = plain[round] / append[round];
    }
    printf("%.0f MB of maps (%zu sequences of %d tokens), deflate %d, %d threads, median of %d rounds\n", size, count, tokens, level, threads, rounds);
    /* median() sorts, so the shortest time comes first afterwards: on a machine that others use too it says more. */
    double median_plain = median(plain, rounds), median_append = median(append, rounds), median_finish = median(finish, rounds);
    printf("%-38s %10s %10s\n", "MB/s", "median", "best");
    printf("%-38s %10.0f %10.0f\n", "H5Dwrite, shuffle+deflate+fletcher32", size / median_plain, size / plain[0]);
    printf("%-38s %10.0f %10.0f\n", "cx_part_append", size / median_append, size / append[0]);
    printf("%-38s %10.0f %10.0f\n", "cx_part_finish (sync, read back)", size / median_finish, size / finish[0]);
    printf("%-38s %10.2f %10.2f\n", "append / H5Dwrite", median(ratio, rounds), plain[0] / append[0]);
    printf("%-38s %10.2f\n", "stored / maps, bytes", (double)bytes / 1e6 / size);
    for (size_t s = 0; s < count; s++)
        sample_free(&samples[s]);
    free(samples), free(sequences), free(results);
    unlink(path), unlink(part);
    snprintf(part, sizeof part, "%s/parts", directory);
    rmdir(part), rmdir(directory);
    return 0;
}
