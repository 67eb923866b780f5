# How cuBLASLt is opened where it is missing, cut short, or of another version: cuda/cuda_blas.cu as it is on a device, with libraries that are made up.
if(CX_CUDA STREQUAL "EMULATED" AND NOT EMULATION_MISSING AND NOT CX_SANITIZE)
  file(STRINGS ${CX_CUDA_INCLUDE}/cublas_api.h major REGEX "define CUBLAS_VER_MAJOR ")
  string(REGEX REPLACE "[^0-9]" "" major "${major}")

  set(source ${PROJECT_SOURCE_DIR}/cuda/cuda_blas.cu ${PROJECT_SOURCE_DIR}/cuda/cuda_library.cu)
  set_source_files_properties(${source} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -xc++)
  add_executable(open_blas cuda_blas/open_blas.cpp ${source})
  target_include_directories(open_blas PRIVATE ${PROJECT_SOURCE_DIR}/cuda)
  target_include_directories(open_blas SYSTEM PRIVATE ${CX_CUDA_INCLUDE})
  target_compile_features(open_blas PRIVATE cxx_std_20)
  target_link_libraries(open_blas PRIVATE contexture_settings ${CMAKE_DL_LIBS})

  # cuda_blas_test(name version expected): a library with all functions that says to be of this version; 0: with none.
  function(cuda_blas_test name version expected)
    set(folder ${CMAKE_CURRENT_BINARY_DIR}/blas_${name})
    add_library(blas_${name} SHARED cuda_blas/made_up_blas.c)
    target_compile_definitions(blas_${name} PRIVATE MADE_UP_VERSION=${version})
    set_target_properties(blas_${name} PROPERTIES PREFIX "" OUTPUT_NAME libcublasLt SUFFIX .so.${major} LIBRARY_OUTPUT_DIRECTORY ${folder})
    add_test(NAME cuda_blas_${name} COMMAND open_blas "${expected}")
    set_tests_properties(cuda_blas_${name} PROPERTIES ENVIRONMENT "LD_LIBRARY_PATH=${folder}")
  endfunction()

  cuda_blas_test(whole ${major}0203 "")
  cuda_blas_test(of_another_version 90203 "is version 9.2, and this build was made for ${major}")
  cuda_blas_test(cut_short 0 "has no function cublasLtCreate")

  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/blas_missing/libcublasLt.so.${major} "no library")
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/blas_missing/libcublasLt.so "no library")
  add_test(NAME cuda_blas_missing COMMAND open_blas "cuBLASLt, which comes with CUDA, cannot be opened (")
  set_tests_properties(cuda_blas_missing PROPERTIES ENVIRONMENT "LD_LIBRARY_PATH=${CMAKE_CURRENT_BINARY_DIR}/blas_missing")
endif()
