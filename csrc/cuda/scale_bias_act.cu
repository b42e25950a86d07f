// The epilogue of a demodulated convolution on CUDA: a warp takes a chunk, a thread 16 bytes of lanes of every so many
// rows; sums along the rows stay in registers, those along the lanes are taken by shuffles.
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s, double backward 5·E·s; noise and its
// gradient are 1/C of that each, the scratch of the sums at most 1/8 of a tensor in float32 where chunks have 8 rows
// (few elements), 1/64 where they have 64. At most 40 operations an element, of smooth activations, so memory sets the
// pace: at an H200's 4.8 TB/s, 32×128×128×128 takes 0.11 ms forward, 0.17 ms backward and 0.28 ms double backward in
// float32 (268 MB) and half of that in bfloat16.
#include "../scale_bias_act.h"
#include "columns.cuh"
#include "vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

struct Exponentials {
  static __device__ __forceinline__ float exp_of_minus(float d) { return expf(-d); }
  static __device__ __forceinline__ double exp_of_minus(double d) { return exp(-d); }
  static __device__ __forceinline__ float expm1_of_minus(float d) { return expm1f(-d); }
  static __device__ __forceinline__ double expm1_of_minus(double d) { return expm1(-d); }
  static __device__ __forceinline__ float log1p_of_fraction(float e) { return log1pf(e); }
  static __device__ __forceinline__ double log1p_of_fraction(double e) { return log1p(e); }
};

/// What a kernel knows besides its tensors.
template <class A>
struct Walk {
  EpilogueLayout s;
  EpilogueChunks chunks;
  int columns;  // threads side by side along a row's lanes
  Activation act;
  double alpha;
  Saturation<A> limits;

  /// ψ and φ's derivatives at each t. Of these, what a kernel does not use is not computed.
  template <int kCount>
  __device__ __forceinline__ void activate(const A (&t)[kCount], Derivatives<A> (&at)[kCount]) const {
    with_activation<Exponentials, A>(act, alpha, [&](const auto& phi) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) at[k] = phi(t[k]);
    });
#pragma unroll
    for (int k = 0; k < kCount; ++k) at[k] = saturate(at[k], limits);
  }
};

/// A thread's place in a chunk.
struct Place {
  int64_t sample, lane_chunk, row_chunk;
  int64_t lane, row, end;  // from this row on, to that one, every `step`th
  int here, column, step;  // of a vector from its lane on, so many lanes are in the chunk
};

/// body(place) for the chunks of this warp; all its threads come along.
template <class T, class A, class Body>
__device__ __forceinline__ void for_chunks(const Walk<A>& w, const Body& body) {
  const int thread = threadIdx.x % kWarp, column = thread % w.columns;
  const int64_t per_sample = w.chunks.per_sample(), tasks = w.s.samples * per_sample;
  for (int64_t task = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; task < tasks;
       task += int64_t(gridDim.x) * kWarps) {
    const int64_t sample = task / per_sample, chunk = task - sample * per_sample;
    const int64_t row_chunk = chunk / w.chunks.of_lanes, lane_chunk = chunk - row_chunk * w.chunks.of_lanes;
    const int64_t first_row = row_chunk * w.chunks.rows, lane = lane_chunk * w.chunks.lanes + column * kVector<T>;
    const int64_t rows = w.s.rows(), end = first_row + w.chunks.rows < rows ? first_row + w.chunks.rows : rows;
    const int64_t left = w.s.lanes() - lane;
    body(Place{sample, lane_chunk, row_chunk, lane, first_row + thread / w.columns, end,
               static_cast<int>(left < 0            ? 0
                                : left < kVector<T> ? left
                                                    : kVector<T>),
               column, kWarp / w.columns});
  }
}

/// values[k] = from[k], by vectors where they lie so; `otherwise` where there are none.
template <int kCount, class A>
__device__ __forceinline__ void load_lanes(const A* from, int64_t first, int here, A otherwise, A (&values)[kCount]) {
  if (from == nullptr) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) values[k] = otherwise;
    return;
  }
  const bool by_vector = aligned(from + first);
#pragma unroll
  for (int k = 0; k < kCount; k += kVector<A>) load(from + first + k, here - k, by_vector, values + k);
}

/// x · scale + offset: a thread keeps what is its lanes', and reads what is a row's.
template <class A, int kCount, bool kAdjacent>
struct Affine {
  const A* scales;
  const A* biases;
  const A* noises;
  A no_scale;
  A lane_scale[kAdjacent ? kCount : 1], lane_offset[kCount];
  A row_scale, row_offset;

  __device__ __forceinline__ Affine(const EpilogueParameters& of, const EpilogueLayout& s, const Place& at, A otherwise)
      : scales(static_cast<const A*>(of.scale)),
        biases(static_cast<const A*>(of.bias)),
        noises(static_cast<const A*>(of.noise)),
        no_scale(otherwise) {
    if (scales != nullptr) scales += at.sample * s.channels;
    if (noises != nullptr) noises += at.sample * of.noise_step(s);
    if constexpr (kAdjacent) load_lanes(scales, at.lane, at.here, otherwise, lane_scale);
    load_lanes(kAdjacent ? biases : noises, at.lane, at.here, A(0), lane_offset);
  }
  __device__ __forceinline__ void enter(int64_t row, bool is_row) {
    const A* offsets = kAdjacent ? noises : biases;
    row_offset = is_row && offsets != nullptr ? offsets[row] : A(0);
    if constexpr (!kAdjacent) row_scale = is_row && scales != nullptr ? scales[row] : no_scale;
  }
  __device__ __forceinline__ A scale(int k) const {
    if constexpr (kAdjacent)
      return lane_scale[k];
    else
      return row_scale;
  }
  __device__ __forceinline__ A offset(int k) const { return lane_offset[k] + row_offset; }
};

/// A thread's part of a chunk's sums.
template <class A, int kCount, bool kAdjacent>
struct ChunkSums {
  A lane_scale[kAdjacent ? kCount : 1] = {}, lane_offset[kCount] = {};
  A row_scale, row_offset;

  __device__ __forceinline__ void add(int k, A of_scale, A of_offset) {
    if constexpr (kAdjacent)
      lane_scale[k] += of_scale;
    else
      row_scale += of_scale;
    lane_offset[k] += of_offset;
    row_offset += of_offset;
  }
  static __device__ __forceinline__ void put(void* partial, int64_t i, A sum) {
    if (partial != nullptr) static_cast<A*>(partial)[i] = sum;
  }
  /// The sums of the threads' rows, along their lanes. The whole warp must come here.
  __device__ __forceinline__ void put_row(const EpilogueSums& to, const Walk<A>& w, const Place& at, int64_t row) {
    const int64_t i = (at.sample * w.chunks.of_lanes + at.lane_chunk) * w.s.rows() + row;
    const bool puts = at.column == 0 && row < at.end;
    if (void* partial = kAdjacent ? to.partial_noise : to.partial_bias; partial != nullptr) {
      const A sum = lanes_sum(row_offset, w.columns);
      if (puts) put(partial, i, sum);
    }
    if (!kAdjacent && to.partial_scale != nullptr) {
      const A sum = lanes_sum(row_scale, w.columns);
      if (puts) put(to.partial_scale, i, sum);
    }
  }
  /// The sums of the threads' lanes, over the chunk's rows. The whole warp must come here.
  __device__ __forceinline__ void put_lanes(const EpilogueSums& to, const Walk<A>& w, const Place& at) {
    const int64_t first = (at.sample * w.chunks.of_rows + at.row_chunk) * w.s.lanes() + at.lane;
    put_all(kAdjacent ? to.partial_bias : to.partial_noise, first, lane_offset, w.columns, at.here);
    if constexpr (kAdjacent) put_all(to.partial_scale, first, lane_scale, w.columns, at.here);
  }
  static __device__ __forceinline__ void put_all(void* partial, int64_t first, A (&sums)[kCount], int columns,
                                                 int here) {
    if (partial == nullptr) return;
    for (int distance = columns; distance < kWarp; distance *= 2)
#pragma unroll
      for (int k = 0; k < kCount; ++k) sums[k] += __shfl_xor_sync(kAllLanes, sums[k], distance);
    if (threadIdx.x % kWarp >= columns) return;
#pragma unroll
    for (int k = 0; k < kCount; ++k)
      if (k < here) put(partial, first + k, sums[k]);
  }
};

// Aiming at more blocks, the compiler spills registers.
template <class T>
constexpr int kForwardBlocks = sizeof(T) == 8 ? 2 : 3;
template <class T>
constexpr int kBackwardBlocks = sizeof(T) == 8 ? 1 : 2;

template <bool kAdjacent, class T, class A>
__global__ void __launch_bounds__(kThreads, kForwardBlocks<T>)
    forward(const T* x, EpilogueParameters parameters, T* y, Walk<A> w) {
  constexpr int kV = kVector<T>;
  const int64_t lanes = w.s.lanes(), rows = w.s.rows();
  const bool by_vector = aligned(x, y) && lanes % kV == 0;
  for_chunks<T>(w, [&](const Place& at) {
    if (at.here == 0) return;
    Affine<A, kV, kAdjacent> of(parameters, w.s, at, A(1));
    for (int64_t row = at.row; row < at.end; row += at.step) {
      const int64_t i = (at.sample * rows + row) * lanes + at.lane;
      of.enter(row, true);
      A t[kV];
      load(x + i, at.here, by_vector, t);
#pragma unroll
      for (int k = 0; k < kV; ++k) t[k] = t[k] * of.scale(k) + of.offset(k);
      Derivatives<A> of_t[kV];
      w.activate(t, of_t);
#pragma unroll
      for (int k = 0; k < kV; ++k) t[k] = of_t[k].value;
      store(y + i, at.here, by_vector, t);
    }
  });
}

template <bool kAdjacent, class T, class A>
__global__ void __launch_bounds__(kThreads, kBackwardBlocks<T>)
    backward(const T* g, const T* x, EpilogueParameters parameters, T* d_x, EpilogueSums sums, Walk<A> w) {
  constexpr int kV = kVector<T>;
  const int64_t lanes = w.s.lanes(), rows = w.s.rows();
  const bool by_vector = aligned(g, x, d_x) && lanes % kV == 0;
  for_chunks<T>(w, [&](const Place& at) {
    Affine<A, kV, kAdjacent> of(parameters, w.s, at, A(1));
    ChunkSums<A, kV, kAdjacent> found;
    // The loop's bound is the same for a whole warp: all its threads take part in the sums.
    for (int64_t first = at.row - threadIdx.x % kWarp / w.columns; first < at.end; first += at.step) {
      const int64_t row = first + threadIdx.x % kWarp / w.columns;
      const int64_t i = (at.sample * rows + row) * lanes + at.lane;
      const int here = row < at.end ? at.here : 0;
      const uint4 g_bits = load_bits(g + i, here, by_vector), x_bits = load_bits(x + i, here, by_vector);
      of.enter(row, row < at.end);
      A xs[kV], t[kV], p[kV];
      unpack<T>(x_bits, xs);
      unpack<T>(g_bits, p);
#pragma unroll
      for (int k = 0; k < kV; ++k) t[k] = xs[k] * of.scale(k) + of.offset(k);
      Derivatives<A> of_t[kV];
      w.activate(t, of_t);
      found.row_scale = found.row_offset = 0;
#pragma unroll
      for (int k = 0; k < kV; ++k) {
        p[k] = k < here ? differentiate(p[k], w.limits.gain, of_t[k]) : A(0);
        found.add(k, k < here ? p[k] * xs[k] : A(0), p[k]);
        p[k] *= of.scale(k);
      }
      if (d_x != nullptr) store(d_x + i, here, by_vector, p);
      found.put_row(sums, w, at, row);
    }
    found.put_lanes(sums, w, at);
  });
}

template <bool kAdjacent, class T, class A>
__global__ void __launch_bounds__(kThreads, 1)
    double_backward(const T* v, EpilogueParameters cotangents, const T* g, const T* x, EpilogueParameters parameters,
                    T* d_g, T* d_x, EpilogueSums sums, EpilogueTerms terms, Walk<A> w) {
  constexpr int kV = kVector<T>;
  const int64_t lanes = w.s.lanes(), rows = w.s.rows();
  const bool by_vector = aligned(v, g, x, d_g, d_x) && lanes % kV == 0;
  for_chunks<T>(w, [&](const Place& at) {
    Affine<A, kV, kAdjacent> of(parameters, w.s, at, A(1)), to(cotangents, w.s, at, A(0));
    ChunkSums<A, kV, kAdjacent> found;
    for (int64_t first = at.row - threadIdx.x % kWarp / w.columns; first < at.end; first += at.step) {
      const int64_t row = first + threadIdx.x % kWarp / w.columns;
      const int64_t i = (at.sample * rows + row) * lanes + at.lane;
      const int here = row < at.end ? at.here : 0;
      const uint4 v_bits = v == nullptr ? make_uint4(0, 0, 0, 0) : load_bits(v + i, here, by_vector);
      const uint4 g_bits = load_bits(g + i, here, by_vector), x_bits = load_bits(x + i, here, by_vector);
      of.enter(row, row < at.end);
      to.enter(row, row < at.end);
      A xs[kV], t[kV], gs[kV], vs[kV];
      unpack<T>(x_bits, xs);
      unpack<T>(g_bits, gs);
      unpack<T>(v_bits, vs);
#pragma unroll
      for (int k = 0; k < kV; ++k) t[k] = xs[k] * of.scale(k) + of.offset(k);
      found.row_scale = found.row_offset = 0;
      Derivatives<A> of_t[kV];
      w.activate(t, of_t);
#pragma unroll
      for (int k = 0; k < kV; ++k) {
        const EpilogueTwice<A> made = differentiate_twice(vs[k], gs[k], xs[k], of_t[k], w.limits.gain, of.scale(k),
                                                          to.scale(k), to.offset(k), terms);
        found.add(k, k < here ? made.of_scale : A(0), k < here ? made.of_offset : A(0));
        gs[k] = made.d_g;
        xs[k] = made.d_x;
      }
      if (d_g != nullptr) store(d_g + i, here, by_vector, gs);
      if (d_x != nullptr) store(d_x + i, here, by_vector, xs);
      found.put_row(sums, w, at, row);
    }
    found.put_lanes(sums, w, at);
  });
}

// ---- The last step of the sums: partial [groups, rows, width] → total [groups, width], in a fixed order ----

/// A thread an element of the total.
template <class A>
__global__ void __launch_bounds__(kThreads)
    sum_few(const A* partial, A* total, int64_t groups, int64_t rows, int64_t width) {
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < groups * width;
       i += int64_t(gridDim.x) * kThreads) {
    const int64_t group = i / width, column = i - group * width;
    A sum = 0;
#pragma unroll 4
    for (int64_t row = 0; row < rows; ++row) sum += partial[(group * rows + row) * width + column];
    total[i] = sum;
  }
}

constexpr int kSumColumns = 8;  // neighbouring elements of a block: a sector of 32 bytes in float32
constexpr int kSumRows = kThreads / kSumColumns;

/// kSumRows threads share the rows of an element.
template <class A>
__global__ void __launch_bounds__(kThreads)
    sum_many(const A* partial, A* total, int64_t groups, int64_t rows, int64_t width) {
  __shared__ A shared[kSumRows][kSumColumns];
  const int column = threadIdx.x % kSumColumns, row_of_thread = threadIdx.x / kSumColumns;
  const int64_t strips = (width + kSumColumns - 1) / kSumColumns;
  for (int64_t task = blockIdx.x; task < groups * strips; task += gridDim.x) {
    const int64_t group = task / strips, at = (task - group * strips) * kSumColumns + column;
    A sum = 0;
    if (at < width)
#pragma unroll 4
      for (int64_t row = row_of_thread; row < rows; row += kSumRows) sum += partial[(group * rows + row) * width + at];
    shared[row_of_thread][column] = sum;
    __syncthreads();
    if (row_of_thread == 0 && at < width) {
      A of_column = 0;
#pragma unroll
      for (int r = 0; r < kSumRows; ++r) of_column += shared[r][column];
      total[group * width + at] = of_column;
    }
    __syncthreads();
  }
}

template <class A>
void launch_sum_middle(const void* partial, void* total, int64_t groups, int64_t rows, int64_t width,
                       CudaStream stream) {
  if (total == nullptr) return;
  const A* from = static_cast<const A*>(partial);
  A* to = static_cast<A*>(total);
  constexpr int64_t kFew = 32;
  if (rows <= kFew)
    launch(sum_few<A>, grid_for((groups * width + kThreads - 1) / kThreads), kThreads, stream, from, to, groups, rows,
           width);
  else
    launch(sum_many<A>, grid_for(groups * ((width + kSumColumns - 1) / kSumColumns)), kThreads, stream, from, to,
           groups, rows, width);
}

template <class A>
void finish(const EpilogueSums& sums, const EpilogueLayout& s, const EpilogueChunks& chunks, bool noise_of_each,
            CudaStream stream) {
  const int64_t of_pixels = s.channels_adjacent ? chunks.of_rows : chunks.of_lanes;
  const int64_t of_channels = s.channels_adjacent ? chunks.of_lanes : chunks.of_rows;
  const int64_t noises = noise_of_each ? s.samples : 1;
  launch_sum_middle<A>(sums.partial_scale, sums.scale, s.samples, of_pixels, s.channels, stream);
  launch_sum_middle<A>(sums.partial_bias, sums.bias, 1, s.samples * of_pixels, s.channels, stream);
  launch_sum_middle<A>(sums.partial_noise, sums.noise, noises, s.samples / noises * of_channels, s.pixels, stream);
}

template <class T>
Walk<Accumulate<T>> walk_of(const EpilogueLayout& s, const EpilogueChunks& chunks, const EpilogueOptions& options) {
  return {s,           chunks,        columns_for((chunks.lanes + kVector<T> - 1) / kVector<T>),
          options.act, options.alpha, saturation<Accumulate<T>>(options)};
}

unsigned grid_of(const EpilogueLayout& s, const EpilogueChunks& chunks) {
  return grid_for((s.samples * chunks.per_sample() + kWarps - 1) / kWarps);
}

template <class Body>
void with_layout(const EpilogueLayout& s, const Body& body) {
  if (s.channels_adjacent)
    body(std::true_type{});
  else
    body(std::false_type{});
}

}  // namespace

void run_on_cuda(const ScaleBiasActForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const EpilogueChunks chunks = cuda_epilogue_chunks(a.layout, sizeof(T));
    with_layout(a.layout, [&]<bool kAdjacent>(std::bool_constant<kAdjacent>) {
      launch(forward<kAdjacent, T, A>, grid_of(a.layout, chunks), kThreads, stream, static_cast<const T*>(a.x), a.of,
             static_cast<T*>(a.y), walk_of<T>(a.layout, chunks, a.options));
    });
  });
}

void run_on_cuda(const ScaleBiasActBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    with_layout(a.layout, [&]<bool kAdjacent>(std::bool_constant<kAdjacent>) {
      launch(backward<kAdjacent, T, A>, grid_of(a.layout, a.chunks), kThreads, stream, static_cast<const T*>(a.g),
             static_cast<const T*>(a.x), a.of, static_cast<T*>(a.d_x), a.sums,
             walk_of<T>(a.layout, a.chunks, a.options));
    });
    finish<A>(a.sums, a.layout, a.chunks, a.of.noise_of_each, stream);
  });
}

void run_on_cuda(const ScaleBiasActDoubleBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    with_layout(a.layout, [&]<bool kAdjacent>(std::bool_constant<kAdjacent>) {
      launch(double_backward<kAdjacent, T, A>, grid_of(a.layout, a.chunks), kThreads, stream,
             static_cast<const T*>(a.v), a.to, static_cast<const T*>(a.g), static_cast<const T*>(a.x), a.of,
             static_cast<T*>(a.d_g), static_cast<T*>(a.d_x), a.sums, terms_of(a),
             walk_of<T>(a.layout, a.chunks, a.options));
    });
    finish<A>(a.sums, a.layout, a.chunks, a.of.noise_of_each, stream);
  });
}

}  // namespace gan_ops
