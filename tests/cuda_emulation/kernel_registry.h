/* cudaLaunchKernel is given addresses only; the typed launch registers here what the arguments of a kernel are. */
#ifndef CUDA_EMULATION_KERNEL_REGISTRY_H
#define CUDA_EMULATION_KERNEL_REGISTRY_H

#include <cstddef>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace emulation {

using Capture = std::function<void()> (*)(const void *kernel, void **arguments);
void register_kernel(const void *kernel, Capture capture);

/* A pointer must be NULL, or in a live device allocation or pinned memory; of a structure, every word that looks like an address. */
void check_pointer_argument(const void *pointer);
void check_structure_argument(const void *structure, size_t bytes);

template <typename... Parameters> struct TypedKernel {
    template <typename T> static void check(const T &value) {
        if constexpr (std::is_pointer_v<T>) {
            check_pointer_argument(value);
        } else if constexpr (std::is_class_v<T>) {
            T copy = value;
            __builtin_clear_padding(&copy); /* which may hold anything, even what was an address */
            check_structure_argument(&copy, sizeof copy);
        }
    }
    template <size_t... Index> static std::function<void()> capture_each(const void *kernel, void **arguments, std::index_sequence<Index...>) {
        std::tuple<Parameters...> values(*static_cast<Parameters *>(arguments[Index])...);
        (check(std::get<Index>(values)), ...);
        return [kernel, values] { std::apply(reinterpret_cast<void (*)(Parameters...)>(const_cast<void *>(kernel)), values); };
    }
    static std::function<void()> capture(const void *kernel, void **arguments) {
        return capture_each(kernel, arguments, std::index_sequence_for<Parameters...>{});
    }
};

template <typename... Parameters> void register_kernel(void (*kernel)(Parameters...)) {
    register_kernel(reinterpret_cast<const void *>(kernel), &TypedKernel<Parameters...>::capture);
}

} /* namespace emulation */

#endif
