/* What threads ask of the copy engine: done at once or, as late as threads can do without it, by the seed. */
#ifndef CUDA_EMULATION_COPY_ENGINE_H
#define CUDA_EMULATION_COPY_ENGINE_H

#include <functional>

namespace emulation {

/* Both run as the emulation's ThreadSanitizer fibre; operations announce nothing there. */
void engine_issue(std::function<void()> operation);
/* False: nothing is left to do. */
bool engine_run_one();
/* Fails when something is left to do, though the block has ended. */
void engine_check_idle();

} /* namespace emulation */

#endif
