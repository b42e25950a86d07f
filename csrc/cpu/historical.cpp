// Historical averaging on the CPU: all tensors of a group are one sequence of chunks, which threads share.
#include "../historical.h"

#include <algorithm>

#include "lanes.h"
#include "narrow_types.h"
#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;

/// Calls `body` with a Type for the parameters and one for the averages.
template <class Body>
void with_types(const HistoricalGroup& group, Dtype dtype, const Body& body) {
  with_type(dtype, [&]<class T>(Type<T> type) {
    if (group.wide_averages)
      body(type, Type<Accumulate<T>>{});
    else
      body(type, type);
  });
}

/// body(tensor, first element, width, chunk) for all chunks of all tensors.
template <class Body>
void for_chunks(const HistoricalGroup& group, const Body& body) {
  if (group.chunks == 0) return;
  const HistoricalTensor* tensors = group.tensors;
  const int64_t count = group.count, chunks = group.chunks;
  int64_t elements = 0;
  for (int64_t i = 0; i < count; ++i) elements += tensors[i].size;
  parallel_for(chunks, elements / chunks, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    const HistoricalTensor* at =
        std::upper_bound(tensors, tensors + count, begin,
                         [](int64_t chunk, const HistoricalTensor& tensor) { return chunk < tensor.first_chunk; }) -
        1;
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      while (at + 1 < tensors + count && at[1].first_chunk <= chunk) ++at;  // past empty tensors too
      const int64_t first = (chunk - at->first_chunk) * kHistoricalChunk;
      body(*at, first, std::min(kHistoricalChunk, at->size - first), chunk);
    }
  });
}

template <class T>
GAN_OPS_INLINE const T* start(const void* data, int64_t first) {
  return static_cast<const T*>(data) + first;
}

template <class T, class M>
GAN_OPS_INLINE double sum_of_squares(const T* parameter, const M* average, int64_t width) {
  using A = Accumulate<T>;
  return sum_in_lanes<A>(width, [=](int64_t i) GAN_OPS_LAMBDA_INLINE {
    const A gap = historical_gap<A>(parameter[i], average[i], false);
    return gap * gap;
  });
}
template <class T, class M>
GAN_OPS_INLINE double dot(const T* v, const T* parameter, const M* average, int64_t width) {
  using A = Accumulate<T>;
  return sum_in_lanes<A>(width, [=](int64_t i) GAN_OPS_LAMBDA_INLINE {
    return widen(v[i]) * historical_gap<A>(parameter[i], average[i], false);
  });
}
template <class T, class M, class A>
GAN_OPS_INLINE void differentiate(const T* parameter, const M* average, T* out, int64_t width, bool is_first, A slope) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) out[i] = narrow<T>(slope * historical_gap<A>(parameter[i], average[i], is_first));
}
template <class T, class A>
GAN_OPS_INLINE void scale(const T* v, T* out, int64_t width, A slope) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i) out[i] = narrow<T>(slope * widen(v[i]));
}
template <class T, class M, class A>
GAN_OPS_INLINE void move(const T* parameter, M* average, int64_t width, bool is_first, A share) {
#pragma omp simd
  for (int64_t i = 0; i < width; ++i)
    average[i] = narrow<M>(historical_mean(A(widen(parameter[i])), A(widen(average[i])), is_first, share));
}

}  // namespace

void run_on_cpu(const HistoricalDistanceArgs& args, Dtype dtype) {
  with_types(args.group, dtype, [&]<class T, class M>(Type<T>, Type<M>) {
    const bool is_first = args.group.step() == 1;
    double* partial = args.partial;
    for_chunks(args.group, [=](const HistoricalTensor& tensor, int64_t first, int64_t width,
                               int64_t chunk) GAN_OPS_LAMBDA_INLINE {
      partial[chunk] =
          is_first ? 0 : sum_of_squares(start<T>(tensor.parameter, first), start<M>(tensor.average, first), width);
    });
  });
}

void run_on_cpu(const HistoricalBackwardArgs& args, Dtype dtype) {
  with_types(args.group, dtype, [&]<class T, class M>(Type<T>, Type<M>) {
    using A = Accumulate<T>;
    const double step = args.group.step();
    const bool is_first = step == 1;
    const A slope = static_cast<A>(historical_slope(step) * *args.g);
    for_chunks(args.group,
               [=](const HistoricalTensor& tensor, int64_t first, int64_t width, int64_t) GAN_OPS_LAMBDA_INLINE {
                 differentiate(start<T>(tensor.parameter, first), start<M>(tensor.average, first),
                               static_cast<T*>(tensor.out) + first, width, is_first, slope);
               });
  });
}

void run_on_cpu(const HistoricalDoubleBackwardArgs& args, Dtype dtype) {
  with_types(args.group, dtype, [&]<class T, class M>(Type<T>, Type<M>) {
    using A = Accumulate<T>;
    const double step = args.group.step();
    const bool is_first = step == 1;
    const A slope = static_cast<A>(historical_slope(step) * *args.g);
    double* partial = args.partial;
    for_chunks(args.group, [=](const HistoricalTensor& tensor, int64_t first, int64_t width,
                               int64_t chunk) GAN_OPS_LAMBDA_INLINE {
      const T* v = start<T>(tensor.v, first);
      partial[chunk] = is_first ? 0 : dot(v, start<T>(tensor.parameter, first), start<M>(tensor.average, first), width);
      scale(v, static_cast<T*>(tensor.out) + first, width, slope);
    });
  });
}

void run_on_cpu(const HistoricalUpdateArgs& args, Dtype dtype) {
  with_types(args.group, dtype, [&]<class T, class M>(Type<T>, Type<M>) {
    using A = Accumulate<T>;
    const double step = args.group.step();
    const bool is_first = step == 1;
    const A share = static_cast<A>(1 / step);
    for_chunks(args.group,
               [=](const HistoricalTensor& tensor, int64_t first, int64_t width, int64_t) GAN_OPS_LAMBDA_INLINE {
                 move(start<T>(tensor.parameter, first), static_cast<M*>(tensor.out) + first, width, is_first, share);
               });
  });
}

void run_on_cpu(const HistoricalSumArgs& args, Dtype) {
  *args.total = sum_partials(args.partial, args.chunks) * historical_slope(args.step()) * args.factor;
}

}  // namespace gan_ops
