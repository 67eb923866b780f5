# The interpreter of the Python tests: -DCX_PYTHON=…, else the environment's CONTEXTURE_PYTHON, else what script/bootstrap makes.
if(DEFINED ENV{CONTEXTURE_PYTHON})
  set(CX_PYTHON $ENV{CONTEXTURE_PYTHON} CACHE FILEPATH "Python interpreter with the packages of the Python tests")
else()
  set(CX_PYTHON ${PROJECT_SOURCE_DIR}/.venv/bin/python CACHE FILEPATH "Python interpreter with the packages of the Python tests")
endif()

if(TARGET contexture_tokenizer)
  add_executable(tokenize_driver ${CMAKE_CURRENT_SOURCE_DIR}/tokenize_driver.c)
  target_link_libraries(tokenize_driver PRIVATE contexture_tokenizer)
  add_test(NAME tokenizer_parity
           COMMAND sh -c "test -x \"$0\" || { echo \"$0: no such interpreter\"; exit 77; }; exec \"$0\" \"$@\"" ${CX_PYTHON}
                   ${CMAKE_CURRENT_SOURCE_DIR}/python/test_tokenizer_parity.py $<TARGET_FILE:tokenize_driver>)
  set_tests_properties(tokenizer_parity PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1200)
endif()
