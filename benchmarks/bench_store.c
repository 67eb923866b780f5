/*
 * How fast results reach the disk: the store's own path (chunks encoded on threads and written directly, then synced and read back) against plain
 * H5Dwrite() with the same filters and level, and against write(2), on the same bytes, in turns.
 *
 *     bench_store [--threads LIST] [--level N] [--bits N] [--tokens N] [--layers N] [--megabytes N] [--rounds N] [--maps PART.h5] [--directory DIRECTORY]
 *                 [--json FILE]
 *
 * The maps are those of a part that a run has written (--maps), or made up with the entropy of real ones: norms of a log-normal spread that follow from
 * their neighbours, and attention rows. Prints a table; the figures that count are the ratios, taken in every round.
 */
#include <fcntl.h>
#include <hdf5.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store_samples.h"

enum { most_rounds = 32, most_thread_counts = 8, most_layers = 64, chunk_elements = 16384 };

/* The ways of writing that are compared; the store's come once for every number of threads. */
enum way { WAY_WRITE, WAY_HDF5, WAY_HDF5_FLETCHER, WAY_STORE, MOST_WAYS = WAY_STORE + most_thread_counts };

struct settings {
    int threads[most_thread_counts], thread_counts, level, bits, tokens, layers, megabytes, rounds;
    const char *maps, *json;
    char directory[256];
};

/* What is written, many times the same few sequences: no chunk knows of another. */
struct work {
    struct cx_store_options options;
    size_t layers[most_layers];
    struct sample *samples;
    size_t sample_count;
    struct cx_sequence *sequences;
    struct cx_sequence_result *results;
    size_t count;
    double megabytes; /* of maps */
};

struct timing {
    double seconds[most_rounds]; /* until the bytes are with the system */
    double sync[most_rounds];    /* until they are on the disk */
    double check[most_rounds];   /* until they are read back */
    double megabytes;            /* of the file */
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void stop(const char *what) {
    fprintf(stderr, "bench_store: %s\n", what);
    exit(1);
}

static size_t map_elements(const struct work *work, size_t sequence) {
    const size_t n = work->sequences[sequence].tokens;
    return work->options.stored_layer_count * n * n;
}

/* --- the ways --- */

static void write_with_store(const struct work *work, int threads, int round, struct timing *timing) {
    struct cx_store_options options = work->options;
    struct cx_error error = {0};
    struct cx_part *part = NULL;
    struct cx_part_summary summary = {0};
    options.threads = threads;
    double start = now();
    if (cx_part_create(&options, 0, &part, &error) != CX_OK || cx_part_append(part, work->sequences, work->results, work->count, &error) != CX_OK ||
        cx_part_finish(part, &summary, &error) != CX_OK)
        stop(error.message);
    timing->sync[round] = summary.spent.sync;
    timing->check[round] = summary.spent.check;
    timing->seconds[round] = now() - start - summary.spent.sync - summary.spent.check;
    timing->megabytes = (double)summary.bytes / 1e6;
}

/* The maps alone, one dataset each, in pieces of a sequence, through HDF5's filters. */
static void write_with_hdf5(const struct work *work, const char *path, bool fletcher32, int round, struct timing *timing) {
    hsize_t total = 0, first = 0, chunk = chunk_elements;
    for (size_t s = 0; s < work->count; s++)
        total += map_elements(work, s);
    double start = now();
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), properties = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(1, &total, NULL), datasets[CX_MAPS];
    if (file < 0 || H5Pset_chunk(properties, 1, &chunk) < 0 || H5Pset_shuffle(properties) < 0)
        stop("HDF5 cannot create the file of the comparison");
    if ((work->options.compression_level > 0 && H5Pset_deflate(properties, (unsigned)work->options.compression_level) < 0) ||
        (fletcher32 && H5Pset_fletcher32(properties) < 0))
        stop("HDF5 cannot create the file of the comparison");
    for (int map = 0; map < CX_MAPS; map++) {
        char name[8];
        snprintf(name, sizeof name, "m%d", map);
        datasets[map] = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    }
    for (size_t s = 0; s < work->count; s++) {
        hsize_t block = map_elements(work, s);
        hid_t memory = H5Screate_simple(1, &block, NULL);
        if (H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &block, NULL) < 0)
            stop("HDF5 cannot select");
        for (int map = 0; map < CX_MAPS; map++)
            if (H5Dwrite(datasets[map], H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, work->results[s].maps[map]) < 0)
                stop("HDF5 cannot write");
        H5Sclose(memory);
        first += block;
    }
    for (int map = 0; map < CX_MAPS; map++)
        H5Dclose(datasets[map]);
    H5Pclose(properties), H5Sclose(space);
    if (H5Fclose(file) < 0)
        stop("HDF5 cannot write");
    timing->seconds[round] = now() - start;
    int descriptor = open(path, O_RDWR);
    if (descriptor < 0 || fsync(descriptor) != 0)
        stop("cannot sync the file of the comparison");
    timing->sync[round] = now() - start - timing->seconds[round];
    timing->megabytes = (double)lseek(descriptor, 0, SEEK_END) / 1e6;
    close(descriptor);
    unlink(path);
}

/* As little as can be done with the bytes: what memory and disk take. */
static void write_plainly(const struct work *work, const char *path, int round, struct timing *timing) {
    double start = now();
    int descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    for (size_t s = 0; s < work->count; s++) {
        for (int map = 0; map < CX_MAPS; map++) {
            const char *next = (const char *)work->results[s].maps[map];
            size_t left = map_elements(work, s) * sizeof(float);
            for (ssize_t done; left > 0; left -= (size_t)done, next += done)
                if ((done = write(descriptor, next, left < 65536 ? left : 65536)) <= 0)
                    stop("cannot write");
        }
    }
    timing->seconds[round] = now() - start;
    if (fsync(descriptor) != 0)
        stop("cannot sync");
    timing->sync[round] = now() - start - timing->seconds[round];
    timing->megabytes = (double)lseek(descriptor, 0, SEEK_END) / 1e6;
    close(descriptor);
    unlink(path);
}

/* --- the maps --- */

/* Norms of real layers change little from one target to the next: every row is the one above, a little moved. */
static void smooth(float *map, size_t layers, size_t tokens, uint64_t *state) {
    for (size_t i = 1; i < layers * tokens; i++)
        for (size_t j = 0; j < tokens; j++)
            map[i * tokens + j] = map[(i - 1) * tokens + j] * (0.7f + 0.3f * map[i * tokens + j] / (map[i * tokens + j] + sample_unit(state)));
}

static void make_samples(struct work *work, size_t tokens) {
    uint64_t state = 7;
    for (size_t s = 0; s < work->sample_count; s++) {
        work->samples[s] = sample_make(&work->options, s, tokens);
        for (int stage = 0; stage < CX_STAGES; stage++)
            smooth(work->samples[s].result.maps[stage], work->options.stored_layer_count, tokens, &state);
    }
}

static void read_dataset(hid_t file, const char *name, hid_t type, hsize_t first, hsize_t count, void *values) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = dataset >= 0 ? H5Dget_space(dataset) : -1, memory = H5Screate_simple(1, &count, NULL);
    if (space < 0 || H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &count, NULL) < 0 ||
        H5Dread(dataset, type, memory, space, H5P_DEFAULT, values) < 0)
        stop("--maps: not a part with all maps");
    H5Sclose(memory), H5Sclose(space), H5Dclose(dataset);
}

/* Sequence `number` of a part, with its maps; its number of layers comes out of the offsets. */
static struct sample read_sample(struct work *work, hid_t file, size_t number) {
    int32_t tokens = 0;
    int64_t offsets[2];
    char name[64];
    read_dataset(file, "/seq/n_tokens", H5T_NATIVE_INT32, number, 1, &tokens);
    read_dataset(file, "/seq/map_offset", H5T_NATIVE_INT64, number, 2, offsets);
    work->options.layers = work->options.stored_layer_count = (size_t)(offsets[1] - offsets[0]) / (size_t)tokens / (size_t)tokens;
    if (work->options.layers > most_layers)
        stop("--maps: too many layers");
    struct sample sample = sample_make(&work->options, number, (size_t)tokens);
    for (unsigned map = 0; map < CX_MAPS; map++) {
        snprintf(name, sizeof name, "/maps/%s", cx_map_name(map));
        read_dataset(file, name, H5T_NATIVE_FLOAT, (hsize_t)offsets[0], (hsize_t)(offsets[1] - offsets[0]), sample.result.maps[map]);
    }
    return sample;
}

static size_t map_bytes(const struct work *work, size_t tokens) {
    return CX_MAPS * work->options.stored_layer_count * tokens * tokens * sizeof(float);
}

static void make_work(struct work *work, const struct settings *settings) {
    const size_t wanted = (size_t)settings->megabytes * 1000000, distinct = wanted < 64000000 ? wanted : 64000000;
    size_t bytes = 0;
    work->options = sample_options(settings->directory);
    work->options.per_head = work->options.hidden_states = false;
    work->options.vector_layer_count = 0;
    work->options.layers = work->options.stored_layer_count = (size_t)settings->layers;
    work->options.stored_layers = work->layers;
    work->options.compression_level = settings->level;
    work->options.kept_mantissa_bits = settings->bits;
    for (size_t layer = 0; layer < most_layers; layer++)
        work->layers[layer] = layer;
    if (settings->maps) {
        hid_t file = H5Fopen(settings->maps, H5F_ACC_RDONLY, H5P_DEFAULT), dataset = file >= 0 ? H5Dopen2(file, "/seq/n_tokens", H5P_DEFAULT) : -1;
        hid_t space = dataset >= 0 ? H5Dget_space(dataset) : -1;
        const size_t there = space >= 0 ? (size_t)H5Sget_simple_extent_npoints(space) : 0;
        if (there == 0)
            stop("--maps: not a part");
        work->samples = sample_memory(there, sizeof *work->samples);
        for (; work->sample_count < there && bytes < distinct; work->sample_count++) {
            work->samples[work->sample_count] = read_sample(work, file, work->sample_count);
            bytes += map_bytes(work, work->samples[work->sample_count].sequence.tokens);
        }
        H5Sclose(space), H5Dclose(dataset), H5Fclose(file);
    } else {
        work->sample_count = distinct / map_bytes(work, (size_t)settings->tokens) + 1;
        work->samples = sample_memory(work->sample_count, sizeof *work->samples);
        make_samples(work, (size_t)settings->tokens);
        bytes = work->sample_count * map_bytes(work, (size_t)settings->tokens);
    }
    const size_t most = (wanted / bytes + 1) * work->sample_count;
    work->sequences = sample_memory(most, sizeof *work->sequences);
    work->results = sample_memory(most, sizeof *work->results);
    for (bytes = 0; work->count < most && bytes < wanted; work->count++) {
        const struct sample *sample = &work->samples[work->count % work->sample_count];
        work->sequences[work->count] = sample->sequence;
        work->results[work->count] = sample->result;
        bytes += map_bytes(work, sample->sequence.tokens);
    }
    work->megabytes = (double)bytes / 1e6;
}

static void free_work(struct work *work) {
    for (size_t s = 0; s < work->sample_count; s++)
        sample_free(&work->samples[s]);
    free(work->samples), free(work->sequences), free(work->results);
}

/* --- the report --- */

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(const double *values, int count) {
    double sorted[most_rounds];
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, by_size);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* How many times as fast as another way, in the middle of the rounds. */
static double ratio_to(const struct timing *timing, const struct timing *other, int rounds) {
    double ratios[most_rounds];
    for (int round = 0; round < rounds; round++)
        ratios[round] = other->seconds[round] / timing->seconds[round];
    return median(ratios, rounds);
}

static void name_way(const struct settings *settings, int way, char *name, size_t size) {
    static const char *const names[] = {[WAY_WRITE] = "write(2)", [WAY_HDF5] = "H5Dwrite, shuffle", [WAY_HDF5_FLETCHER] = "H5Dwrite, shuffle"};
    if (way < WAY_STORE)
        snprintf(name, size, "%s%s%s", names[way], way != WAY_WRITE && settings->level > 0 ? "+deflate" : "", way == WAY_HDF5_FLETCHER ? "+fletcher32" : "");
    else
        snprintf(name, size, "cx_part, %d thread%s", settings->threads[way - WAY_STORE], settings->threads[way - WAY_STORE] == 1 ? "" : "s");
}

static void report(const struct settings *settings, const struct work *work, const struct timing *timings) {
    char name[64];
    FILE *json = settings->json ? fopen(settings->json, "w") : NULL;
    if (settings->json && !json)
        stop("cannot write the file of --json");
    printf("%.0f MB of maps (%zu sequences, %zu layers, %s), deflate %d, %d mantissa bits, median of %d rounds\n", work->megabytes, work->count,
           work->options.stored_layer_count, settings->maps ? "real" : "made up", settings->level, settings->bits, settings->rounds);
    printf("%-38s %9s %9s %9s %9s %9s %9s\n", "", "MB/s", "x H5D", "x H5D+f", "sync s", "check s", "stored");
    if (json)
        fprintf(json,
                "{\"megabytes\": %.1f, \"sequences\": %zu, \"tokens\": %zu, \"layers\": %zu, \"maps\": \"%s\", \"level\": %d, \"mantissa_bits\": %d, "
                "\"rounds\": %d, \"ways\": [",
                work->megabytes, work->count, work->sequences[0].tokens, work->options.stored_layer_count, settings->maps ? "real" : "made up", settings->level,
                settings->bits, settings->rounds);
    for (int way = 0; way < WAY_STORE + settings->thread_counts; way++) {
        const struct timing *timing = &timings[way];
        const double speed = work->megabytes / median(timing->seconds, settings->rounds), sync = median(timing->sync, settings->rounds);
        const double plain = ratio_to(timing, &timings[WAY_HDF5], settings->rounds), fletcher = ratio_to(timing, &timings[WAY_HDF5_FLETCHER], settings->rounds);
        const double check = way < WAY_STORE ? 0 : median(timing->check, settings->rounds), stored = timing->megabytes / work->megabytes;
        name_way(settings, way, name, sizeof name);
        printf("%-38s %9.0f %9.2f %9.2f %9.3f %9.3f %9.3f\n", name, speed, plain, fletcher, sync, check, stored);
        if (json)
            fprintf(json,
                    "%s\n  {\"way\": \"%s\", \"megabytes_per_second\": %.1f, \"times_h5dwrite\": %.3f, \"times_h5dwrite_fletcher32\": %.3f, "
                    "\"sync_seconds\": %.4f, \"check_seconds\": %.4f, \"stored\": %.4f}",
                    way > 0 ? "," : "", name, speed, plain, fletcher, sync, check, stored);
    }
    if (json && (fprintf(json, "\n]}\n") < 0 || fclose(json) != 0))
        stop("cannot write the file of --json");
}

static void parse_threads(struct settings *settings, const char *list) {
    settings->thread_counts = 0;
    for (char *end = NULL; *list && settings->thread_counts < most_thread_counts; list = *end ? end + 1 : end) {
        settings->threads[settings->thread_counts++] = (int)strtol(list, &end, 10);
        if (end == list)
            stop("--threads: expected numbers with commas between");
    }
}

static void parse(struct settings *settings, int argc, char **argv) {
    const struct {
        const char *name;
        int *value;
    } numbers[] = {{"--level", &settings->level},   {"--bits", &settings->bits},           {"--tokens", &settings->tokens},
                   {"--layers", &settings->layers}, {"--megabytes", &settings->megabytes}, {"--rounds", &settings->rounds}};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        bool known = true;
        if (strcmp(argv[i], "--threads") == 0)
            parse_threads(settings, value);
        else if (strcmp(argv[i], "--maps") == 0)
            settings->maps = value;
        else if (strcmp(argv[i], "--json") == 0)
            settings->json = value;
        else if (strcmp(argv[i], "--directory") == 0)
            snprintf(settings->directory, sizeof settings->directory, "%s/bench-store-XXXXXX", value);
        else
            known = false;
        for (size_t k = 0; !known && k < sizeof numbers / sizeof numbers[0]; k++)
            if (strcmp(argv[i], numbers[k].name) == 0)
                *numbers[k].value = atoi(value), known = true;
        if (!known)
            stop("options: --threads --level --bits --tokens --layers --megabytes --rounds --maps --directory --json");
    }
    if (settings->rounds < 1 || settings->rounds > most_rounds || settings->layers < 1 || settings->layers > most_layers || settings->tokens < 1)
        stop("a number is out of range");
}

int main(int argc, char **argv) {
    struct settings settings = {.threads = {1, 2},
                                .thread_counts = 2,
                                .level = 1,
                                .bits = 23,
                                .tokens = 128,
                                .layers = 6,
                                .megabytes = 60,
                                .rounds = 5,
                                .directory = "bench-store-XXXXXX"};
    struct work work = {0};
    struct timing timings[MOST_WAYS] = {0};
    char path[512], part[512];
    parse(&settings, argc, argv);
    if (!mkdtemp(settings.directory))
        stop("cannot make a folder");
    snprintf(path, sizeof path, "%s/plain", settings.directory);
    snprintf(part, sizeof part, "%s/parts/shard-000000.h5", settings.directory);
    make_work(&work, &settings);
    for (int round = 0; round < settings.rounds; round++) {
        write_plainly(&work, path, round, &timings[WAY_WRITE]);
        write_with_hdf5(&work, path, false, round, &timings[WAY_HDF5]);
        write_with_hdf5(&work, path, true, round, &timings[WAY_HDF5_FLETCHER]);
        for (int k = 0; k < settings.thread_counts; k++) {
            write_with_store(&work, settings.threads[k], round, &timings[WAY_STORE + k]);
            unlink(part);
        }
    }
    report(&settings, &work, timings);
    free_work(&work);
    snprintf(part, sizeof part, "%s/parts", settings.directory);
    rmdir(part), rmdir(settings.directory);
    return 0;
}
