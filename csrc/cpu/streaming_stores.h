// Stores that pass the caches by. An ordinary store reads the line that it is about to overwrite, which for tensors
// larger than the cache is a third of all that pixel norm moves; and what it writes pushes the inputs out.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "../math/numeric.h"

namespace gan_ops::cpu {

/// Whether a call that reads and writes so many bytes is better off with streaming stores: from half of the
/// last-level cache on. Below, whoever reads the outputs next finds them in cache.
bool beyond_cache(int64_t bytes);

/// Copies a row that lies in L1 to memory. Another thread sees it after streams_end().
template <class T>
GAN_OPS_INLINE void stream(T* to, const T* from, int64_t count) {
  int64_t i = 0;
#if defined(__SSE2__)
  constexpr int64_t kAtOnce = 16 / sizeof(T);
  if (reinterpret_cast<std::uintptr_t>(to) % 16 == 0)
    for (; i + kAtOnce <= count; i += kAtOnce)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
#endif
  std::memcpy(static_cast<void*>(to + i), from + i, (count - i) * sizeof(T));
}

GAN_OPS_INLINE void streams_end() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace gan_ops::cpu
