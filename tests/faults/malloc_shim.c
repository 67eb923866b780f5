/*
 * Preloaded into a program, lets one of its own requests for memory fail: the FAULT_AT-th (from 1) that is made by the program itself or by jansson, which
 * makes its JSON. What other libraries do without memory is theirs: OpenMP and OpenBLAS end the process. FAULT_KIND=sticky: all later ones fail, too. With
 * FAULT_AT=0 none fails, and their number is written to FAULT_COUNT_FILE at the end.
 */
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* glibc's own, under names that nothing takes the place of. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

struct range {
    uintptr_t begin, end;
};

static struct range ours[2];
static long fault_at;
static bool sticky;
static _Atomic long counted;

/* The first object is the program, and has no name. */
static int find_ours(struct dl_phdr_info *object, size_t size, void *context) {
    int *seen = context;
    (void)size;
    const bool program = (*seen)++ == 0;
    if (!program && !strstr(object->dlpi_name, "/libjansson"))
        return 0;
    for (int k = 0; k < object->dlpi_phnum; k++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[k];
        const uintptr_t begin = object->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD && segment->p_flags & PF_X)
            ours[program ? 0 : 1] = (struct range){begin, begin + segment->p_memsz};
    }
    return 0;
}

__attribute__((constructor)) static void prepare(void) {
    int seen = 0;
    const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
    sticky = kind && strcmp(kind, "sticky") == 0;
    fault_at = at ? atol(at) : 0;
    dl_iterate_phdr(find_ours, &seen);
}

__attribute__((destructor)) static void write_count(void) {
    const char *path = getenv("FAULT_COUNT_FILE");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file)
        return;
    fprintf(file, "%ld\n", atomic_load(&counted));
    fclose(file);
}

static bool fails(const void *caller) {
    const uintptr_t place = (uintptr_t)caller;
    if (!(place >= ours[0].begin && place < ours[0].end) && !(place >= ours[1].begin && place < ours[1].end))
        return false;
    const long number = atomic_fetch_add(&counted, 1) + 1;
    if (fault_at == 0 || number < fault_at || (number > fault_at && !sticky))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    *memory = fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}
