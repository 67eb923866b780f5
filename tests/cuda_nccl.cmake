# Ranks with GPUs: the whole program on the emulation, with a stand-in of NCCL that it opens as it would open the real one.
if(TARGET contexture AND CX_CUDA STREQUAL "EMULATED" AND NOT EMULATION_MISSING AND NOT CX_SANITIZE AND CX_NCCL AND CX_NCCL_INCLUDE)
  add_library(emulated_nccl SHARED cuda_nccl/emulated_nccl.cpp)
  target_include_directories(emulated_nccl SYSTEM PRIVATE ${CX_CUDA_INCLUDE} ${CX_NCCL_INCLUDE})
  target_compile_features(emulated_nccl PRIVATE cxx_std_20)
  target_link_libraries(emulated_nccl PRIVATE contexture_settings Threads::Threads)
  set_target_properties(emulated_nccl PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/nccl)
  contexture_test(cuda_team contexture_compute)
  set_tests_properties(cuda_team PROPERTIES ENVIRONMENT
    "LD_LIBRARY_PATH=$<TARGET_FILE_DIR:emulated_nccl>;EMULATION_DEVICES=3;EMULATION_MULTIPROCESSORS=2;EMULATION_SEED=5;OMP_NUM_THREADS=1;OPENBLAS_NUM_THREADS=1")
  set_target_properties(contexture test_cuda_team PROPERTIES ENABLE_EXPORTS ON) # the stand-in calls the emulation, which is in the programs

  contexture_python_test(cuda_nccl cuda_nccl/test_team.py 300 "CONTEXTURE_PROGRAM=$<TARGET_FILE:contexture>" "EMULATED_NCCL=$<TARGET_FILE_DIR:emulated_nccl>")
endif()
