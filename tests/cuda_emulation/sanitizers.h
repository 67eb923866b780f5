/*
 * The sanitizers' interfaces; nothing where the build has none.
 *
 * ThreadSanitizer (EMULATION_RACES): every CUDA thread and every stream is one of its fibres, and only what orders threads on
 * a device calls acquire and release. The emulation's own files are never compiled with -fsanitize=thread.
 */
#ifndef CUDA_EMULATION_SANITIZERS_H
#define CUDA_EMULATION_SANITIZERS_H

#include <cstddef>
#include <cstring>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   (static_cast<void>(address), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#endif

#ifdef EMULATION_RACES
extern "C" {
void *__tsan_get_current_fiber();
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fibre);
void __tsan_switch_to_fiber(void *fibre, unsigned flags);
void __tsan_acquire(void *address);
void __tsan_release(void *address);
void __tsan_read_range(void *address, unsigned long size);
void __tsan_write_range(void *address, unsigned long size);
}
#else
inline void *__tsan_get_current_fiber() {
    return nullptr;
}
inline void *__tsan_create_fiber(unsigned) {
    return nullptr;
}
inline void __tsan_destroy_fiber(void *) {}
inline void __tsan_switch_to_fiber(void *, unsigned) {}
inline void __tsan_acquire(void *) {}
inline void __tsan_release(void *) {}
inline void __tsan_read_range(void *, unsigned long) {}
inline void __tsan_write_range(void *, unsigned long) {}
#endif

namespace emulation {

inline void announce_read(const void *address, size_t bytes) {
    __tsan_read_range(const_cast<void *>(address), bytes);
}
inline void announce_write(void *address, size_t bytes) {
    __tsan_write_range(address, bytes);
}

/* For registers of CUDA threads, which lie on their stacks and are none of ThreadSanitizer's business; its memcpy would tell it. */
inline void copy_silently(void *to, const void *from, size_t bytes) {
#ifdef EMULATION_RACES
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
    memcpy(to, from, bytes);
#endif
}

/* What happens in its scope belongs to another ThreadSanitizer fibre; the switch itself orders nothing. */
class RaceScope {
  public:
    explicit RaceScope(void *fibre) : previous(__tsan_get_current_fiber()) {
        __tsan_switch_to_fiber(fibre, 1);
    }
    ~RaceScope() {
        __tsan_switch_to_fiber(previous, 1);
    }
    RaceScope(const RaceScope &) = delete;
    RaceScope &operator=(const RaceScope &) = delete;

  private:
    void *previous;
};

} /* namespace emulation */

#endif
