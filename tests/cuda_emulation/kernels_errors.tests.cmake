# Failures of the runtime, which a GPU cannot be asked for.
if(CX_CUDA STREQUAL "EMULATED")
  emulated_cuda_test(cuda_errors "0;4" emulated_op_cases)
endif()
