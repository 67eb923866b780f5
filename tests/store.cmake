if(CX_COMPUTE_ONLY)
  return()
endif()

foreach(name chunk_filter chunk_codec work_ring part manifest verify store_annotations)
  contexture_test(${name} contexture_store)
  if(TARGET test_${name})
    target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/host/store)
  endif()
endforeach()

# Small runs made for the tests in Python.
add_executable(store_driver store_driver.c)
target_link_libraries(store_driver PRIVATE contexture_store)
set(store_environment "STORE_DRIVER=$<TARGET_FILE:store_driver>")

# The shim takes the place of system calls, and so do the sanitizers: it is left out there, and its tests skip themselves.
if(NOT CX_SANITIZE)
  add_library(fault_shim SHARED faults/fault_shim.c)
  target_link_libraries(fault_shim PRIVATE contexture_settings ${CMAKE_DL_LIBS})
  list(APPEND store_environment "FAULT_SHIM=$<TARGET_FILE:fault_shim>")
endif()

contexture_python_test(python_store_readback python/test_store_readback.py 600 ${store_environment})
contexture_python_test(store_faults faults/test_store_faults.py 600 ${store_environment})
contexture_python_test(store_faults_all faults/test_store_faults.py 1800 ${store_environment} CONTEXTURE_EVERY=1)
set_tests_properties(store_faults_all PROPERTIES LABELS thorough)
contexture_python_test(store_full_disk "faults/full_disk.py;$<TARGET_FILE:store_driver>" 600 ${store_environment})
