/* Job arrays by their environment; claims, and what becomes of those of the dead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contexture/cluster.h"
#include "store_folder.h"

static const double patience = 30;

static void require(enum cx_status status, const struct cx_error *error) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error->message);
}

static void set_array(const char *id, const char *count, const char *least, const char *step) {
    const char *const names[] = {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"};
    const char *const values[] = {id, count, least, step};
    for (size_t k = 0; k < 4; k++)
        assert_int_equal(values[k] ? setenv(names[k], values[k], 1) : unsetenv(names[k]), 0);
}

static void test_array_places(void **state) {
    (void)state;
    const struct {
        const char *id, *count, *least, *step;
        enum cx_status status;
        uint64_t index, tasks;
    } cases[] = {
        {"0", "4", "0", "1", CX_OK, 0, 4},           {"3", "4", NULL, NULL, CX_OK, 3, 4},
        {"12", "3", "10", "2", CX_OK, 1, 3},         {NULL, NULL, NULL, NULL, CX_ERROR_USAGE, 0, 0},
        {"1", NULL, "0", "1", CX_ERROR_USAGE, 0, 0}, {"x", "4", "0", "1", CX_ERROR_USAGE, 0, 0},
        {"4", "4", "0", "1", CX_ERROR_USAGE, 0, 0},  {"-1", "4", "0", "1", CX_ERROR_USAGE, 0, 0},
        {"1", "4", "2", "1", CX_ERROR_USAGE, 0, 0},  {"1", "4", "0", "0", CX_ERROR_USAGE, 0, 0},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        uint64_t index = 99, tasks = 99;
        struct cx_error error = {0};
        set_array(cases[k].id, cases[k].count, cases[k].least, cases[k].step);
        assert_int_equal(cx_array_place(&index, &tasks, &error), cases[k].status);
        if (cases[k].status == CX_OK) {
            assert_int_equal(index, cases[k].index);
            assert_int_equal(tasks, cases[k].tasks);
        }
    }
    set_array(NULL, NULL, NULL, NULL);
}

static bool take(struct cx_worker *worker, const char *name) {
    struct cx_error error = {0};
    bool taken = false;
    require(cx_claim_take(worker, name, &taken, &error), &error);
    return taken;
}

/* A child that joins, takes a claim and ends without leaving, as one that was killed. */
static void join_and_die(const char *folder, enum cx_cluster_kind kind, const char *claim) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct cx_worker *worker = NULL;
        bool taken = false;
        bool done = cx_worker_join(folder, kind, patience, &worker, NULL) == CX_OK && cx_claim_take(worker, claim, &taken, NULL) == CX_OK && taken;
        _exit(done ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_claims(void **state) {
    (void)state;
    struct folder folder = folder_make();
    struct cx_worker *worker = NULL;
    struct cx_error error = {0};
    char path[128];
    join_and_die(folder.path, CX_CLUSTER_FOLDER, "shard-000003");
    require(cx_worker_join(folder.path, CX_CLUSTER_FOLDER, patience, &worker, &error), &error);
    assert_true(take(worker, "shard-000001"));
    assert_false(take(worker, "shard-000001"));
    assert_true(take(worker, "shard-000003")); /* its owner is dead */
    assert_false(take(worker, "shard-000003"));
    cx_claim_drop(worker, "shard-000001");
    assert_true(take(worker, "shard-000001"));

    /* A claim of a worker that cannot be asked holds; one whose owner is not there does not. */
    snprintf(path, sizeof path, "%s/workers/elsewhere-7-ab", folder.path);
    FILE *file = fopen(path, "w");
    assert_true(file && fputs("folder process 7 host elsewhere start 1 since 2020-01-01T00:00:00Z beat 0000000001\n", file) >= 0 && fclose(file) == 0);
    snprintf(path, sizeof path, "%s/claims/shard-000005", folder.path);
    file = fopen(path, "w");
    assert_true(file && fputs("elsewhere-7-ab", file) >= 0 && fclose(file) == 0);
    assert_false(take(worker, "shard-000005"));
    snprintf(path, sizeof path, "%s/workers/elsewhere-7-ab", folder.path);
    assert_int_equal(unlink(path), 0);
    assert_true(take(worker, "shard-000005"));

    cx_claims_clear(worker, CX_CLAIMS_OWN);
    cx_workers_clear(worker);
    cx_worker_leave(worker);
    snprintf(path, sizeof path, "%s/workers", folder.path);
    assert_int_not_equal(access(path, F_OK), 0);
    folder_remove(&folder);
}

static void test_silence_is_death(void **state) {
    (void)state;
    struct folder folder = folder_make();
    struct cx_worker *worker = NULL;
    struct cx_error error = {0};
    char path[128];
    require(cx_worker_join(folder.path, CX_CLUSTER_FOLDER, 0.3, &worker, &error), &error);
    snprintf(path, sizeof path, "%s/workers/elsewhere-7-ab", folder.path);
    FILE *file = fopen(path, "w");
    assert_true(file && fputs("off process 7 host elsewhere start 1 since 2020-01-01T00:00:00Z beat 0000000001\n", file) >= 0 && fclose(file) == 0);
    require(cx_worker_refuse_others(worker, &error), &error); /* waits until it has been silent for long enough */
    assert_int_not_equal(access(path, F_OK), 0);
    cx_worker_leave(worker);
    folder_remove(&folder);
}

static void write_text(const struct folder *folder, const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    FILE *file = fopen(path, "w");
    assert_true(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* A worker of another host, whose sign changes for as long as the child that this returns is not killed. */
static pid_t beat_elsewhere(const struct folder *folder) {
    const pid_t child = fork();
    assert_true(child >= 0);
    for (unsigned beat = 0; child == 0; beat++) {
        char line[128], from[128], to[128];
        snprintf(line, sizeof line, "off process 7 host elsewhere start 1 since 2020-01-01T00:00:00Z beat %010u\n", beat);
        write_text(folder, "sign", line);
        snprintf(from, sizeof from, "%s/sign", folder->path);
        snprintf(to, sizeof to, "%s/workers/elsewhere-7-ab", folder->path);
        assert_int_equal(rename(from, to), 0); /* whole at any moment */
        usleep(20 * 1000);
    }
    return child;
}

static void end_child(pid_t child) {
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Who must be alone gets the claim of one that is dead, sooner or later, and is told of one that lives. */
static void test_insisting(void **state) {
    (void)state;
    const double short_patience = 0.5;
    struct folder folder = folder_make();
    struct cx_worker *worker = NULL;
    struct cx_error error = {0};
    join_and_die(folder.path, CX_CLUSTER_OFF, "alone");
    require(cx_worker_join(folder.path, CX_CLUSTER_OFF, short_patience, &worker, &error), &error);
    require(cx_claim_insist(worker, "alone", &error), &error);
    assert_int_equal(cx_claim_insist(worker, "alone", &error), CX_ERROR_CONFLICT); /* its own process lives */
    cx_claim_drop(worker, "alone");

    write_text(&folder, "claims/alone", "elsewhere-7-ab");
    pid_t child = beat_elsewhere(&folder);
    while (access(folder_file(&folder, "workers/elsewhere-7-ab"), F_OK) != 0)
        usleep(1000);
    assert_int_equal(cx_claim_insist(worker, "alone", &error), CX_ERROR_CONFLICT);
    assert_non_null(strstr(error.message, "process 7 on host elsewhere"));
    end_child(child);
    require(cx_claim_insist(worker, "alone", &error), &error); /* it has fallen silent */

    cx_claims_clear(worker, CX_CLAIMS_OWN);
    cx_worker_leave(worker);
    folder_remove(&folder);
}

static void test_kinds_refuse_each_other(void **state) {
    (void)state;
    struct folder folder = folder_make();
    struct cx_worker *worker = NULL;
    struct cx_error error = {0};
    require(cx_worker_join(folder.path, CX_CLUSTER_FOLDER, patience, &worker, &error), &error);
    const struct {
        enum cx_cluster_kind kind;
        enum cx_status status;
    } cases[] = {{CX_CLUSTER_FOLDER, CX_OK}, {CX_CLUSTER_ARRAY, CX_ERROR_CONFLICT}, {CX_CLUSTER_OFF, CX_ERROR_CONFLICT}, {CX_CLUSTER_MPI, CX_ERROR_CONFLICT}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        pid_t child = fork(); /* a process has one name */
        assert_true(child >= 0);
        if (child == 0)
            _exit(cx_workers_refuse(folder.path, cases[k].kind, patience, NULL) == cases[k].status ? 0 : 1);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    cx_worker_leave(worker);
    require(cx_workers_refuse(folder.path, CX_CLUSTER_OFF, patience, &error), &error);
    folder_remove(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_array_places),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_silence_is_death),
        cmocka_unit_test(test_insisting),
        cmocka_unit_test(test_kinds_refuse_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
