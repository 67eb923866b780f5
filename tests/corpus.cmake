contexture_test(corpus contexture_corpus)
contexture_test(corpus_bad contexture_corpus)
contexture_test(corpus_fuzz contexture_corpus)
contexture_test(sequence contexture_corpus)
contexture_test(annotations contexture_corpus)
contexture_test(words contexture_corpus)

# Prints sequences for tests/python/test_truncation_parity.py.
if(TARGET contexture_corpus)
  add_executable(sequence_driver sequence_driver.c)
  target_link_libraries(sequence_driver PRIVATE contexture_corpus)
  contexture_python_test(python_truncation_parity python/test_truncation_parity.py 300 CONTEXTURE_SEQUENCE_DRIVER=$<TARGET_FILE:sequence_driver>)
endif()
