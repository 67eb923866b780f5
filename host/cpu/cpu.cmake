contexture_library(cpu contexture_base OpenMP::OpenMP_C PkgConfig::OPENBLAS)

include(CheckSymbolExists)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::OPENBLAS)
check_symbol_exists(openblas_set_num_threads cblas.h CX_HAVE_OPENBLAS_SET_NUM_THREADS)
unset(CMAKE_REQUIRED_LIBRARIES)
if(CX_HAVE_OPENBLAS_SET_NUM_THREADS)
  set_source_files_properties(${PROJECT_SOURCE_DIR}/host/cpu/cpu_blas.c PROPERTIES COMPILE_DEFINITIONS CX_HAVE_OPENBLAS_SET_NUM_THREADS)
endif()

# The kernels, once for every instruction set. Fused multiply-add is wanted; NaN and infinity keep their meaning.
set(CX_KERNEL_FLAGS -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math)
if(CX_SANITIZE)
  list(TRANSFORM CX_KERNEL_FLAGS REPLACE -O3 -O1) # the checks in unrolled loops would take the compiler a minute
endif()
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  # Clang reports loops marked `omp simd` that it leaves scalar; they are right all the same.
  list(APPEND CX_KERNEL_FLAGS -Wno-pass-failed)
endif()
set(CX_KERNEL_FLAGS_base "")
set(CX_KERNEL_FLAGS_v3 "")
set(CX_KERNEL_FLAGS_v4 "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(CX_KERNEL_FLAGS_v3 -march=x86-64-v3)
  set(CX_KERNEL_FLAGS_v4 -march=x86-64-v4 -mprefer-vector-width=512)
endif()
foreach(kernels cpu_kernels pair_kernel)
  foreach(set base v3 v4)
    set_source_files_properties(${PROJECT_SOURCE_DIR}/host/cpu/${kernels}_${set}.c PROPERTIES COMPILE_OPTIONS "${CX_KERNEL_FLAGS};${CX_KERNEL_FLAGS_${set}}")
  endforeach()
endforeach()
include(${PROJECT_SOURCE_DIR}/host/cpu/pair.cmake OPTIONAL)

# The one file outside that chooses among backends.
set_property(SOURCE ${PROJECT_SOURCE_DIR}/host/compute/backend.c APPEND PROPERTY INCLUDE_DIRECTORIES ${PROJECT_SOURCE_DIR}/host/cpu)
