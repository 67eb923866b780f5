# The program from outside: command lines byte by byte, and interruptions.
if(TARGET contexture)
  file(GLOB case_files CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/cli/*.cases)
  foreach(cases ${case_files})
    get_filename_component(name ${cases} NAME_WE)
    contexture_python_test(cli_${name} "cli/run_cases.py;$<TARGET_FILE:contexture>;${CMAKE_CURRENT_SOURCE_DIR}/${cases}" 300)
  endforeach()

  set(rounds 8)
  if(CX_SANITIZE)
    set(rounds 3)
  endif()
  contexture_python_test(interrupt "faults/interrupt.py;$<TARGET_FILE:contexture>;--rounds;${rounds}" 600)
  set_tests_properties(interrupt PROPERTIES RUN_SERIAL ON)

  # Memory that grows neither with documents nor, to speak of, with parts.
  if(NOT CX_SANITIZE)
    set(scale "../benchmarks/bench_scale.py;$<TARGET_FILE:contexture>")
    contexture_python_test(scale "${scale};--documents;5000,30000;--growth;6" 300)
    contexture_python_test(scale_large "${scale};--documents;10000,1000000;--growth;40" 1800)

    set(environment "CONTEXTURE_PROGRAM=$<TARGET_FILE:contexture>")
    contexture_python_test(flipped_bits faults/test_flipped_bits.py 600 ${environment})
    contexture_python_test(flipped_bits_many faults/test_flipped_bits.py 3600 ${environment} CONTEXTURE_FLIPS=3000)
    # Every 431st request for memory fails, or every single one.
    add_library(malloc_shim SHARED faults/malloc_shim.c)
    target_link_libraries(malloc_shim PRIVATE contexture_settings)
    list(APPEND environment "MALLOC_SHIM=$<TARGET_FILE:malloc_shim>")
    contexture_python_test(allocations faults/test_allocations.py 600 ${environment})
    contexture_python_test(allocations_all faults/test_allocations.py 7200 ${environment} CONTEXTURE_EVERY=1)
    set_tests_properties(scale_large flipped_bits_many allocations_all PROPERTIES LABELS endurance)
  endif()
endif()
