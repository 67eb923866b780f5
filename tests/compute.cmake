contexture_test(decompose contexture_compute)

add_test(NAME dependencies COMMAND ${PROJECT_SOURCE_DIR}/script/check-dependencies)
