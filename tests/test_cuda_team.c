/*
 * A team of as many processes as there are GPUs, four at most, each with one of them: weights of rank 0 in every precision, and sums. With one GPU a team of
 * one. Skipped without a GPU or without NCCL.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "contexture/backend.h"

enum { most_ranks = 4, width = 64, skipped = 77, rounds = 5 };

static const struct cx_model_config config = {
    .layers = 1,
    .heads = 4,
    .head_size = width / 4,
    .hidden_size = width,
    .intermediate_size = 2 * width,
    .vocabulary_size = 16,
    .max_positions = 16,
    .token_types = 2,
    .norm_epsilon = 1e-12,
    .activation = CX_GELU,
};

struct rank {
    int number, count;
    int read_id, write_ids[most_ranks]; /* ends of pipes from rank 0 */
    struct cx_backend *backend;
    struct cx_error error;
};

static bool require(struct rank *rank, const char *what, enum cx_status status) {
    if (status != CX_OK)
        printf("rank %d: %s: %s: %s\n", rank->number, what, cx_status_name(status), rank->error.message);
    return status == CX_OK;
}

static bool pass_id(struct rank *rank, unsigned char id[CX_TEAM_ID_BYTES]) {
    if (rank->number > 0)
        return read(rank->read_id, id, CX_TEAM_ID_BYTES) == CX_TEAM_ID_BYTES;
    bool passed = require(rank, "make_id", rank->backend->operations->team->make_id(rank->backend, id, &rank->error));
    for (int other = 1; passed && other < rank->count; other++)
        passed = write(rank->write_ids[other], id, CX_TEAM_ID_BYTES) == CX_TEAM_ID_BYTES;
    return passed;
}

static bool join(struct rank *rank) {
    const struct cx_team_place place = {.rank = rank->number, .size = rank->count, .patience = 60};
    unsigned char id[CX_TEAM_ID_BYTES];
    return pass_id(rank, id) && require(rank, "join", rank->backend->operations->team->join(rank->backend, &place, id, &rank->error)) &&
           rank->backend->is_given_weights == (rank->number > 0);
}

/* x W^T with a W that rank 0 alone has: ones in x, so that each result is a row's sum. */
static bool multiply(struct rank *rank) {
    const struct cx_backend_operations *operations = rank->backend->operations;
    float weight[width * width], ones[width], found[width];
    struct cx_tensor *x = NULL, *y = NULL;
    struct cx_matrix *matrix = NULL;
    for (size_t k = 0; k < width * width; k++)
        weight[k] = rank->number > 0 ? NAN : (float)(k / width + k % 2);
    for (size_t k = 0; k < width; k++)
        ones[k] = rank->number > 0 ? NAN : 1;
    const struct cx_weight view = {.name = "a weight", .data = weight, .dtype = CX_FLOAT32, .rows = width, .columns = width};
    bool good = require(rank, "matrix_create", operations->matrix_create(rank->backend, &view, &matrix, &rank->error)) &&
                require(rank, "tensor_create", operations->tensor_create(rank->backend, CX_ELEMENT_FLOAT, width, &x, &rank->error)) &&
                require(rank, "tensor_create", operations->tensor_create(rank->backend, CX_ELEMENT_FLOAT, width, &y, &rank->error)) &&
                require(rank, "write", operations->write(rank->backend, x, width, ones, &rank->error)) &&
                require(rank, "linear", operations->linear(rank->backend, CX_LINEAR_FORWARD, 1, x, matrix, NULL, NULL, y, &rank->error)) &&
                require(rank, "read", operations->read(rank->backend, y, 0, width, found, &rank->error));
    for (size_t row = 0; good && row < width; row++) {
        const float expected = (float)(row * width + width / 2);
        good = found[row] == expected;
        if (!good)
            printf("rank %d: row %zu: expected %g, found %g\n", rank->number, row, (double)expected, (double)found[row]);
    }
    operations->matrix_destroy(rank->backend, matrix);
    operations->tensor_destroy(rank->backend, y);
    operations->tensor_destroy(rank->backend, x);
    return good;
}

static bool sum(struct rank *rank) {
    const struct cx_team_operations *team = rank->backend->operations->team;
    for (int round = 0; round < rounds; round++) {
        double values[CX_TEAM_SUMS], sums[CX_TEAM_SUMS];
        bool done = false;
        for (int k = 0; k < CX_TEAM_SUMS; k++)
            values[k] = 0x1p40 * (k + round) + rank->number + 1; /* beyond float32 */
        if (!require(rank, "sum_begin", team->sum_begin(rank->backend, values, CX_TEAM_SUMS, &rank->error)))
            return false;
        while (!done) {
            if (!require(rank, "sum_look", team->sum_look(rank->backend, sums, &done, &rank->error)))
                return false;
            nanosleep(&(struct timespec){.tv_nsec = 100 * 1000}, NULL);
        }
        for (int k = 0; k < CX_TEAM_SUMS; k++) {
            const double expected = rank->count * 0x1p40 * (k + round) + rank->count * (rank->count + 1) / 2;
            if (sums[k] != expected) {
                printf("rank %d: sum %d: expected %.17g, found %.17g\n", rank->number, k, expected, sums[k]);
                return false;
            }
        }
    }
    return true;
}

static int run_with(struct rank *rank, enum cx_forward_precision precision) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .device = rank->number, .forward_precision = precision};
    char text[512];
    if (cx_backend_open(&options, &config, &rank->backend, &rank->error) != CX_OK) {
        printf("skipped: %s\n", rank->error.message);
        return skipped;
    }
    const struct cx_team_operations *team = rank->backend->operations->team;
    int code = skipped;
    if (team->find(rank->backend, text, sizeof text))
        code = join(rank) && multiply(rank) && sum(rank) ? 0 : 1;
    else
        printf("skipped: %s\n", text);
    team->leave(rank->backend, code == 0);
    cx_backend_close(rank->backend);
    if (code == 0)
        printf("rank %d of %d, forward pass %s: NCCL %s\n", rank->number, rank->count, cx_forward_precision_name(precision), text);
    return code;
}

/* In a process of its own each, made before anybody has touched CUDA: the numbers of devices, and the ranks. */
static int finish(pid_t process) {
    int how = 0;
    while (waitpid(process, &how, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(how) ? WEXITSTATUS(how) : 1;
}

static int count_devices(void) {
    const pid_t process = fork();
    if (process != 0)
        return process > 0 ? finish(process) : 0;
    int count = 0;
    char names[most_ranks][64];
    for (bool is_new = true; is_new && count < most_ranks;) {
        const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .device = count};
        struct cx_backend *backend = NULL;
        if (cx_backend_open(&options, &config, &backend, NULL) != CX_OK)
            break;
        backend->operations->device_name(backend, names[count], sizeof names[count]);
        cx_backend_close(backend);
        is_new = count == 0 || strcmp(names[count], names[0]) != 0; /* counted anew behind the last */
        count += is_new;
    }
    _exit(count);
}

static int run_team(int count, enum cx_forward_precision precision) {
    struct rank ranks[most_ranks] = {0};
    pid_t processes[most_ranks];
    int worst = 0;
    for (int k = 1; k < count; k++) {
        int ends[2];
        if (pipe(ends) != 0)
            return 1;
        ranks[k].read_id = ends[0];
        ranks[0].write_ids[k] = ends[1];
    }
    (void)fflush(stdout);
    for (int k = 0; k < count; k++) {
        ranks[k].number = k;
        ranks[k].count = count;
        processes[k] = fork();
        if (processes[k] == 0) {
            const int code = run_with(&ranks[k], precision);
            (void)fflush(stdout);
            _exit(code);
        }
    }
    for (int k = 0; k < count; k++) {
        const int code = processes[k] > 0 ? finish(processes[k]) : 1;
        worst = code == 1 || worst == 0 ? code : worst;
    }
    return worst;
}

int main(void) {
    const int devices = count_devices(), count = devices > 0 ? devices : 1;
    const int code = run_team(count, CX_FORWARD_F32);
    return code == 0 ? run_team(count, CX_FORWARD_F16) : code;
}
