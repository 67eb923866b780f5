# The kernels of cuda/, in builds whose CUDA backend is the emulated one.
if(CX_CUDA STREQUAL "EMULATED")
  add_library(emulated_op_cases STATIC ../op_inputs.c ../op_runners.c ../op_reference.c ${PROJECT_SOURCE_DIR}/tests/op_reference_parts.c)
  target_include_directories(emulated_op_cases PUBLIC ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(emulated_op_cases PUBLIC contexture_compute)

  emulated_cuda_test(cuda_kernels "0;1;2;3;4;5" emulated_op_cases)
endif()
