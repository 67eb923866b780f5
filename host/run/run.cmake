contexture_library(run contexture_checkpoint contexture_tokenizer contexture_corpus contexture_compute contexture_stats contexture_store contexture_cluster Threads::Threads)

# What the program was built with: for summary.json and `contexture info`.
set(libraries "HDF5 ${HDF5_VERSION}, OpenBLAS ${OPENBLAS_VERSION}, libdeflate ${DEFLATE_VERSION}, zlib ${ZLIB_VERSION}, zstd ${ZSTD_VERSION}")
string(APPEND libraries ", jansson ${JANSSON_VERSION}, libcyaml ${CYAML_VERSION}, xxhash ${XXHASH_VERSION}${CX_MPI_LIBRARY}")
target_compile_definitions(contexture_run PRIVATE "CX_LIBRARIES=\"${libraries}\"")
