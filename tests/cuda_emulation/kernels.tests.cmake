# The kernels of cuda/, in builds whose CUDA backend is the emulated one.
if(CX_CUDA STREQUAL "EMULATED")
  add_library(emulated_op_cases STATIC ../op_inputs.c ../op_runners.c ../op_reference.c ../op_reference_parts.c ../op_reference_ranks.c)
  target_include_directories(emulated_op_cases PUBLIC ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(emulated_op_cases PUBLIC contexture_compute)

  # A minute each under sanitizers, so one schedule there: a race or a wrong address shows in whichever order threads run.
  if(CX_SANITIZE_THREAD)
    emulated_cuda_test(cuda_kernels "0" emulated_op_cases)
  elseif(CX_SANITIZE)
    emulated_cuda_test(cuda_kernels "5" emulated_op_cases)
  else()
    emulated_cuda_test(cuda_kernels "0;1;2;3;4;5;6;7" emulated_op_cases)
    foreach(seed 2 3 4 6 7)
      set_tests_properties(cuda_kernels_seed${seed} PROPERTIES LABELS thorough)
    endforeach()
  endif()

  # Mistakes that this kind of build must notice.
  find_package(Python3 COMPONENTS Interpreter)
  if(Python3_FOUND AND CMAKE_GENERATOR STREQUAL "Ninja")
    set(kind plain)
    if(CX_SANITIZE_THREAD)
      set(kind race)
    elseif(CX_SANITIZE)
      set(kind address)
    endif()
    add_test(NAME cuda_seeded_bugs COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/seeded_bugs.py --build ${CMAKE_BINARY_DIR}
      --source ${PROJECT_SOURCE_DIR} --kind ${kind} --ninja ${CMAKE_MAKE_PROGRAM})
    set_tests_properties(cuda_seeded_bugs PROPERTIES TIMEOUT 900 RUN_SERIAL ON LABELS thorough)
  endif()
endif()
# Bits flipped in the device's memory, in the plain build alone: it is the checksum that is tested, not the kernels.
if(CX_CUDA STREQUAL "EMULATED" AND NOT CX_SANITIZE AND NOT CX_SANITIZE_THREAD)
  emulated_cuda_test(cuda_checks "0" emulated_op_cases)
endif()
