# Tests of the emulation itself.
emulated_cuda_test(emulation_instructions "0;1;2;3;4;5")
emulated_cuda_test(emulation_hopper "0;1;2;3;4;5;6;7")
emulated_cuda_test(emulation_cluster "0;1;2;3;4;5;6;7")
emulated_cuda_test(emulation_runtime "0;1;4;5")
emulated_cuda_test(emulation_misuse "0") # each case has its own seed
emulated_cuda_test(emulation_cluster_misuse "0")
