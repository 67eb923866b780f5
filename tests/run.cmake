# The program from outside: command lines byte by byte, and interruptions.
if(TARGET contexture)
  file(GLOB case_files CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/cli/*.cases)
  foreach(cases ${case_files})
    get_filename_component(name ${cases} NAME_WE)
    contexture_python_test(cli_${name} "cli/run_cases.py;$<TARGET_FILE:contexture>;${CMAKE_CURRENT_SOURCE_DIR}/${cases}" 300)
  endforeach()

  contexture_python_test(interrupt "faults/interrupt.py;$<TARGET_FILE:contexture>" 600)
  set_tests_properties(interrupt PROPERTIES RUN_SERIAL ON)
endif()
