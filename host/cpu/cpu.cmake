contexture_library(cpu contexture_base OpenMP::OpenMP_C PkgConfig::OPENBLAS)

include(CheckSymbolExists)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::OPENBLAS)
check_symbol_exists(openblas_set_num_threads cblas.h CX_HAVE_OPENBLAS_SET_NUM_THREADS)
unset(CMAKE_REQUIRED_LIBRARIES)
if(CX_HAVE_OPENBLAS_SET_NUM_THREADS)
  set_source_files_properties(${PROJECT_SOURCE_DIR}/host/cpu/cpu_blas.c PROPERTIES COMPILE_DEFINITIONS CX_HAVE_OPENBLAS_SET_NUM_THREADS)
endif()
