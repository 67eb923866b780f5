# The CUDA backend itself on the emulation: the same tests that every backend passes, opened by cx_backend_open like any other.
file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/*.cu)
emulated_cuda_library(contexture_cuda_emulated ${cuda_sources})
set_target_properties(contexture_cuda_emulated PROPERTIES CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON)
target_link_libraries(contexture_cuda_emulated PUBLIC contexture_base)

# The compute part once more, over the emulated backend instead of the real one.
file(GLOB compute_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/host/compute/*.c)
set_property(SOURCE ${PROJECT_SOURCE_DIR}/host/compute/backend.c APPEND PROPERTY INCLUDE_DIRECTORIES ${PROJECT_SOURCE_DIR}/host/cpu ${PROJECT_SOURCE_DIR}/cuda)
add_library(contexture_compute_emulated STATIC ${compute_sources})
target_include_directories(contexture_compute_emulated PRIVATE ${PROJECT_SOURCE_DIR}/host/compute)
target_link_libraries(contexture_compute_emulated PUBLIC contexture_base contexture_cpu contexture_cuda_emulated)

# emulated_backend_test(name sources argument…): a test program of tests/ over the emulated backend.
function(emulated_backend_test name sources)
  list(TRANSFORM sources PREPEND ${PROJECT_SOURCE_DIR}/tests/)
  add_executable(test_${name}_emulated ${sources})
  target_include_directories(test_${name}_emulated PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(test_${name}_emulated PRIVATE contexture_compute_emulated PkgConfig::CMOCKA)
  set_target_properties(test_${name}_emulated PROPERTIES LINKER_LANGUAGE CXX)
  foreach(seed 0 1 4 5)
    add_test(NAME cuda_${name}_seed${seed} COMMAND test_${name}_emulated ${ARGN})
    emulated_cuda_test_properties(cuda_${name}_seed${seed} ${seed})
  endforeach()
endfunction()

emulated_backend_test(backend "test_backend.c;op_inputs.c;op_runners.c;op_reference.c" cuda)
emulated_backend_test(decompose "test_decompose.c" cuda)
