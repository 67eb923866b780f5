#include "contexture/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* Fields 3 and 22 of /proc/<process>/stat; the second field, in brackets, may hold blanks. */
unsigned long long cx_process_start(long process) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", process);
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

bool cx_process_is_gone(long process, unsigned long long start) {
    return (kill((pid_t)process, 0) != 0 && errno == ESRCH) || cx_process_start(process) != start;
}
