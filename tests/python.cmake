# The program and its reader, from Python.
set(environment)
if(TARGET contexture)
  list(APPEND environment "CONTEXTURE_PROGRAM=$<TARGET_FILE:contexture>")
endif()
if(CX_SANITIZE)
  list(APPEND environment "CONTEXTURE_SANITIZED=1")
endif()

# A sanitizer learns nothing from tests that do not run the program, and little from those that run the same code as these two or the unit tests.
set(python_tests end_to_end statistics_runs)
if(NOT CX_SANITIZE)
  list(APPEND python_tests annotate annotations gpu_script norm_dimensions notebook oracle pytorch_maps reader reader_statistics report report_browser statistics)
endif()
foreach(name ${python_tests})
  contexture_python_test(python_${name} python/test_${name}.py 600 ${environment})
endforeach()
