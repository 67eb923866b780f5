# Tests of the emulation itself.
emulated_cuda_test(emulation_instructions "0;1;2;3;4;5")
