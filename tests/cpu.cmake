# The operations of a backend: inputs, runners and float64 definitions are shared by tests and benchmarks.
add_library(contexture_op_cases STATIC op_inputs.c op_runners.c)
target_include_directories(contexture_op_cases PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(contexture_op_cases PUBLIC contexture_compute)

contexture_test(backend contexture_op_cases)
target_sources(test_backend PRIVATE op_reference.c op_reference_parts.c op_reference_ranks.c)
# The definitions' plain loops would take most of a debug build's time.
set_source_files_properties(op_reference.c op_reference_parts.c op_reference_ranks.c PROPERTIES COMPILE_OPTIONS -O2)

contexture_test(cpu_kernels contexture_cpu)
target_include_directories(test_cpu_kernels PRIVATE ${PROJECT_SOURCE_DIR}/host/cpu)

contexture_test(backend_edges contexture_op_cases)
contexture_test(weight contexture_base)
