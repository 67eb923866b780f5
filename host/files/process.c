#include "contexture/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Fields 3 and 22 of /proc/<number>/stat; the second field, in brackets, may hold blanks. 0 if there is no such process, or if it only waits for its parent. */
static unsigned long long start_of(long number) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", number);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    const size_t length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[length] = '\0';
    const char *field = strrchr(line, ')');
    if (!field || strlen(field) < 3 || field[2] == 'Z' || field[2] == 'X')
        return 0;
    for (int k = 2; field && k < 22; k++)
        field = strchr(field + 1, ' ');
    return field ? strtoull(field, NULL, 10) : 0;
}

static void name_host(char *host, size_t size) {
    memset(host, 0, size);
    if (gethostname(host, size - 1) != 0 || host[0] == '\0')
        snprintf(host, size, "unknown");
    for (char *c = host; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *c))
            *c = '_';
}

void cx_process_describe_self(struct cx_process *self) {
    const time_t now = time(NULL);
    struct tm utc;
    *self = (struct cx_process){.number = (long)getpid(), .start = start_of((long)getpid())};
    name_host(self->host, sizeof self->host);
    if (!gmtime_r(&now, &utc) || strftime(self->since, sizeof self->since, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        snprintf(self->since, sizeof self->since, "unknown");
}

void cx_process_write(const struct cx_process *process, char text[CX_PROCESS_BYTES]) {
    snprintf(text, CX_PROCESS_BYTES, "process %ld host %s start %llu since %s", process->number, process->host, process->start, process->since);
}

bool cx_process_read(const char *text, struct cx_process *process) {
    *process = (struct cx_process){0};
    return sscanf(text, "process %ld host %71s start %llu since %31s", &process->number, process->host, &process->start, process->since) == 4;
}

bool cx_process_is_of_this_host(const struct cx_process *process) {
    char host[sizeof process->host];
    name_host(host, sizeof host);
    return strcmp(process->host, host) == 0;
}

bool cx_process_is_gone(const struct cx_process *process) {
    if (!cx_process_is_of_this_host(process))
        return false;
    return (kill((pid_t)process->number, 0) != 0 && errno == ESRCH) || start_of(process->number) != process->start;
}
