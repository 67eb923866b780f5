# Files, JSON and model folders. The small models are written by model_files.c.
contexture_test(file contexture_files)
contexture_test(json contexture_files)

foreach(name safetensors config checkpoint checkpoint_fuzz)
  contexture_test(${name} contexture_checkpoint)
  if(TARGET test_${name})
    target_sources(test_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/model_files.c)
    target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/host/checkpoint)
  endif()
endforeach()
