#include "bench_settings.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <omp.h>

bool is_listed(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *item = list; item && *item; item += strcspn(item, ",") + (item[strcspn(item, ",")] == ',')) {
        if (strcspn(item, ",") == length && strncmp(item, name, length) == 0)
            return true;
    }
    return list == NULL;
}

static void usage(void) {
    printf(
        "usage: bench_ops [--shape minilm|bert-base|bert-large] [--n LENGTH|short [--batch TOKENS]] [--ops NAME,…] [--repeat N] [--threads N] [--json FILE]\n"
        "                 [--backend cpu|cuda] [--pair-precision f32|bf16|f16] [--pair-kernel auto|chunked|wgmma|wgmma-cluster|mma] [--pair-chunk PAIRS]\n"
        "                 [--forward-precision f32|tf32|f16] [--reference ROWS] [--causal]\n"
        "Without --shape and --n: all shapes, n = 32, 64, 128, 256, 512, a batch of short sentences of 512 tokens, and on a GPU 1024.\n");
}

static bool parse_precision(const char *name, enum cx_pair_precision *precision) {
    static const enum cx_pair_precision all[] = {CX_PAIR_F32, CX_PAIR_BF16, CX_PAIR_F16};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        *precision = all[k];
        if (strcmp(name, cx_pair_precision_name(all[k])) == 0)
            return true;
    }
    return false;
}

static bool parse_forward_precision(const char *name, enum cx_forward_precision *precision) {
    for (unsigned k = CX_FORWARD_F32; k <= CX_FORWARD_F16; k++) {
        *precision = (enum cx_forward_precision)k;
        if (strcmp(name, cx_forward_precision_name(*precision)) == 0)
            return true;
    }
    return false;
}

static bool parse_kernel(const char *name, enum cx_pair_kernel *kernel) {
    for (unsigned k = CX_PAIR_KERNEL_AUTO; k <= CX_PAIR_KERNEL_MMA; k++) {
        *kernel = (enum cx_pair_kernel)k;
        if (strcmp(name, cx_pair_kernel_name(*kernel)) == 0)
            return true;
    }
    return false;
}

static bool parse(int argc, char **argv, struct settings *settings) {
    static const struct option options[] = {
        {"shape", required_argument, NULL, 's'},
        {"n", required_argument, NULL, 'n'},
        {"batch", required_argument, NULL, 'q'},
        {"ops", required_argument, NULL, 'o'},
        {"repeat", required_argument, NULL, 'r'},
        {"threads", required_argument, NULL, 't'},
        {"json", required_argument, NULL, 'j'},
        {"backend", required_argument, NULL, 'b'},
        {"forward-precision", required_argument, NULL, 'w'},
        {"pair-precision", required_argument, NULL, 'p'},
        {"pair-kernel", required_argument, NULL, 'k'},
        {"pair-chunk", required_argument, NULL, 'c'},
        {"reference", required_argument, NULL, 'f'},
        {"causal", no_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            settings->shape = optarg;
            break;
        case 'n':
            settings->n = strcmp(optarg, "short") == 0 ? short_sentences : strtol(optarg, NULL, 10);
            break;
        case 'q':
            settings->batch = (size_t)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            settings->ops = optarg;
            break;
        case 'r':
            settings->repeats = (int)strtol(optarg, NULL, 10);
            break;
        case 't':
            settings->threads = (int)strtol(optarg, NULL, 10);
            break;
        case 'j':
            settings->json = optarg;
            break;
        case 'b':
            if (strcmp(optarg, "cpu") != 0 && strcmp(optarg, "cuda") != 0)
                return false;
            settings->backend = strcmp(optarg, "cuda") == 0 ? CX_BACKEND_CUDA : CX_BACKEND_CPU;
            break;
        case 'w':
            if (!parse_forward_precision(optarg, &settings->forward_precision))
                return false;
            break;
        case 'p':
            if (!parse_precision(optarg, &settings->precision))
                return false;
            break;
        case 'k':
            if (!parse_kernel(optarg, &settings->pair_kernel))
                return false;
            break;
        case 'c':
            settings->pair_chunk = (size_t)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            settings->reference = (size_t)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            settings->causal = true;
            break;
        default:
            return false;
        }
    }
    return settings->repeats >= 1 && settings->repeats <= most_repeats && settings->threads >= 1 && settings->n >= -1 && settings->reference >= 1 &&
           optind == argc;
}

bool settings_parse(int argc, char **argv, struct settings *settings) {
    *settings = (struct settings){.n = -1, .repeats = 9, .threads = omp_get_num_procs(), .backend = CX_BACKEND_CPU, .reference = 8192};
    if (parse(argc, argv, settings))
        return true;
    usage();
    return false;
}
