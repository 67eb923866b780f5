/* One line about the processor. */
#include "cpu_backend.h"

#include <stdio.h>
#include <string.h>

/* "model name" of /proc/cpuinfo; "processor" where there is none. */
static void processor_name(char *name, size_t size) {
    char line[256];
    snprintf(name, size, "processor");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(name, size, "%s", colon);
        break;
    }
    fclose(file);
}

void cpu_backend_describe(int threads, char *text, size_t size) {
    char name[128];
    processor_name(name, sizeof name);
    if (threads > 0)
        snprintf(text, size, "%s, %d thread%s, %s kernels", name, threads, threads == 1 ? "" : "s", cpu_kernels_select()->name);
    else
        snprintf(text, size, "%s, %s kernels", name, cpu_kernels_select()->name);
}
