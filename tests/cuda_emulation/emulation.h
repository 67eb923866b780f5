/* What tests may ask of the emulation beyond CUDA's own functions. */
#ifndef CUDA_EMULATION_EMULATION_H
#define CUDA_EMULATION_EMULATION_H

#ifdef __cplusplus
extern "C" {
#endif

struct emulation_statistics {
    unsigned long kernels;                /* launched */
    unsigned long matrix_loads;           /* 8x8 matrices that ldmatrix read */
    unsigned long matrix_load_conflicts;  /* of these with a bank conflict */
    unsigned long product_loads;          /* groups of eight lines of 16 bytes that wgmma read */
    unsigned long product_load_conflicts; /* likewise */
    unsigned long pageable_copies;        /* asynchronous copies that were not, since the host memory was not pinned */
    unsigned long allocations;            /* cudaMalloc, cudaMallocHost, cudaHostAlloc, cudaStreamCreate…, cudaEventCreate… */
    unsigned long device_bytes;           /* allocated now */
    unsigned long products;               /* cublasLtMatmul */
    unsigned long heuristics;             /* cublasLtMatmulAlgoGetHeuristic */
};

/* Environment variable EMULATION_SEED; see scheduler.h. */
void emulation_set_seed(unsigned seed);

/* From now on the k-th call (1: the next) of the CUDA or cuBLASLt function, or of any with "any", returns `code`. A code that
   is sticky on a device (an illegal address, say) is returned by all later calls too; as a negative number by the later ones alone, as where a kernel
   fails while the host goes on. k = 0: no failure any more.
   Environment variable EMULATION_FAIL=function:k:code. */
void emulation_fail_call(const char *function, unsigned long k, int code);
/* Calls of all functions so far; what to choose k from for "any". */
unsigned long emulation_call_count(void);
/* Forgets a sticky error, which a real process cannot. */
void emulation_reset_errors(void);

/* From now on `call` is called before (is_done 0) and after every cublasLtMatmul, when it runs, with the memory of its matrices: to damage them. NULL: nobody.
 */
void emulation_watch_products(void (*call)(void *context, int is_done, void *a, void *b, void *d), void *context);

void emulation_get_statistics(struct emulation_statistics *statistics);

#ifdef __cplusplus
}
#endif

#endif
