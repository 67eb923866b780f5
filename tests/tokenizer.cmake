contexture_test(tokenizer contexture_tokenizer)
contexture_test(tokenizer_files contexture_tokenizer)

# Encodes texts for tests/python/test_tokenizer_parity.py, and measures.
if(TARGET contexture_tokenizer)
  add_executable(tokenize_driver tokenize_driver.c)
  target_link_libraries(tokenize_driver PRIVATE contexture_tokenizer)
endif()

# CX_PYTHON is set by python.cmake, which may be read later.
function(add_tokenizer_parity)
  add_test(NAME python_tokenizer_parity
           COMMAND ${CX_PYTHON} ${PROJECT_SOURCE_DIR}/tests/python/run_pytest.py ${PROJECT_SOURCE_DIR}/tests/python/test_tokenizer_parity.py)
  set_tests_properties(python_tokenizer_parity PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1200
    ENVIRONMENT "PYTHONDONTWRITEBYTECODE=1;CONTEXTURE_TOKENIZE_DRIVER=$<TARGET_FILE:tokenize_driver>")
endfunction()
if(TARGET tokenize_driver)
  cmake_language(DEFER CALL add_tokenizer_parity)
endif()
