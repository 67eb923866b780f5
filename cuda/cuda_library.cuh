/*
 * Libraries that are opened at run time. Linked, hundreds of megabytes would be mapped by every start of the program, and a machine without them could not
 * even print the help; opened, their absence is a reason like a missing GPU.
 */
#ifndef CONTEXTURE_CUDA_LIBRARY_CUH
#define CONTEXTURE_CUDA_LIBRARY_CUH

#include <cstddef>

/* The first of `places` that there is; it stays in memory for the process' life, for such libraries have threads and exit handlers of their own. NULL with
   the reason "<what> cannot be opened (…)", that of the first place. */
void *cuda_library_open(const char *what, const char *const *places, size_t count, char *reason, size_t size);

/* NULL with the reason "the <name> on this machine has no function <function>". */
void *cuda_library_find(void *library, const char *name, const char *function, char *reason, size_t size);

void cuda_library_close(void *library); /* NULL is allowed */

#endif
