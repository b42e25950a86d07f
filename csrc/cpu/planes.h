// Planes side by side: a pixel of 16 (float64: 8) planes [N·C] of x [N, C, H, W] as a vector of their values, whatever
// the layout. So a filter's loops are the same for any width, factor and length, and no lane of a register is idle.
#pragma once

#include <algorithm>
#include <cstring>

#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops::cpu {

// Vectors are passed by reference, or inlined: no calling convention matters.
#pragma GCC diagnostic ignored "-Wpsabi"

/// A register's.
template <class A>
constexpr int kLanes = 64 / sizeof(A);

template <class A>
struct LanesOf {
  typedef A type __attribute__((vector_size(64)));
};
template <class A>
using Lanes = typename LanesOf<A>::type;

/// Which elements of [N, C, H, W] are `count` planes from `first` on.
struct PlaneBlock {
  int64_t first, count;
  int64_t channels, height, width;
  bool channels_last;

  GAN_OPS_INLINE int64_t column_stride() const { return channels_last ? channels : 1; }
  GAN_OPS_INLINE int64_t row_stride() const { return channels_last ? channels * width : width; }
  GAN_OPS_INLINE int64_t start(int64_t lane) const {
    const int64_t plane = first + lane, sample = plane / channels, channel = plane % channels;
    return channels_last ? sample * channels * height * width + channel : plane * height * width;
  }
  /// Whether they are adjacent in each pixel.
  GAN_OPS_INLINE bool adjacent() const { return channels_last && first % channels + count <= channels; }
};

template <class T>
GAN_OPS_INLINE void load_lanes(const T* from, Lanes<Accumulate<T>>& to) {
  Accumulate<T> values[kLanes<Accumulate<T>>];
  for (int i = 0; i < kLanes<Accumulate<T>>; ++i) values[i] = widen(from[i]);
  std::memcpy(&to, values, sizeof to);
}
template <class T>
GAN_OPS_INLINE void store_lanes(const Lanes<Accumulate<T>>& from, T* to) {
  Accumulate<T> values[kLanes<Accumulate<T>>];
  std::memcpy(values, &from, sizeof from);
  for (int i = 0; i < kLanes<Accumulate<T>>; ++i) to[i] = narrow<T>(values[i]);
}

/// 16 rows of 16 become columns: four times, row i and row i + 8 are dealt to the rows 2i and 2i + 1.
GAN_OPS_INLINE void transpose(Lanes<float> (&rows)[16]) {
#pragma GCC unroll 4
  for (int step = 0; step < 4; ++step) {
    Lanes<float> dealt[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const Lanes<float>&a = rows[i], &b = rows[i + 8];
      dealt[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      dealt[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) rows[i] = dealt[i];
  }
}

/// Of 16 planes that lie apart, a multiple of 16 pixels of a row by registers alone; returns how many. Only AVX-512 has
/// such shuffles.
template <class T>
int64_t load_transposed(const T* from, int64_t between, int64_t count, Lanes<Accumulate<T>>* to) {
#if defined(__x86_64__)
  if constexpr (sizeof(Accumulate<T>) == sizeof(float)) {
    if (instruction_set() != InstructionSet::avx512) return 0;
    const auto body = [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      for (int64_t p = begin; p < end; p += 16) {
        Lanes<float> rows[16];
        for (int lane = 0; lane < 16; ++lane) load_lanes(from + lane * between + p, rows[lane]);
        transpose(rows);
        for (int i = 0; i < 16; ++i) to[p + i] = rows[i];
      }
    };
    run_avx512(body, 0, count / 16 * 16);
    return count / 16 * 16;
  }
#endif
  return 0;
}
template <class T>
int64_t store_transposed(const Lanes<Accumulate<T>>* from, int64_t between, int64_t count, T* to) {
#if defined(__x86_64__)
  if constexpr (sizeof(Accumulate<T>) == sizeof(float)) {
    if (instruction_set() != InstructionSet::avx512) return 0;
    const auto body = [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      for (int64_t p = begin; p < end; p += 16) {
        Lanes<float> rows[16];
        for (int i = 0; i < 16; ++i) rows[i] = from[p + i];
        transpose(rows);
        for (int lane = 0; lane < 16; ++lane) store_lanes(rows[lane], to + lane * between + p);
      }
    };
    run_avx512(body, 0, count / 16 * 16);
    return count / 16 * 16;
  }
#endif
  return 0;
}

/// `count` pixels from (row, column) on; planes that are not there are 0.
template <class T>
void load_pixels(const void* x, const PlaneBlock& planes, int64_t row, int64_t column, int64_t count,
                 Lanes<Accumulate<T>>* to) {
  constexpr int kAll = kLanes<Accumulate<T>>;
  const int64_t stride = planes.column_stride();
  const T* from = static_cast<const T*>(x) + row * planes.row_stride() + column * stride;
  if (planes.count == kAll && planes.adjacent()) {
    const T* first = from + planes.start(0);
    const auto body = [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      for (int64_t p = begin; p < end; ++p) load_lanes(first + p * stride, to[p]);
    };
    return run_best(body, 0, count);
  }
  int64_t p = 0;
  if (planes.count == kAll && !planes.channels_last)
    p = load_transposed(from + planes.start(0), planes.height * planes.width, count, to);
  if (planes.count < kAll) std::fill(to + p, to + count, Lanes<Accumulate<T>>{});
  for (int64_t lane = 0; lane < planes.count; ++lane) {
    const T* own = from + planes.start(lane);
    for (int64_t i = p; i < count; ++i) to[i][lane] = widen(own[i * stride]);
  }
}

/// The same back.
template <class T>
void store_pixels(const Lanes<Accumulate<T>>* from, const PlaneBlock& planes, int64_t row, int64_t column,
                  int64_t count, void* y) {
  constexpr int kAll = kLanes<Accumulate<T>>;
  const int64_t stride = planes.column_stride();
  T* to = static_cast<T*>(y) + row * planes.row_stride() + column * stride;
  if (planes.count == kAll && planes.adjacent()) {
    T* first = to + planes.start(0);
    const auto body = [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      for (int64_t p = begin; p < end; ++p) store_lanes(from[p], first + p * stride);
    };
    return run_best(body, 0, count);
  }
  int64_t p = 0;
  if (planes.count == kAll && !planes.channels_last)
    p = store_transposed(from, planes.height * planes.width, count, to + planes.start(0));
  for (int64_t lane = 0; lane < planes.count; ++lane) {
    T* own = to + planes.start(lane);
    for (int64_t i = p; i < count; ++i) own[i * stride] = narrow<T>(from[i][lane]);
  }
}

/// A correlation along rows, down columns, or both: to[p·to_stride] = Σ_r Σ_j taps[r·row_taps + j·tap_step] ·
/// rows[r][offset + p·from_stride + j] for p < count.
template <class A>
struct Correlation {
  const A* taps;
  int64_t rows, row_taps;
  int64_t columns, tap_step;
  int64_t from_stride, to_stride;

  void operator()(const Lanes<A>* const* from, int64_t offset, int64_t count, Lanes<A>* to) const {
    const Correlation own = *this;
    const auto body = [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      int64_t p = begin;
      for (; p + kSide <= end; p += kSide)
        own.template run<kSide>(from, offset + p * own.from_stride, to + p * own.to_stride);
      for (; p < end; ++p) own.template run<1>(from, offset + p * own.from_stride, to + p * own.to_stride);
    };
    run_best(body, 0, count);
  }

 private:
  static constexpr int kSide = 4;  // sums side by side: they hide an addition's latency, and share each tap

  template <int Side>
  GAN_OPS_INLINE void run(const Lanes<A>* const* from, int64_t offset, Lanes<A>* to) const {
    Lanes<A> sums[Side] = {};
    for (int64_t r = 0; r < rows; ++r) {
      const Lanes<A>* row = from[r] + offset;
      for (int64_t j = 0; j < columns; ++j) {
        const Lanes<A> tap = Lanes<A>{} + taps[r * row_taps + j * tap_step];
#pragma GCC unroll 4
        for (int i = 0; i < Side; ++i) sums[i] += tap * row[i * from_stride + j];
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < Side; ++i) to[i * to_stride] = sums[i];
  }
};

}  // namespace gan_ops::cpu
