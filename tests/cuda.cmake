# The CUDA backend: the tests that every backend passes, and its own. On a GPU, skipped without one; in a build with CX_CUDA=EMULATED on the emulation, under
# a few of its schedules (tests/cuda_emulation/scheduler.h): 0 is the plainest, 5 a random one.
foreach(name pairs words fused forward)
  contexture_test(cuda_${name} contexture_op_cases)
  target_sources(test_cuda_${name} PRIVATE cuda_cases.c op_reference.c op_reference_parts.c op_reference_ranks.c)
endforeach()
target_sources(test_cuda_words PRIVATE cuda_word_cases.c)

if(NOT CX_CUDA STREQUAL "EMULATED") # there with the stand-in: cuda_nccl.cmake
  contexture_test(cuda_team contexture_compute)
endif()

# Minutes of CPU time: two schedules of these; under AddressSanitizer one, and that of the layer sequence, the forward precisions and words alone.
# test_cuda_kernels, a selection of them, has more schedules and runs under every sanitizer (tests/cuda_emulation/kernels.tests.cmake).
set(cuda_seeds 0 5)
if(CX_SANITIZE)
  set(cuda_seeds 5)
endif()

# cuda_backend_test(name target argument…)
function(cuda_backend_test name target)
  if(CX_CUDA STREQUAL "EMULATED" AND NOT EMULATION_MISSING)
    foreach(seed ${cuda_seeds})
      add_test(NAME cuda_${name}_seed${seed} COMMAND ${target} ${ARGN})
      set_tests_properties(cuda_${name}_seed${seed} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1200 COST 1200 ENVIRONMENT
        "EMULATION_DEVICES=1;EMULATION_MULTIPROCESSORS=3;EMULATION_SEED=${seed};TSAN_OPTIONS=halt_on_error=1 exitcode=66;OMP_NUM_THREADS=1;OPENBLAS_NUM_THREADS=1")
    endforeach()
  else()
    add_test(NAME cuda_${name} COMMAND ${target} ${ARGN})
    set_tests_properties(cuda_${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
  endif()
endfunction()

cuda_backend_test(decompose test_decompose cuda)
if(CX_CUDA STREQUAL "EMULATED" AND NOT EMULATION_MISSING)
  cuda_backend_test(forward test_cuda_forward)
  cuda_backend_test(words test_cuda_words)
endif()
if(NOT CX_SANITIZE OR NOT CX_CUDA STREQUAL "EMULATED") # all of their kernels under a sanitizer: test_cuda_kernels
  cuda_backend_test(operations test_backend cuda)
endif()
if(CX_CUDA STREQUAL "EMULATED" AND NOT EMULATION_MISSING AND NOT CX_SANITIZE)
  cuda_backend_test(pairs test_cuda_pairs)
  # A minute: one schedule; fewer tiles of the same kernels run under all of them in test_cuda_fused_schedules.
  set(cuda_seeds 5)
  cuda_backend_test(fused_small test_cuda_fused small)
  cuda_backend_test(fused_large test_cuda_fused large)
  set_tests_properties(cuda_fused_large_seed5 PROPERTIES LABELS thorough)
endif()

# The whole program.
if(TARGET contexture AND CX_CUDA STREQUAL "EMULATED" AND NOT EMULATION_MISSING)
  contexture_python_test(cuda_program "cuda_program.py;$<TARGET_FILE:contexture>" 600)
elseif(TARGET contexture AND CX_HAVE_CUDA)
  contexture_python_test(cuda_program "cuda_program.py;$<TARGET_FILE:contexture>;--device" 600)
endif()

# All kernels for all architectures by nvcc; registers and spills go to a file. No GPU is needed.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND AND NOT CX_SANITIZE AND NOT CX_CUDA STREQUAL "EMULATED")
  add_test(NAME cuda_check_kernels COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/script/check-kernels --output ${CMAKE_BINARY_DIR}/kernels.json)
  set_tests_properties(cuda_check_kernels PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800 RUN_SERIAL ON LABELS thorough)
endif()
