// Virtual batch norm on CUDA: a team of threads sums a channel of an example, in chunks where it has many pixels, and
// then walks its elements again, mostly out of cache.
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s, double backward 5·E·s, beside a few
// values a channel and example. At most 25 operations an element, so memory sets the pace: at an H200's 4.8 TB/s,
// 64×64×128×128 in float32 (268 MB) takes 0.11, 0.17 and 0.28 ms, if the second reading of a chunk is out of cache.
#include "../virtual_batch_norm.h"
#include "stream_vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

constexpr int kColumns = 32;                // neighbouring channels of a block, when they are adjacent
constexpr int kRows = kThreads / kColumns;  // threads that share a channel's pixels then

/// What one team works on: pixels [begin, end) of channel `channel` of an example.
struct Task {
  bool inside;  // else the team only takes part in the block's barriers and shuffles
  int64_t row;  // of [N, C]
  int64_t channel;
  int64_t chunk;
  int64_t begin, end;  // elements, the next pixel `stride` behind
  int64_t stride;
};

__device__ __forceinline__ Task make_task(const VbnLayout& s, int64_t chunks, int64_t n, int64_t channel,
                                          int64_t chunk) {
  const int64_t stride = s.channels_adjacent ? s.channels : 1, size = vbn_cuda_chunk(s);
  const int64_t first = s.first(n, channel), last = chunk + 1 < chunks ? (chunk + 1) * size : s.pixels;
  return {n < s.samples && channel < s.channels, n * s.channels + channel, channel, chunk,
          first + chunk * size * stride,         first + last * stride,    stride};
}

/// Pixels adjacent: `Lanes` neighbouring threads are a team, within a warp or a whole block.
template <int Lanes>
struct PlaneTeam {
  static constexpr int kSize = Lanes;
  static constexpr bool kVectors = true;              // a thread takes 16 bytes at a time
  static constexpr int kTeams = kThreads / Lanes;     // in a block
  static constexpr bool kChunks = Lanes == kThreads;  // whether there may be several: planes of smaller teams are small
  static __device__ __forceinline__ int rank() { return threadIdx.x % Lanes; }
  static __host__ __device__ __forceinline__ int64_t blocks(const VbnLayout& s, int64_t chunks) {
    return (s.rows() * chunks + kTeams - 1) / kTeams;
  }
  static __device__ __forceinline__ Task task(const VbnLayout& s, int64_t chunks, int64_t block) {
    const int64_t index = block * kTeams + threadIdx.x / Lanes, row = index / chunks;
    return make_task(s, chunks, row / s.channels, row % s.channels, index % chunks);
  }
  /// The sum over the team, in each of its threads; all threads of the block must come here. `shared` holds kThreads
  /// values and may be used again at once.
  template <class A>
  static __device__ __forceinline__ A sum(A value, A* shared) {
    if constexpr (Lanes == kThreads) {
      return block_sum(value, shared);
    } else {
      return lanes_sum<Lanes>(value);
    }
  }
};

/// Channels adjacent: the threads of a column are a team, a block's columns are neighbouring channels. A thread takes
/// an element at a time, a warp 64 or 128 bytes side by side: vectors would multiply the sums and coefficients of a
/// thread.
struct ColumnTeam {
  static constexpr int kSize = kRows;
  static constexpr bool kVectors = false;
  static constexpr bool kChunks = true;
  static __device__ __forceinline__ int rank() { return threadIdx.x / kColumns; }
  static __host__ __device__ __forceinline__ int64_t strips(const VbnLayout& s) {
    return (s.channels + kColumns - 1) / kColumns;
  }
  static __host__ __device__ __forceinline__ int64_t blocks(const VbnLayout& s, int64_t chunks) {
    return s.samples * chunks * strips(s);
  }
  static __device__ __forceinline__ Task task(const VbnLayout& s, int64_t chunks, int64_t block) {
    const int64_t channel = block % strips(s) * kColumns + threadIdx.x % kColumns, index = block / strips(s);
    return make_task(s, chunks, index / chunks, channel, index % chunks);
  }
  template <class A>
  static __device__ __forceinline__ A sum(A value, A* shared) {
    shared[threadIdx.x] = value;
    __syncthreads();
    A total = 0;
#pragma unroll
    for (int row = 0; row < kRows; ++row) total += shared[row * kColumns + threadIdx.x % kColumns];
    __syncthreads();
    return total;
  }
};

/// body(first element, how many) for the elements of this thread, as many at a time as it takes at once.
template <class Team, class T, class Body>
__device__ __forceinline__ void for_elements(const Task& task, const Body& body) {
  if (!task.inside) return;
  if constexpr (Team::kVectors)
    for_vectors<T>(static_cast<int>(task.end - task.begin), Team::rank(), Team::kSize,
                   [&](int i, int count) { body(task.begin + i, count); });
  else
    for (int64_t i = task.begin + Team::rank() * task.stride; i < task.end; i += Team::kSize * task.stride) body(i, 1);
}

/// Whether the vectors of a task are aligned.
template <class Team, class F>
__device__ __forceinline__ bool by_vectors(const F& f, const Task& task) {
  return Team::kVectors && aligned_streams(f.streams()) && task.begin % kVector<typename F::Element> == 0;
}

/// body(values of the inputs) for each element of this thread.
template <class Team, class F, class Body>
__device__ __forceinline__ void for_inputs(const F& f, const Task& task, const Body& body) {
  using T = typename F::Element;
  const auto streams = f.streams();
  const bool by_vector = by_vectors<Team>(f, task);
  for_elements<Team, T>(task, [&](int64_t i, int count) {
    constexpr int kAtOnce = Team::kVectors ? kVector<T> : 1;
    typename F::A in[kAtOnce][F::kInputs];
    if constexpr (Team::kVectors)
      load_streams(streams, i, count, by_vector, in);
    else
      streams.load(i, in[0]);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k)
      if (k < count) body(in[k]);
  });
}

/// The sums over a task's pixels.
template <class Team, class F, class A>
__device__ __forceinline__ void sum_pixels(const F& f, const Task& task, A* sums, A* shared) {
  if constexpr (F::kMoments) {
    A total = 0, squares = 0;
    for_inputs<Team>(f, task, [&](const A* in) { total += in[F::kX]; });
    const A mean = Team::sum(total, shared) / A((task.end - task.begin) / task.stride);
    for_inputs<Team>(f, task, [&](const A* in) {
      const A distance = in[F::kX] - mean;
      squares += distance * distance;
    });
    sums[0] = mean;
    sums[1] = Team::sum(squares, shared);
  } else {
    const A centre = task.inside ? f.centre(task.row, task.channel) : A(0);
    A own[F::kSums] = {};
    for_inputs<Team>(f, task, [&](const A* in) {
      A terms[F::kSums];
      f.terms(in, centre, terms);
#pragma unroll
      for (int k = 0; k < F::kSums; ++k) own[k] += terms[k];
    });
#pragma unroll
    for (int k = 0; k < F::kSums; ++k) sums[k] = Team::sum(own[k], shared);
  }
}

/// The sums over all of a channel's pixels, from those of its chunks: partial [kSums, chunks, N·C].
template <class Team, class F, class A>
__device__ __forceinline__ void sum_chunks(const VbnLayout& s, int64_t chunks, const Task& task, const A* partial,
                                           A* sums, A* shared) {
  const auto part = [&](int k, int64_t chunk) { return partial[(k * chunks + chunk) * s.rows() + task.row]; };
  const int64_t end = task.inside ? chunks : 0;
  if constexpr (F::kMoments) {
    const int64_t size = vbn_cuda_chunk(s);
    const auto count = [&](int64_t chunk) { return A(chunk + 1 < chunks ? size : s.pixels - chunk * size); };
    A total = 0, squares = 0;
#pragma unroll 1
    for (int64_t chunk = Team::rank(); chunk < end; chunk += Team::kSize) total += part(0, chunk) * count(chunk);
    const A mean = Team::sum(total, shared) / A(s.pixels);
#pragma unroll 1
    for (int64_t chunk = Team::rank(); chunk < end; chunk += Team::kSize) {
      const A distance = part(0, chunk) - mean;
      squares += part(1, chunk) + distance * distance * count(chunk);
    }
    sums[0] = mean;
    sums[1] = Team::sum(squares, shared);
  } else {
#pragma unroll
    for (int k = 0; k < F::kSums; ++k) {
      A own = 0;
#pragma unroll 1
      for (int64_t chunk = Team::rank(); chunk < end; chunk += Team::kSize) own += part(k, chunk);
      sums[k] = Team::sum(own, shared);
    }
  }
}

/// Everything after the sums: the algebra of the channel, what is kept of it, the elements of the task.
template <class Team, class F, class A>
__device__ __forceinline__ void finish(const F& f, const Task& task, const A* sums) {
  if (!task.inside) return;
  A coefficients[F::kCoefficients], keep[F::kKept];
  f.coefficients(task.row, task.channel, sums, coefficients, keep);
  if (task.chunk == 0 && Team::rank() == 0 && f.keeps()) {
#pragma unroll
    for (int k = 0; k < F::kKept; ++k) f.kept[k][task.row] = keep[k];
  }
  if (!f.writes()) return;
  const auto streams = f.streams();
  const bool by_vector = by_vectors<Team>(f, task);
  for_elements<Team, typename F::Element>(task, [&](int64_t i, int count) {
    if constexpr (Team::kVectors) {
      constexpr int kAtOnce = kVector<typename F::Element>;
      A in[kAtOnce][F::kInputs], out[kAtOnce][F::kOutputs];
      load_streams(streams, i, count, by_vector, in);
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) f.write(in[k], coefficients, out[k]);
      store_streams(streams, i, count, by_vector, out);
    } else {
      f.write(i, coefficients);
    }
  });
}

// The bounds of both loops are the same for a whole block, so that all its threads take part in the sums.

/// Channels that are one chunk each.
template <class Team, class F>
__global__ void __launch_bounds__(kThreads) in_one(F f, VbnLayout s) {
  using A = typename F::A;
  __shared__ A shared[kThreads];
  for (int64_t block = blockIdx.x; block < Team::blocks(s, 1); block += gridDim.x) {
    const Task task = Team::task(s, 1, block);
    A sums[F::kSums];
    sum_pixels<Team>(f, task, sums, shared);
    finish<Team>(f, task, sums);
  }
}

/// Channels of several chunks: their sums,
template <class Team, class F>
__global__ void __launch_bounds__(kThreads) gather(F f, VbnLayout s, int64_t chunks, typename F::A* partial) {
  using A = typename F::A;
  __shared__ A shared[kThreads];
  for (int64_t block = blockIdx.x; block < Team::blocks(s, chunks); block += gridDim.x) {
    const Task task = Team::task(s, chunks, block);
    A sums[F::kSums];
    sum_pixels<Team>(f, task, sums, shared);
    if (!task.inside || Team::rank() != 0) continue;
#pragma unroll
    for (int k = 0; k < F::kSums; ++k) partial[(k * chunks + task.chunk) * s.rows() + task.row] = sums[k];
  }
}

/// and what follows from them.
template <class Team, class F>
__global__ void __launch_bounds__(kThreads) spread(F f, VbnLayout s, int64_t chunks, const typename F::A* partial) {
  using A = typename F::A;
  __shared__ A shared[kThreads];
  for (int64_t block = blockIdx.x; block < Team::blocks(s, chunks); block += gridDim.x) {
    const Task task = Team::task(s, chunks, block);
    A sums[F::kSums];
    sum_chunks<Team, F>(s, chunks, task, partial, sums, shared);
    finish<Team>(f, task, sums);
  }
}

template <class Team, class F>
void walk_in_teams(const F& f, const VbnLayout& s, void* scratch, CudaStream stream) {
  using A = typename F::A;
  const int64_t chunks = vbn_cuda_chunks(s);
  const unsigned grid = grid_for(Team::blocks(s, chunks));
  if (chunks == 1) {
    launch(in_one<Team, F>, grid, kThreads, stream, f, s);
    return;
  }
  if constexpr (Team::kChunks) {
    A* partial = static_cast<A*>(scratch);
    launch(gather<Team, F>, grid, kThreads, stream, f, s, chunks, partial);
    launch(spread<Team, F>, grid, kThreads, stream, f, s, chunks, static_cast<const A*>(partial));
  }
}

template <class F>
void walk(const F& f, const VbnLayout& s, void* partial, CudaStream stream) {
  if (s.channels_adjacent)
    walk_in_teams<ColumnTeam>(f, s, partial, stream);
  else if (s.pixels <= 64)
    walk_in_teams<PlaneTeam<4>>(f, s, partial, stream);
  else if (s.pixels <= 1024)
    walk_in_teams<PlaneTeam<kWarp>>(f, s, partial, stream);
  else
    walk_in_teams<PlaneTeam<kThreads>>(f, s, partial, stream);
}

template <class A, int Count>
struct Totals {
  const A* kept[Count];  // [N, C]
  A* total[Count];       // [C]
};

/// kept[k]: [N, C] → total[k]: [C]. Reads Count·N·C values, 1/P of what the walk moves.
template <class A, int Count>
__global__ void __launch_bounds__(kThreads) sum_examples(Totals<A, Count> totals, VbnLayout s) {
  __shared__ A shared[kThreads];
  const int64_t strips = ColumnTeam::strips(s);
  for (int64_t block = blockIdx.x; block < Count * strips; block += gridDim.x) {
    const int64_t k = block / strips, channel = block % strips * kColumns + threadIdx.x % kColumns;
    const A* kept = nullptr;
    A* total = nullptr;
#pragma unroll
    for (int other = 0; other < Count; ++other) {  // an index known while compiling keeps the pointers in registers
      if (other != k) continue;
      kept = totals.kept[other];
      total = totals.total[other];
    }
    A sum = 0;
    if (channel < s.channels)
      for (int64_t n = ColumnTeam::rank(); n < s.samples; n += kRows) sum += kept[n * s.channels + channel];
    sum = ColumnTeam::sum(sum, shared);
    if (channel < s.channels && ColumnTeam::rank() == 0) total[channel] = sum;
  }
}

template <class F, int Count>
void add_up(const F& f, const VbnLayout& s, void* const (&total)[Count], CudaStream stream) {
  using A = typename F::A;
  if (!f.keeps()) return;
  Totals<A, Count> totals;
  for (int k = 0; k < Count; ++k) {
    totals.kept[k] = f.kept[k];
    totals.total[k] = static_cast<A*>(total[k]);
  }
  launch(sum_examples<A, Count>, grid_for(Count * ColumnTeam::strips(s)), kThreads, stream, totals, s);
}

}  // namespace

void run_on_cuda(const VbnForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) { walk(make_forward<T>(a), a.layout, a.partial, stream); });
}

void run_on_cuda(const VbnBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    const auto f = make_backward<T>(a);
    walk(f, a.layout, a.partial, stream);
    add_up(f, a.layout, {a.d_weight, a.d_bias, a.d_reference_mean, a.d_reference_var}, stream);
  });
}

void run_on_cuda(const VbnDoubleBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    const auto f = make_double_backward<T>(a);
    walk(f, a.layout, a.partial, stream);
    add_up(f, a.layout, {a.d_weight, a.d_reference_mean, a.d_reference_var}, stream);
  });
}

}  // namespace gan_ops
