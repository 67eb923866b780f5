#include "team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "contexture/checkpoint.h"
#include "contexture/clock.h"
#include "contexture/memory.h"

enum { device_bytes = 64, fingerprint_bytes = 33, reason_bytes = 512 };
enum { progress_numbers = sizeof(struct cx_ranks_progress) / sizeof(double) };

_Static_assert((int)progress_numbers <= (int)CX_TEAM_SUMS, "one sum takes all");

/* What a rank says of itself: "DEVICE OUTLINE 1", behind which rank 0 has the team's id, or "DEVICE OUTLINE 0 why it can be of no team". */
struct member {
    char device[device_bytes], outline[fingerprint_bytes], rest[reason_bytes];
    bool able;
};

/* --- lines --- */

static enum cx_status write_id(const struct team *team, char *text, size_t size, struct cx_error *error) {
    unsigned char id[CX_TEAM_ID_BYTES];
    enum cx_status status = team->backend->operations->team->make_id(team->backend, id, error);
    for (size_t k = 0; status == CX_OK && k < sizeof id; k++)
        snprintf(text + 2 * k, size - 2 * k, "%02x", id[k]);
    return status;
}

static bool read_id(const char *text, unsigned char id[CX_TEAM_ID_BYTES]) {
    unsigned byte;
    for (size_t k = 0; k < CX_TEAM_ID_BYTES; k++) {
        if (sscanf(text + 2 * k, "%2x", &byte) != 1)
            return false;
        id[k] = (unsigned char)byte;
    }
    return true;
}

static enum cx_status describe_self(const struct team *team, const struct team_options *options, struct member *self, struct cx_error *error) {
    const struct cx_backend_operations *operations = team->backend->operations;
    *self = (struct member){.able = false};
    operations->device_name(team->backend, self->device, sizeof self->device);
    enum cx_status status = cx_checkpoint_outline(options->settings->model, self->outline, error);
    if (status != CX_OK)
        return status;
    if (options->settings->nccl)
        self->able = operations->team->find(team->backend, self->rest, sizeof self->rest);
    else
        snprintf(self->rest, sizeof self->rest, "--no-nccl was given");
    if (self->able)
        self->rest[0] = '\0';
    for (char *end = self->rest; (end = strchr(end, '\n')) != NULL;)
        *end = ' ';
    return self->able && cx_ranks_rank(team->ranks) == 0 ? write_id(team, self->rest, sizeof self->rest, error) : CX_OK;
}

static bool read_line(const char *line, struct member *member) {
    int able = 0, behind = 0;
    *member = (struct member){.able = false};
    if (sscanf(line, "%63s %32s %d%n", member->device, member->outline, &able, &behind) != 3 || line[behind] != ' ')
        return false;
    member->able = able == 1;
    snprintf(member->rest, sizeof member->rest, "%.*s", (int)strcspn(line + behind + 1, "\n"), line + behind + 1);
    return true;
}

static enum cx_status read_members(const char *lines, struct member *members, int count, struct cx_error *error) {
    for (int rank = 0; rank < count; rank++) {
        const char *end = strchr(lines, '\n');
        if (!end || !read_line(lines, &members[rank]))
            return cx_fail(error, CX_ERROR_INTERNAL, "rank %d describes itself in a way that is not understood", rank);
        lines = end + 1;
    }
    return CX_OK;
}

/* --- what they decide, every rank by itself and all the same --- */

static enum cx_status refuse_shared_devices(const struct member *members, int count, struct cx_error *error) {
    for (int rank = 1; rank < count; rank++)
        for (int other = 0; other < rank; other++)
            if (strcmp(members[rank].device, members[other].device) == 0)
                return cx_fail(error, CX_ERROR_DEVICE,
                               "ranks %d and %d would share one GPU (%s), and two on one are refused: start as many ranks on a node as it has GPUs, each of "
                               "which sees all of them or one of its own",
                               other, rank, members[rank].device);
    return CX_OK;
}

static enum cx_status refuse_other_models(const struct member *members, int count, const char *model, struct cx_error *error) {
    for (int rank = 1; rank < count; rank++)
        if (strcmp(members[rank].outline, members[0].outline) != 0)
            return cx_fail(error, CX_ERROR_CONFLICT,
                           "rank %d finds another model in %s than rank 0: its configuration, tensors or tokenizer differ; give all nodes the same files", rank,
                           model);
    return CX_OK;
}

/* Where every rank reads the weights itself. Ranks of one node read the same pages of memory. */
static enum cx_status check_model(const struct team *team, const struct team_options *options, struct cx_error *error) {
    char fingerprint[fingerprint_bytes];
    if (cx_ranks_rank(team->ranks) == 0)
        return CX_OK;
    enum cx_status status = cx_checkpoint_fingerprint(options->settings->model, fingerprint, error);
    if (status == CX_OK && strcmp(fingerprint, options->model_fingerprint) != 0)
        status = cx_fail(error, CX_ERROR_CONFLICT, "%s: the model is %s here, and that of rank 0 is %s; give all nodes the same files",
                         options->settings->model, fingerprint, options->model_fingerprint);
    return status;
}

static void tell_reason(const struct team *team, const struct team_options *options, int rank, const char *reason) {
    char sentence[reason_bytes + 128];
    const struct cx_run_observer *observer = options->observer;
    if (cx_ranks_rank(team->ranks) > 0 || !observer->notice || !options->settings->nccl)
        return;
    snprintf(sentence, sizeof sentence, "every rank reads the weights itself, because rank %d cannot get them from rank 0: %s", rank, reason);
    observer->notice(observer->context, sentence);
}

static bool others_have_stopped(void *ranks) {
    return cx_ranks_stopped(ranks);
}

static enum cx_status decide(struct team *team, const struct team_options *options, const struct member *members, int count, struct cx_error *error) {
    enum cx_status status = refuse_shared_devices(members, count, error);
    if (status == CX_OK)
        status = refuse_other_models(members, count, options->settings->model, error);
    if (status != CX_OK)
        return status;
    for (int rank = 0; rank < count; rank++) {
        if (members[rank].able)
            continue;
        tell_reason(team, options, rank, members[rank].rest);
        return check_model(team, options, error);
    }
    unsigned char id[CX_TEAM_ID_BYTES];
    if (!read_id(members[0].rest, id))
        return cx_fail(error, CX_ERROR_INTERNAL, "rank 0 has not named the team");
    const struct cx_team_place place = {cx_ranks_rank(team->ranks), count, options->settings->patience, others_have_stopped, team->ranks};
    team->joined = true; /* so that a failure is left, too */
    return team->backend->operations->team->join(team->backend, &place, id, error);
}

enum cx_status team_open(struct team *team, struct cx_ranks *ranks, struct cx_backend *backend, const struct team_options *options, struct cx_error *error) {
    const double usual_interval = 2, in_patience = 8;
    *team = (struct team){.ranks = ranks, .backend = backend};
    if (!ranks || cx_ranks_size(ranks) == 1)
        return CX_OK;
    team->interval = options->settings->patience / in_patience < usual_interval ? options->settings->patience / in_patience : usual_interval;
    if (!backend->operations->team)
        return check_model(team, options, error);
    const int count = cx_ranks_size(ranks);
    char line[device_bytes + fingerprint_bytes + reason_bytes + 4], *lines = NULL;
    struct member self, *members = NULL;
    enum cx_status status = describe_self(team, options, &self, error);
    if (status == CX_OK)
        status = cx_allocate((size_t)count, sizeof *members, "what the ranks say", &members, error);
    if (status == CX_OK) {
        snprintf(line, sizeof line, "%s %s %d %s", self.device, self.outline, self.able, self.rest);
        status = cx_ranks_exchange(ranks, line, &lines, error);
    }
    if (status == CX_OK)
        status = read_members(lines, members, count, error);
    if (status == CX_OK)
        status = decide(team, options, members, count, error);
    free(members);
    free(lines);
    return status;
}

static void note_fault(struct team *team, enum cx_status status, const struct cx_error *error) {
    if (!team->joined || team_is_faulty(team))
        return;
    if (error)
        team->fault = *error;
    team->fault.status = status;
    atomic_store(&team->is_faulty, true);
}

enum cx_status team_fail(struct team *team, enum cx_status status, const struct cx_error *error) {
    note_fault(team, status, error);
    return status;
}

/* --- sums --- */

/* A sum that is under way is looked at, one that was called for is begun. */
static enum cx_status go_on(struct team *team, struct cx_error *error) {
    const struct cx_team_operations *operations = team->backend->operations->team;
    if (team->summing) {
        bool done = false;
        double sums[CX_TEAM_SUMS];
        enum cx_status status = operations->sum_look(team->backend, sums, &done, error);
        if (status == CX_OK && done) {
            memcpy(&team->all, sums, sizeof team->all);
            team->summing = false;
        }
        return status;
    }
    if (cx_ranks_sums_called(team->ranks) == team->sums_begun)
        return CX_OK;
    double values[progress_numbers];
    memcpy(values, &team->own, sizeof values);
    team->summing = true;
    team->sums_begun++;
    team->begun_at = cx_monotonic_seconds();
    return operations->sum_begin(team->backend, values, progress_numbers, error);
}

static void look_after_sum(struct team *team) {
    struct cx_error error = {0};
    enum cx_status status = go_on(team, &error);
    if (status != CX_OK)
        note_fault(team, status, &error);
}

void team_tick(struct team *team, const struct cx_ranks_progress *own, struct cx_ranks_progress *all) {
    if (!team->joined || team_is_faulty(team))
        return;
    /* The calls come from one rank, so that all begin within a tick of each other: a device that waits for the others' numbers has less for its own work. */
    if (cx_ranks_rank(team->ranks) == 0 && !team->summing && cx_monotonic_seconds() - team->begun_at >= team->interval)
        cx_ranks_call_sum(team->ranks);
    team->own = *own;
    look_after_sum(team);
    /* From the first rank on that is done, sums are no longer called for, and messages know more. */
    if (team->all.tokens > all->tokens)
        *all = team->all;
}

bool team_is_faulty(const struct team *team) {
    return atomic_load(&team->is_faulty);
}

enum cx_status team_end(struct team *team, enum cx_status status, struct cx_error *error) {
    const struct timespec pause = {.tv_nsec = 1000 * 1000};
    if (!team->joined)
        return status;
    if (status == CX_OK && !team_is_faulty(team))
        cx_ranks_end_sums(team->ranks);
    while (status == CX_OK && !team_is_faulty(team) && (team->summing || cx_ranks_sums_called(team->ranks) > team->sums_begun)) {
        look_after_sum(team);
        nanosleep(&pause, NULL);
    }
    if (!team_is_faulty(team) || (status != CX_OK && status != CX_ERROR_INTERRUPTED))
        return status;
    return cx_fail(error, team->fault.status, "%s", team->fault.message);
}

void team_close(struct team *team, bool together) {
    if (team->joined)
        team->backend->operations->team->leave(team->backend, together);
    team->joined = false;
}
