# The program from outside: command lines byte by byte, and interruptions.
if(TARGET contexture)
  file(GLOB case_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cli/*.cases)
  foreach(cases ${case_files})
    get_filename_component(name ${cases} NAME_WE)
    add_test(NAME cli_${name} COMMAND ${CX_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/cli/run_cases.py $<TARGET_FILE:contexture> ${cases})
    set_tests_properties(cli_${name} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77 ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
  endforeach()

  add_test(NAME interrupt COMMAND ${CX_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/faults/test_interrupt.py $<TARGET_FILE:contexture>)
  set_tests_properties(interrupt PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77 RUN_SERIAL ON ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endif()
