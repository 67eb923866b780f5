/* A process' signs of life: a small file that it writes anew again and again, and that the others read. */
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "contexture/clock.h"
#include "contexture/file.h"
#include "contexture/memory.h"

enum { beats_in_patience = 6 };

static const char *const kind_names[] = {[CX_CLUSTER_OFF] = "off", [CX_CLUSTER_FOLDER] = "folder", [CX_CLUSTER_ARRAY] = "array", [CX_CLUSTER_MPI] = "mpi"};

/* What a worker's file says. */
struct facts {
    char kind[16];
    struct cx_process process;
};

static void describe_self(struct cx_worker *worker) {
    cx_process_describe_self(&worker->self);
    snprintf(worker->name, sizeof worker->name, "%s-%ld-%llx", worker->self.host, worker->self.number, worker->self.start);
}

static enum cx_status make_folder(const char *directory, const char *name, struct cx_error *error) {
    char *path = NULL;
    enum cx_status status = cx_path_join(directory, name, &path, error);
    if (status == CX_OK)
        status = cx_folder_create(path, error);
    free(path);
    return status;
}

/* A worker that leaves removes the folder if it is empty, and may do so between our making it and our creating the file. */
int worker_create_file(const struct cx_worker *worker, const char *folder, const char *path) {
    enum { attempts = 100 };
    int descriptor = -1;
    for (int k = 0; k < attempts; k++) {
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0 || errno != ENOENT || make_folder(worker->directory, folder, NULL) != CX_OK)
            break;
    }
    return descriptor;
}

/* Opened and closed every time: network file systems pass on what was written when a file is closed. */
static enum cx_status write_sign(struct cx_worker *worker, bool first, struct cx_error *error) {
    char self[CX_PROCESS_BYTES], line[worker_line_bytes];
    cx_process_write(&worker->self, self);
    const int length = snprintf(line, sizeof line, "%s %s beat %010" PRIu64 "\n", kind_names[worker->kind], self, worker->beats++);
    const int descriptor = first ? worker_create_file(worker, WORKERS_NAME, worker->path) : open(worker->path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return cx_fail_errno(error, "open", worker->path);
    enum cx_status status = pwrite(descriptor, line, (size_t)length, 0) == length ? CX_OK : cx_fail_errno(error, "write", worker->path);
    if (close(descriptor) != 0 && status == CX_OK)
        status = cx_fail_errno(error, "write", worker->path);
    return status;
}

/* A sign that cannot be given now may be given next time; who waits too long takes over. */
static void *give_signs(void *argument) {
    struct cx_worker *worker = argument;
    pthread_mutex_lock(&worker->mutex);
    while (!worker->leaving) {
        struct timespec until;
        const double pause = worker->patience / beats_in_patience;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (time_t)pause;
        until.tv_nsec += (long)((pause - (double)(time_t)pause) * 1e9);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (pthread_cond_timedwait(&worker->changed, &worker->mutex, &until) == ETIMEDOUT)
            (void)(write_sign(worker, false, NULL) == CX_OK);
    }
    pthread_mutex_unlock(&worker->mutex);
    return NULL;
}

static enum cx_status file_of(const char *directory, const char *name, char **path, struct cx_error *error) {
    char below[worker_name_bytes + sizeof WORKERS_NAME + 1];
    snprintf(below, sizeof below, WORKERS_NAME "/%s", name);
    return cx_path_join(directory, below, path, error);
}

enum cx_status cx_worker_join(const char *directory, enum cx_cluster_kind kind, double patience, struct cx_worker **worker_pointer, struct cx_error *error) {
    struct cx_worker *worker = NULL;
    *worker_pointer = NULL;
    enum cx_status status = cx_allocate(1, sizeof *worker, "a worker", &worker, error);
    if (status != CX_OK)
        return status;
    pthread_mutex_init(&worker->mutex, NULL);
    pthread_cond_init(&worker->changed, NULL);
    worker->kind = kind;
    worker->patience = patience;
    describe_self(worker);
    status = cx_copy_text(directory, strlen(directory), &worker->directory, error);
    if (status == CX_OK)
        status = file_of(directory, worker->name, &worker->path, error);
    if (status == CX_OK) /* for its message, if the folder cannot be made */
        status = make_folder(directory, WORKERS_NAME, error);
    if (status == CX_OK)
        status = write_sign(worker, true, error);
    if (status == CX_OK) {
        const int number = pthread_create(&worker->thread, NULL, give_signs, worker);
        worker->thread_runs = number == 0;
        if (number != 0)
            status = cx_fail(error, CX_ERROR_MEMORY, "cannot start a thread for the signs of life: %s", strerror(number));
    }
    if (status == CX_OK)
        *worker_pointer = worker;
    else
        cx_worker_leave(worker);
    return status;
}

/* Folders that are still in use stay. */
static void remove_folder(const char *directory, const char *name) {
    char *path = NULL;
    if (cx_path_join(directory, name, &path, NULL) == CX_OK)
        (void)rmdir(path);
    free(path);
}

void cx_worker_leave(struct cx_worker *worker) {
    if (!worker)
        return;
    if (worker->thread_runs) {
        pthread_mutex_lock(&worker->mutex);
        worker->leaving = true;
        pthread_cond_signal(&worker->changed);
        pthread_mutex_unlock(&worker->mutex);
        pthread_join(worker->thread, NULL);
        unlink(worker->path);
        remove_folder(worker->directory, CLAIMS_NAME);
        remove_folder(worker->directory, WORKERS_NAME);
    }
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->mutex);
    free(worker->sightings);
    free(worker->path);
    free(worker->directory);
    free(worker);
}

const char *cx_worker_name(const struct cx_worker *worker) {
    return worker->name;
}

/* *line is empty if there is no such worker any more. */
static enum cx_status read_sign(const struct cx_worker *worker, const char *name, char line[worker_line_bytes], struct cx_error *error) {
    char *path = NULL;
    enum cx_status status = file_of(worker->directory, name, &path, error);
    line[0] = '\0';
    if (status == CX_OK) {
        const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
        const ssize_t length = descriptor >= 0 ? read(descriptor, line, worker_line_bytes - 1) : 0;
        if (descriptor >= 0)
            close(descriptor);
        else if (errno != ENOENT && errno != ESTALE)
            status = cx_fail_errno(error, "open", path);
        /* Empty while its worker creates it: that is a sign, too. */
        snprintf(line + (length > 0 ? length : 0), (size_t)(worker_line_bytes - (length > 0 ? length : 0)), "%s", descriptor >= 0 ? " " : "");
    }
    free(path);
    return status;
}

static bool parse_sign(const char *line, struct facts *facts) {
    int behind = 0;
    return sscanf(line, "%15s %n", facts->kind, &behind) == 1 && cx_process_read(line + behind, &facts->process);
}

/* No need to wait for one whose process is gone. */
static bool process_is_gone(const char *line) {
    struct facts facts;
    return parse_sign(line, &facts) && cx_process_is_gone(&facts.process);
}

enum cx_status worker_is_patient(struct cx_worker *worker, const char *name, const char *line, bool *patient, struct cx_error *error) {
    struct sighting *sighting = NULL;
    for (size_t k = 0; k < worker->sighting_count && !sighting; k++)
        if (strcmp(worker->sightings[k].name, name) == 0)
            sighting = &worker->sightings[k];
    if (!sighting) {
        enum cx_status status =
            cx_reserve(&worker->sightings, &worker->sighting_capacity, worker->sighting_count + 1, sizeof *worker->sightings, "the other workers", error);
        if (status != CX_OK)
            return status;
        sighting = &worker->sightings[worker->sighting_count++];
        *sighting = (struct sighting){.since = cx_monotonic_seconds()};
        snprintf(sighting->name, sizeof sighting->name, "%s", name);
        snprintf(sighting->line, sizeof sighting->line, "%s", line);
    }
    if (strcmp(sighting->line, line) != 0) {
        snprintf(sighting->line, sizeof sighting->line, "%s", line);
        sighting->since = cx_monotonic_seconds();
    }
    *patient = cx_monotonic_seconds() - sighting->since < worker->patience;
    return CX_OK;
}

enum cx_status worker_may_live(struct cx_worker *worker, const char *name, bool *lives, struct cx_error *error) {
    char line[worker_line_bytes];
    enum cx_status status = read_sign(worker, name, line, error);
    *lives = true;
    if (status != CX_OK)
        return status;
    if (line[0] == '\0' || process_is_gone(line)) {
        *lives = false;
        return CX_OK;
    }
    return worker_is_patient(worker, name, line, lives, error);
}

static enum cx_status fail_other(const struct cx_worker *worker, const char *line, struct cx_error *error) {
    struct facts facts = {0};
    if (!parse_sign(line, &facts))
        return cx_fail(error, CX_ERROR_CONFLICT, "%s: another process is writing to it; wait for it, or choose another folder", worker->directory);
    return cx_fail(error, CX_ERROR_CONFLICT,
                   "%s: process %ld on host %s has been writing to it since %s (--cluster %s); wait for it or stop it, or choose another folder%s",
                   worker->directory, facts.process.number, facts.process.host, facts.process.since, facts.kind,
                   strcmp(facts.kind, kind_names[CX_CLUSTER_FOLDER]) == 0 ? ", or help it with --cluster folder" : "");
}

static bool is_alone(const char *kind) {
    return strcmp(kind, kind_names[CX_CLUSTER_OFF]) == 0 || strcmp(kind, kind_names[CX_CLUSTER_MPI]) == 0;
}

/* The ways that share by claims or by number work beside their like. Among those that need the folder to themselves a claim decides, see cx_claim_insist(). */
static bool is_tolerated(const struct cx_worker *worker, const struct facts *facts) {
    if (worker->kind == CX_CLUSTER_FOLDER || worker->kind == CX_CLUSTER_ARRAY)
        return strcmp(facts->kind, kind_names[worker->kind]) == 0;
    return is_alone(facts->kind);
}

static void remove_sign(const struct cx_worker *worker, const char *name) {
    char *path = NULL;
    if (file_of(worker->directory, name, &path, NULL) == CX_OK)
        (void)unlink(path);
    free(path);
}

static const struct sighting *find_sighting(const struct cx_worker *worker, const char *name) {
    for (size_t k = 0; k < worker->sighting_count; k++)
        if (strcmp(worker->sightings[k].name, name) == 0)
            return &worker->sightings[k];
    return NULL;
}

/* Looks at one other worker. *unsure: it must be looked at again, for only its silence can tell. */
static enum cx_status judge(struct cx_worker *worker, const char *name, bool *unsure, struct cx_error *error) {
    char line[worker_line_bytes];
    struct facts facts = {0};
    bool lives = true;
    enum cx_status status = read_sign(worker, name, line, error);
    if (status != CX_OK || line[0] == '\0')
        return status;
    const struct sighting *before = find_sighting(worker, name);
    const bool changed = before && strcmp(before->line, line) != 0;
    if ((status = worker_may_live(worker, name, &lives, error)) != CX_OK)
        return status;
    if (!lives) {
        remove_sign(worker, name);
        return CX_OK;
    }
    const bool parsed = parse_sign(line, &facts);
    if (parsed && is_tolerated(worker, &facts))
        return CX_OK;
    if (changed || (parsed && cx_process_is_of_this_host(&facts.process)))
        return fail_other(worker, line, error);
    *unsure = true;
    return CX_OK;
}

enum cx_status worker_refuse_living(const struct cx_worker *worker, const char *name, char before[worker_line_bytes], struct cx_error *error) {
    char line[worker_line_bytes];
    struct facts facts;
    enum cx_status status = read_sign(worker, name, line, error);
    if (status != CX_OK || line[0] == '\0' || process_is_gone(line))
        return status;
    const bool is_here = parse_sign(line, &facts) && cx_process_is_of_this_host(&facts.process), has_changed = before[0] && strcmp(before, line) != 0;
    memcpy(before, line, sizeof line);
    return is_here || has_changed ? fail_other(worker, line, error) : CX_OK;
}

/* `look` is given every other worker of the folder. */
static enum cx_status look_at_others(struct cx_worker *worker, enum cx_status (*look)(struct cx_worker *, const char *, bool *, struct cx_error *),
                                     bool *unsure, struct cx_error *error) {
    char *folder = NULL;
    DIR *entries = NULL;
    enum cx_status status = cx_path_join(worker->directory, WORKERS_NAME, &folder, error);
    if (status == CX_OK && !(entries = opendir(folder)) && errno != ENOENT && errno != ENOTDIR)
        status = cx_fail_errno(error, "read the folder", folder);
    for (struct dirent *entry; status == CX_OK && entries && (entry = readdir(entries)) != NULL;)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, worker->name) != 0 && strlen(entry->d_name) < worker_name_bytes)
            status = look(worker, entry->d_name, unsure, error);
    if (entries)
        closedir(entries);
    free(folder);
    return status;
}

enum cx_status cx_worker_refuse_others(struct cx_worker *worker, struct cx_error *error) {
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    enum cx_status status = CX_OK;
    for (bool unsure = true; status == CX_OK && unsure;) {
        unsure = false;
        status = look_at_others(worker, judge, &unsure, error);
        if (status == CX_OK && unsure)
            nanosleep(&pause, NULL);
    }
    return status;
}

static enum cx_status remove_if_dead(struct cx_worker *worker, const char *name, bool *unsure, struct cx_error *error) {
    bool lives = true;
    (void)unsure;
    enum cx_status status = worker_may_live(worker, name, &lives, error);
    if (status == CX_OK && !lives)
        remove_sign(worker, name);
    return status;
}

void cx_workers_clear(struct cx_worker *worker) {
    bool unsure;
    (void)(look_at_others(worker, remove_if_dead, &unsure, NULL) == CX_OK);
}

enum cx_status cx_workers_refuse(const char *directory, enum cx_cluster_kind kind, double patience, struct cx_error *error) {
    struct cx_worker looker = {.kind = kind, .patience = patience};
    describe_self(&looker);
    enum cx_status status = cx_copy_text(directory, strlen(directory), &looker.directory, error);
    if (status == CX_OK)
        status = cx_worker_refuse_others(&looker, error);
    free(looker.sightings);
    free(looker.directory);
    return status;
}
