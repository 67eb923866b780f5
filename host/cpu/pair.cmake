# The bfloat16 pair kernel; the others' flags are in cpu.cmake.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set_source_files_properties(${PROJECT_SOURCE_DIR}/host/cpu/pair_kernel_bf16.c PROPERTIES COMPILE_OPTIONS "${CX_KERNEL_FLAGS};${CX_KERNEL_FLAGS_v4};-mavx512bf16")
endif()
