if(CX_COMPUTE_ONLY)
  return()
endif()

foreach(name chunk_filter part manifest verify)
  contexture_test(${name} contexture_store)
  if(TARGET test_${name})
    target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/host/store)
  endif()
endforeach()

# Small runs made for the tests in Python; CX_PYTHON is set in python.cmake.
add_executable(store_driver store_driver.c)
target_link_libraries(store_driver PRIVATE contexture_store)
set(store_environment "PYTHONDONTWRITEBYTECODE=1" "STORE_DRIVER=$<TARGET_FILE:store_driver>")

# The shim takes the place of system calls, and so do the sanitizers: it is left out there, and its tests skip themselves.
if(NOT CX_SANITIZE)
  add_library(fault_shim SHARED faults/fault_shim.c)
  target_link_libraries(fault_shim PRIVATE contexture_settings ${CMAKE_DL_LIBS})
  list(APPEND store_environment "FAULT_SHIM=$<TARGET_FILE:fault_shim>")
endif()

set(run_pytest ${CX_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/python/run_pytest.py)
add_test(NAME python_store_readback COMMAND ${run_pytest} ${CMAKE_CURRENT_SOURCE_DIR}/python/test_store_readback.py)
add_test(NAME store_faults COMMAND ${run_pytest} ${CMAKE_CURRENT_SOURCE_DIR}/faults/test_store_faults.py)
add_test(NAME store_full_disk COMMAND ${CX_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/faults/full_disk.py $<TARGET_FILE:store_driver>)
set_tests_properties(python_store_readback store_faults store_full_disk PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600 ENVIRONMENT "${store_environment}")
