# Everything but main.c is a library, so that the tests of the options can link it.
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/host/cli/*.c)
list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/host/cli/main.c)
if(sources)
  add_library(contexture_cli STATIC ${sources})
  target_include_directories(contexture_cli PUBLIC ${PROJECT_SOURCE_DIR}/host/cli)
  target_link_libraries(contexture_cli PUBLIC contexture_run PkgConfig::CYAML)
  add_executable(contexture ${PROJECT_SOURCE_DIR}/host/cli/main.c)
  target_link_libraries(contexture PRIVATE contexture_cli)
  install(TARGETS contexture)

  # Manual and completion are generated from the table of options.
  set(manual ${CMAKE_CURRENT_BINARY_DIR}/contexture.1)
  set(completion ${CMAKE_CURRENT_BINARY_DIR}/contexture.bash)
  add_custom_command(OUTPUT ${manual} ${completion} DEPENDS contexture
    COMMAND contexture help --man > ${manual}
    COMMAND contexture completion bash > ${completion})
  add_custom_target(contexture_manual ALL DEPENDS ${manual} ${completion})
  install(FILES ${manual} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${completion} DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME contexture)
endif()
