contexture_test(corpus contexture_corpus)
contexture_test(corpus_bad contexture_corpus)
contexture_test(corpus_fuzz contexture_corpus)
contexture_test(sequence contexture_corpus)

# Prints sequences for tests/python/test_truncation_parity.py.
if(TARGET contexture_corpus)
  add_executable(sequence_driver sequence_driver.c)
  target_link_libraries(sequence_driver PRIVATE contexture_corpus)
endif()

# CX_PYTHON is set by python.cmake, which is read later.
function(add_truncation_parity)
  add_test(NAME python_truncation_parity
           COMMAND ${CX_PYTHON} ${PROJECT_SOURCE_DIR}/tests/python/run_pytest.py ${PROJECT_SOURCE_DIR}/tests/python/test_truncation_parity.py)
  set_tests_properties(python_truncation_parity PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300
    ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1;CONTEXTURE_SEQUENCE_DRIVER=$<TARGET_FILE:sequence_driver>")
endfunction()
if(TARGET sequence_driver)
  cmake_language(DEFER CALL add_truncation_parity)
endif()
