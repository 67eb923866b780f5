#include <stdlib.h>

#include "peers.h"

/* As Open MPI's mpirun, Slurm's srun, and MPICH's mpiexec say it. A batch script alone has SLURM_NTASKS, but no step. */
int peers_launched(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "PMI_SIZE"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const char *text = getenv(names[k]);
        const long size = text ? strtol(text, NULL, 10) : 0;
        if (size > 0)
            return size < 1 << 24 ? (int)size : 1 << 24;
    }
    return 1;
}
