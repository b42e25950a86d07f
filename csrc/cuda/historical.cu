// Historical averaging on CUDA: a block a chunk. The lists travel in the kernels' arguments, kPack tensors a launch.
//
// Bytes it must move, for E elements of size s (averages like parameters): distance 2·E·s, its backward 3·E·s, double
// backward 4·E·s, update 3·E·s. At most 4 operations an element, so memory sets the pace: at an H200's 4.8 TB/s, 23
// million parameters in float32 (92 MB) take 0.038, 0.058, 0.077 and 0.058 ms; below some 5 MB, launches do.
#include <algorithm>

#include "../historical.h"
#include "vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

constexpr int kPack = 64;  // of 48 bytes each: arguments may take 4096

struct Pack {
  HistoricalTensor tensors[kPack];
  int count;
  int64_t first_chunk;  // of the first tensor
  int64_t chunks;       // of all of them
};

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

/// run(pack) for packs that make up the group.
template <class Run>
void for_packs(const HistoricalGroup& group, const Run& run) {
  for (int64_t begin = 0; begin < group.count; begin += kPack) {
    const int64_t end = std::min<int64_t>(begin + kPack, group.count);
    Pack pack = {};
    std::copy(group.tensors + begin, group.tensors + end, pack.tensors);
    pack.count = static_cast<int>(end - begin);
    pack.first_chunk = pack.tensors[0].first_chunk;
    pack.chunks = (end < group.count ? group.tensors[end].first_chunk : group.chunks) - pack.first_chunk;
    if (pack.chunks > 0) run(pack);
  }
}

unsigned grid_of(const Pack& pack) {
  return grid_for(pack.chunks);
}

/// body(tensor, first element, width, chunk) for the chunks of this block; all its threads are in the same chunk.
template <class Body>
__device__ __forceinline__ void for_chunks(const Pack& pack, const Body& body) {
  for (int64_t task = blockIdx.x; task < pack.chunks; task += gridDim.x) {
    const int64_t chunk = pack.first_chunk + task;
    int low = 0, high = pack.count;  // the last tensor that starts at or before the chunk
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (pack.tensors[middle].first_chunk <= chunk)
        low = middle;
      else
        high = middle;
    }
    const HistoricalTensor& tensor = pack.tensors[low];
    const int64_t first = (chunk - tensor.first_chunk) * kHistoricalChunk, rest = tensor.size - first;
    body(tensor, first, static_cast<int>(rest < kHistoricalChunk ? rest : kHistoricalChunk), chunk);
  }
}

/// Averages beside a vector of parameters of type T: as many elements, in one or more vectors of their own.
template <class T, class M>
__device__ __forceinline__ void load_averages(const M* from, int count, bool by_vector, Accumulate<T>* values) {
#pragma unroll
  for (int k = 0; k < kVector<T>; k += kVector<M>) load(from + k, count - k, by_vector, values + k);
}
template <class T, class M>
__device__ __forceinline__ void store_averages(M* to, int count, bool by_vector, const Accumulate<T>* values) {
#pragma unroll
  for (int k = 0; k < kVector<T>; k += kVector<M>) store(to + k, count - k, by_vector, values + k);
}

template <class T, class M>
__global__ void __launch_bounds__(kThreads) sum_squares(Pack pack, HistoricalStep step, double* partial) {
  using A = Accumulate<T>;
  __shared__ A shared[kThreads / kWarp];
  const bool is_first = step() == 1;
  for_chunks(pack, [&](const HistoricalTensor& tensor, int64_t first, int width, int64_t chunk) {
    const T* parameter = static_cast<const T*>(tensor.parameter) + first;
    const M* average = static_cast<const M*>(tensor.average) + first;
    const bool by_vector = aligned(parameter, average);
    A sum = 0;
    for_vectors<T>(width, threadIdx.x, kThreads, [&](int i, int count) {
      A p[kVector<T>], m[kVector<T>];
      load(parameter + i, count, by_vector, p);
      load_averages<T>(average + i, count, by_vector, m);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) {
        const A gap = historical_gap<A>(p[k], m[k], is_first);
        sum += gap * gap;
      }
    });
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[chunk] = sum;
  });
}

template <class T, class M>
__global__ void __launch_bounds__(kThreads) backward(Pack pack, HistoricalStep step, const double* g) {
  using A = Accumulate<T>;
  const double t = step();
  const bool is_first = t == 1;
  const A slope = static_cast<A>(historical_slope(t) * *g);
  for_chunks(pack, [&](const HistoricalTensor& tensor, int64_t first, int width, int64_t) {
    const T* parameter = static_cast<const T*>(tensor.parameter) + first;
    const M* average = static_cast<const M*>(tensor.average) + first;
    T* out = static_cast<T*>(tensor.out) + first;
    const bool by_vector = aligned(parameter, average, out);
    for_vectors<T>(width, threadIdx.x, kThreads, [&](int i, int count) {
      A p[kVector<T>], m[kVector<T>];
      load(parameter + i, count, by_vector, p);
      load_averages<T>(average + i, count, by_vector, m);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) p[k] = slope * historical_gap<A>(p[k], m[k], is_first);
      store(out + i, count, by_vector, p);
    });
  });
}

template <class T, class M>
__global__ void __launch_bounds__(kThreads)
    double_backward(Pack pack, HistoricalStep step, const double* g, double* partial) {
  using A = Accumulate<T>;
  __shared__ A shared[kThreads / kWarp];
  const double t = step();
  const bool is_first = t == 1;
  const A slope = static_cast<A>(historical_slope(t) * *g);
  for_chunks(pack, [&](const HistoricalTensor& tensor, int64_t first, int width, int64_t chunk) {
    const T* parameter = static_cast<const T*>(tensor.parameter) + first;
    const M* average = static_cast<const M*>(tensor.average) + first;
    const T* v = static_cast<const T*>(tensor.v) + first;
    T* out = static_cast<T*>(tensor.out) + first;
    const bool by_vector = aligned(parameter, average, v, out);
    A sum = 0;
    for_vectors<T>(width, threadIdx.x, kThreads, [&](int i, int count) {
      A p[kVector<T>], m[kVector<T>], vi[kVector<T>];
      load(parameter + i, count, by_vector, p);
      load_averages<T>(average + i, count, by_vector, m);
      load(v + i, count, by_vector, vi);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) {
        sum += vi[k] * historical_gap<A>(p[k], m[k], is_first);
        vi[k] *= slope;
      }
      store(out + i, count, by_vector, vi);
    });
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) partial[chunk] = sum;
  });
}

template <class T, class M>
__global__ void __launch_bounds__(kThreads) update(Pack pack, HistoricalStep step) {
  using A = Accumulate<T>;
  const double t = step();
  const bool is_first = t == 1;
  const A share = static_cast<A>(1 / t);
  for_chunks(pack, [&](const HistoricalTensor& tensor, int64_t first, int width, int64_t) {
    const T* parameter = static_cast<const T*>(tensor.parameter) + first;
    M* average = static_cast<M*>(tensor.out) + first;
    const bool by_vector = aligned(parameter, average);
    for_vectors<T>(width, threadIdx.x, kThreads, [&](int i, int count) {
      A p[kVector<T>], m[kVector<T>];
      load(parameter + i, count, by_vector, p);
      load_averages<T>(average + i, count, by_vector, m);
#pragma unroll
      for (int k = 0; k < kVector<T>; ++k) m[k] = historical_mean(p[k], m[k], is_first, share);
      store_averages<T>(average + i, count, by_vector, m);
    });
  });
}

/// One block: there is one partial sum for thousands of values.
__global__ void __launch_bounds__(kThreads)
    sum_all(const double* partial, int64_t chunks, double* total, HistoricalStep step, double factor) {
  __shared__ double shared[kThreads / kWarp];
  double sum = 0;
  for (int64_t chunk = threadIdx.x; chunk < chunks; chunk += kThreads) sum += partial[chunk];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) *total = sum * historical_slope(step()) * factor;
}

}  // namespace

void run_on_cuda(const HistoricalDistanceArgs& args, Dtype dtype, CudaStream stream) {
  with_types(args.group, dtype, [&]<class T, class M>(Type<T>, Type<M>) {
    for_packs(args.group, [&](const Pack& pack) {
      launch(sum_squares<T, M>, grid_of(pack), kThreads, stream, pack, args.group.step, args.partial);
    });
  });
}

void run_on_cuda(const HistoricalBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_types(args.group, dtype, [&]<class T, class M>(Type<T>, Type<M>) {
    for_packs(args.group, [&](const Pack& pack) {
      launch(backward<T, M>, grid_of(pack), kThreads, stream, pack, args.group.step, args.g);
    });
  });
}

void run_on_cuda(const HistoricalDoubleBackwardArgs& args, Dtype dtype, CudaStream stream) {
  with_types(args.group, dtype, [&]<class T, class M>(Type<T>, Type<M>) {
    for_packs(args.group, [&](const Pack& pack) {
      launch(double_backward<T, M>, grid_of(pack), kThreads, stream, pack, args.group.step, args.g, args.partial);
    });
  });
}

void run_on_cuda(const HistoricalUpdateArgs& args, Dtype dtype, CudaStream stream) {
  with_types(args.group, dtype, [&]<class T, class M>(Type<T>, Type<M>) {
    for_packs(args.group,
              [&](const Pack& pack) { launch(update<T, M>, grid_of(pack), kThreads, stream, pack, args.group.step); });
  });
}

void run_on_cuda(const HistoricalSumArgs& args, Dtype, CudaStream stream) {
  launch(sum_all, 1, kThreads, stream, args.partial, args.chunks, args.total, args.step, args.factor);
}

}  // namespace gan_ops
