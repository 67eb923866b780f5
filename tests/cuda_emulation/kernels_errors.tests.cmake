# Failures of the runtime, which a GPU cannot be asked for.
if(CX_CUDA STREQUAL "EMULATED" AND NOT CX_SANITIZE_THREAD) # hundreds of openings: minutes under ThreadSanitizer, and nothing runs beside them
  if(CX_SANITIZE)
    emulated_cuda_test(cuda_errors "4" emulated_op_cases)
  else()
    emulated_cuda_test(cuda_errors "0;4" emulated_op_cases)
  endif()
endif()
