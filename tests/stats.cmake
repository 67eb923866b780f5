if(CX_COMPUTE_ONLY)
  return()
endif()

contexture_test(stats contexture_stats)
if(TARGET test_stats)
  target_include_directories(test_stats PRIVATE ${PROJECT_SOURCE_DIR}/host/stats)
endif()
