# In builds whose CUDA backend is the emulated one: the emulation is the same in all others.
if(CX_CUDA STREQUAL "EMULATED")
  add_subdirectory(${CMAKE_CURRENT_SOURCE_DIR}/cuda_emulation)
endif()
