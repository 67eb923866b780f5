contexture_library(cpu contexture_base OpenMP::OpenMP_C PkgConfig::OPENBLAS)
