/* Device functions that involve one thread alone: atomics, and mathematics that the host side of CUDA's headers lacks. */
#ifndef CUDA_EMULATION_DEVICE_FUNCTIONS_H
#define CUDA_EMULATION_DEVICE_FUNCTIONS_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cuda_fp16.h>

/* Atomics are sequentially consistent here; on the device they are relaxed. */
namespace emulation {
template <typename T, typename Update> T atomic_update(T *address, Update update) {
    T old, desired;
    __atomic_load(address, &old, __ATOMIC_SEQ_CST);
    do {
        desired = update(old);
    } while (!__atomic_compare_exchange(address, &old, &desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return old;
}
template <typename To, typename From> To bits_of(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
} /* namespace emulation */

template <typename T> T atomicAdd(T *address, std::common_type_t<T> value) {
    return emulation::atomic_update(address, [=](T old) { return static_cast<T>(old + value); });
}
template <typename T> T atomicMax(T *address, std::common_type_t<T> value) {
    return emulation::atomic_update(address, [=](T old) { return old < value ? value : old; });
}
template <typename T> T atomicMin(T *address, std::common_type_t<T> value) {
    return emulation::atomic_update(address, [=](T old) { return value < old ? value : old; });
}
template <typename T> T atomicOr(T *address, std::common_type_t<T> value) {
    return emulation::atomic_update(address, [=](T old) { return static_cast<T>(old | value); });
}
template <typename T> T atomicExch(T *address, std::common_type_t<T> value) {
    return emulation::atomic_update(address, [=](T) { return value; });
}
template <typename T> T atomicCAS(T *address, std::common_type_t<T> expected, std::common_type_t<T> desired) {
    return emulation::atomic_update(address, [=](T old) { return old == expected ? desired : old; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T> T __ldg(const T *pointer) {
    return *pointer;
}
template <typename T> T __ldcs(const T *pointer) {
    return *pointer;
}
template <typename T> void __stcs(T *pointer, std::common_type_t<T> value) {
    *pointer = value;
}

/* Exact here, accurate to a few units in the last place on the device. */
inline float rsqrtf(float x) {
    return 1.0f / sqrtf(x);
}
inline double rsqrt(double x) {
    return 1.0 / sqrt(x);
}
inline float __expf(float x) {
    return expf(x);
}
inline float __logf(float x) {
    return logf(x);
}
inline float __fdividef(float x, float y) {
    return x / y;
}
inline float __frcp_rn(float x) {
    return 1.0f / x;
}
inline float __fsqrt_rn(float x) {
    return sqrtf(x);
}
inline float __fadd_rn(float x, float y) {
    return x + y;
}
inline float __fmul_rn(float x, float y) {
    return x * y;
}
inline float __fmaf_rn(float x, float y, float z) {
    return fmaf(x, y, z);
}
inline double __fma_rn(double x, double y, double z) {
    return fma(x, y, z);
}

inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline int __clz(int x) {
    return x ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline unsigned __float_as_uint(float x) {
    return emulation::bits_of<unsigned>(x);
}
inline int __float_as_int(float x) {
    return emulation::bits_of<int>(x);
}
inline float __uint_as_float(unsigned x) {
    return emulation::bits_of<float>(x);
}
inline float __int_as_float(int x) {
    return emulation::bits_of<float>(x);
}

inline __half __hfma(__half a, __half b, __half c) {
    return __float2half(fmaf(__half2float(a), __half2float(b), __half2float(c)));
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
    return __halves2half2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}

template <typename T> constexpr T min(T a, std::common_type_t<T> b) {
    return b < a ? b : a;
}
template <typename T> constexpr T max(T a, std::common_type_t<T> b) {
    return a < b ? b : a;
}

#endif
