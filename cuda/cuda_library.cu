#include "cuda_library.cuh"

#include <cstdio>
#include <dlfcn.h>

void *cuda_library_open(const char *what, const char *const *places, size_t count, char *reason, size_t size) {
    for (size_t k = 0; k < count; k++) {
        void *library = dlopen(places[k], RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
        if (library)
            return library;
        const char *text = dlerror();
        if (k == 0)
            snprintf(reason, size, "%s cannot be opened (%s)", what, text ? text : places[k]);
    }
    return NULL;
}

void *cuda_library_find(void *library, const char *name, const char *function, char *reason, size_t size) {
    void *found = dlsym(library, function);
    if (!found)
        snprintf(reason, size, "the %s on this machine has no function %s", name, function);
    return found;
}

void cuda_library_close(void *library) {
    if (library)
        (void)dlclose(library);
}
