/* What threads ask of the copy engine: done at once or, as late as threads can do without it, by the seed. */
#ifndef CUDA_EMULATION_COPY_ENGINE_H
#define CUDA_EMULATION_COPY_ENGINE_H

#include <functional>

namespace emulation {

/* Both run as the emulation's ThreadSanitizer fibre; operations announce nothing there. `block`: of the cluster, whose shared memory is written. */
void engine_issue(unsigned block, std::function<void()> operation);
/* False: nothing is left to do. */
bool engine_run_one();
/* Fails when something is left to do for the block, though it has ended. */
void engine_check_idle(unsigned block);

} /* namespace emulation */

#endif
