#ifndef CUDA_EMULATION_STATISTICS_H
#define CUDA_EMULATION_STATISTICS_H

#include "emulation.h"

namespace emulation {

extern emulation_statistics statistics;

} /* namespace emulation */

#endif
