contexture_test(decompose contexture_compute)
target_sources(test_decompose PRIVATE decompose_case.c decompose_sources.c decompose_running.c)

add_test(NAME dependencies COMMAND ${PROJECT_SOURCE_DIR}/script/check-dependencies)
