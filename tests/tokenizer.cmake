contexture_test(tokenizer contexture_tokenizer)
contexture_test(tokenizer_files contexture_tokenizer)

# Encodes texts for tests/python/test_tokenizer_parity.py, and measures.
if(TARGET contexture_tokenizer)
  add_executable(tokenize_driver tokenize_driver.c)
  target_link_libraries(tokenize_driver PRIVATE contexture_tokenizer)
  contexture_python_test(python_tokenizer_parity python/test_tokenizer_parity.py 1200 CONTEXTURE_TOKENIZE_DRIVER=$<TARGET_FILE:tokenize_driver>
    $<$<BOOL:${CX_SANITIZE}>:CONTEXTURE_SANITIZED=1>)
  if(NOT CX_SANITIZE)
    contexture_python_test(python_tokenizer_parity_all "python/test_tokenizer_parity.py;-k;random_strings or other_settings" 1200
      CONTEXTURE_TOKENIZE_DRIVER=$<TARGET_FILE:tokenize_driver> CONTEXTURE_EVERY=1)
    set_tests_properties(python_tokenizer_parity_all PROPERTIES LABELS endurance)
  endif()
endif()
