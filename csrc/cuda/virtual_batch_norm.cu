// Virtual batch norm on CUDA: the threads of a block sum channels of an example, in chunks where they have many pixels,
// and then walk over the elements again, out of cache: a block its own chunk at once, or any block a chunk whose
// channels have meanwhile been summed to the end (Tickets).
//
// Bytes it must move, for E elements of size s: forward 2·E·s, backward 3·E·s, double backward 5·E·s, beside a few
// values a channel and example. At most 25 operations an element, so memory sets the pace: at an H200's 4.8 TB/s,
// 128×128×64×64 in bfloat16 (134 MB) takes 0.056, 0.084 and 0.140 ms, if only the first reading is from memory; were
// the second too, it would be 3, 5 and 8 times E·s. With channels adjacent, 14 to 24 MB that others read and write lie
// between the two on an H200, whose L2 holds 50 MB, and less on smaller GPUs; but it is 5 to 9 MB on a T4, which has 4.
// Scratch that is written and read again, out of L2 too, is 1.6 % of x in forward and 4 % in double backward, in
// bfloat16.
#include "../virtual_batch_norm.h"
#include "columns.cuh"
#include "stream_vectors.cuh"

namespace gan_ops {
namespace {

using namespace cuda;

// On an H200 a multiprocessor needs 30 kB on their way from memory, 36 bytes a nanosecond for 0.8 µs, and half of that
// out of L2. These numbers have 32 kB at least on their way while sums are taken and 24 kB while results are written.

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900  // for which the compiler takes more registers, and memory is slower
constexpr int kAtOnce = 1;
#else
constexpr int kAtOnce = 2;
#endif

/// Blocks a multiprocessor at least: by itself the compiler spills registers to have more.
template <class F>
constexpr int kBlocks = kAtOnce == 2 ? (F::kInputs == 1 ? 3 : 2) : (F::kInputs == 3 ? 1 : 2);

/// Vectors of each input that a thread asks for at once while it sums, and while it writes, when the coefficients of
/// its channels take registers too.
template <class F>
constexpr int kSumming = F::kInputs == 1 ? 2 * kAtOnce : kAtOnce;
template <class F>
constexpr int kWriting = F::kInputs == 1   ? 2 * kAtOnce
                         : F::kInputs == 2 ? kAtOnce
                                           : 1;

// ---- Who has which elements ----

/// A thread's part of a task: vectors (vectors.cuh) of a chunk of pixels, of one channel or of as many as a vector has.
struct Place {
  int64_t row;    // of [N, C]: the block's first channel; its others follow
  int channels;   // of the block
  int pixels;     // of the chunk
  int own;        // the thread's first channel, counted from the block's
  int64_t first;  // the thread's first element
  int64_t step;   // from a vector to the next
  int vectors;    // how many it has,
  int whole;      // how many of these are whole,
  int rest;       // and how many elements the others have
  bool by_vector;
};

/// Pixels adjacent: `Lanes` neighbouring threads are a team, within a warp or a whole block, and have a channel.
template <int Lanes>
struct Planes {
  static constexpr bool kChunks = Lanes == kThreads;  // whether there may be several: planes of smaller teams are small
  template <class T>
  static constexpr int kWidth = kThreads / Lanes;  // channels of a block
  template <class T>
  static constexpr int kOwn = 1;                                       // channels of a thread
  static constexpr int kParts = Lanes > kWarp ? kThreads / kWarp : 1;  // that a channel's sums come in

  template <class T>
  __host__ __device__ __forceinline__ int width() const {
    return kWidth<T>;
  }
  /// Blocks' worth of channels.
  template <class T>
  __host__ __device__ __forceinline__ int64_t groups(const VbnLayout& s) const {
    return (s.rows() + kWidth<T> - 1) / kWidth<T>;
  }
  template <class T>
  __device__ __forceinline__ Place place(const VbnLayout& s, int64_t group, int64_t chunk, bool aligned) const {
    constexpr int kStep = Lanes * kVector<T>;
    const int team = threadIdx.x / Lanes, skipped = threadIdx.x % Lanes * kVector<T>;
    const int64_t row = group * kWidth<T>, begin = chunk * vbn_cuda_chunk(s);
    Place p;
    p.row = row;
    p.channels = static_cast<int>(min(int64_t(kWidth<T>), s.rows() - row));
    p.pixels = static_cast<int>(min(vbn_cuda_chunk(s), s.pixels - begin));
    p.own = team;
    p.first = (row + team) * s.pixels + begin + skipped;
    p.step = kStep;
    const int left = team < p.channels ? p.pixels - skipped : 0;  // elements from the first to the end of the chunk
    p.vectors = left > 0 ? (left - 1) / kStep + 1 : 0;
    p.whole = left >= kVector<T> ? (left - kVector<T>) / kStep + 1 : 0;
    p.rest = left - p.whole * kStep;
    p.by_vector = aligned && p.first % kVector<T> == 0;
    return p;
  }
  /// parts[·][k][channel] = the sums over the threads that share a channel, in as many parts.
  template <class T, int kCount, class A, class Parts>
  __device__ __forceinline__ void reduce(const A (&own)[1][kCount], Parts& parts) const {
    constexpr int kLanes = Lanes < kWarp ? Lanes : kWarp;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const A sum = lanes_sum<kLanes>(own[0][k]);
      if (threadIdx.x % kLanes == 0) parts[threadIdx.x % Lanes / kWarp][k][threadIdx.x / Lanes] = sum;
    }
  }
};

/// Channels adjacent: a thread has a vector of them in every `rows`-th pixel of a chunk, and `columns` (a power of two)
/// threads lie side by side. The eight that read 128 bytes of a pixel are the most.
struct Columns {
  int columns;

  static constexpr int kMost = 8;
  static constexpr bool kChunks = true;
  template <class T>
  static constexpr int kWidth = kMost * kVector<T>;
  template <class T>
  static constexpr int kOwn = kVector<T>;
  static constexpr int kParts = kThreads / kWarp;

  /// Half of that where a block has all of a channel's pixels: there would be few blocks. The examples do not count, so
  /// that results do not depend on how many there are.
  template <class T>
  static Columns of(const VbnLayout& s) {
    const int most = s.pixels > kThreads / kMost && vbn_cuda_chunks(s) == 1 ? kMost / 2 : kMost;
    int columns = 1;
    while (columns < most && columns * kVector<T> < s.channels) columns *= 2;
    return {columns};
  }
  template <class T>
  __host__ __device__ __forceinline__ int width() const {
    return columns * kVector<T>;
  }
  template <class T>
  __host__ __device__ __forceinline__ int64_t strips(const VbnLayout& s) const {
    return (s.channels + width<T>() - 1) / width<T>();
  }
  template <class T>
  __host__ __device__ __forceinline__ int64_t groups(const VbnLayout& s) const {
    return s.samples * strips<T>(s);
  }
  template <class T>
  __device__ __forceinline__ Place place(const VbnLayout& s, int64_t group, int64_t chunk, bool aligned) const {
    const int rows = kThreads / columns, above = threadIdx.x / columns;
    const int64_t n = group / strips<T>(s), channel = group % strips<T>(s) * width<T>();
    const int64_t begin = chunk * vbn_cuda_chunk(s);
    Place p;
    p.row = n * s.channels + channel;
    p.channels = static_cast<int>(min(int64_t(width<T>()), s.channels - channel));
    p.pixels = static_cast<int>(min(vbn_cuda_chunk(s), s.pixels - begin));
    p.own = threadIdx.x % columns * kVector<T>;
    p.first = (n * s.pixels + begin + above) * s.channels + channel + p.own;
    p.step = rows * s.channels;
    p.vectors = p.own < p.channels && above < p.pixels ? (p.pixels - above - 1) / rows + 1 : 0;
    p.rest = p.channels - p.own;
    p.whole = p.rest >= kVector<T> ? p.vectors : 0;
    p.by_vector = aligned && s.channels % kVector<T> == 0;
    return p;
  }
  template <class T, int kCount, class A, class Parts>
  __device__ __forceinline__ void reduce(A (&own)[kVector<T>][kCount], Parts& parts) const {
    for (int distance = columns; distance < kWarp; distance *= 2)
#pragma unroll
      for (int v = 0; v < kVector<T>; ++v)
#pragma unroll
        for (int k = 0; k < kCount; ++k) own[v][k] += __shfl_xor_sync(kAllLanes, own[v][k], distance);
    const int lane = threadIdx.x % kWarp;
    if (lane >= columns) return;
#pragma unroll
    for (int v = 0; v < kVector<T>; ++v)
#pragma unroll
      for (int k = 0; k < kCount; ++k) parts[threadIdx.x / kWarp][k][lane * kVector<T> + v] = own[v][k];
  }
};

/// What a block has in common: of each of its channels.
template <class Team, class F>
struct Shared {
  using A = typename F::A;
  static constexpr int kWidth = Team::template kWidth<typename F::Element>;
  A parts[Team::kParts][F::kSums][kWidth];
  A centre[kWidth];
  A coefficients[F::kCoefficients][kWidth];
};

// ---- Elements ----

/// in[v][K] = input K of element `at` + v, 0 behind the `count`-th and where there is no such input.
template <int K = 0, class T, class F, class A>
__device__ __forceinline__ void load_inputs(const Streams<T, F>& s, int64_t at, int count, bool by_vector,
                                            A (*in)[F::kInputs]) {
  A values[kVector<T>] = {};
  if (!F::kInputsMayLack || s.in[K] != nullptr) load(s.in[K] + at, count, by_vector, values);
#pragma unroll
  for (int v = 0; v < kVector<T>; ++v) in[v][K] = values[v];
  if constexpr (K + 1 < F::kInputs) load_inputs<K + 1>(s, at, count, by_vector, in);
}
/// The same of a whole vector that is aligned, in two steps, so that several can be under way.
template <int K = 0, class T, class F>
__device__ __forceinline__ void fetch_inputs(const Streams<T, F>& s, int64_t at, uint4* bits) {
  bits[K] = {};
  if (!F::kInputsMayLack || s.in[K] != nullptr) bits[K] = *reinterpret_cast<const uint4*>(s.in[K] + at);
  if constexpr (K + 1 < F::kInputs) fetch_inputs<K + 1>(s, at, bits);
}
template <class F, class A>
__device__ __forceinline__ void widen_inputs(const uint4* bits, A (*in)[F::kInputs]) {
  using T = typename F::Element;
#pragma unroll
  for (int k = 0; k < F::kInputs; ++k) {
    T elements[kVector<T>];
    memcpy(elements, bits + k, sizeof(uint4));
#pragma unroll
    for (int v = 0; v < kVector<T>; ++v) in[v][k] = widen(elements[v]);
  }
}

/// body(first element, how many, the values of their inputs) for each vector of this thread, `kAtOnce` of them on their
/// way at a time. Aligned or not, it sees the same elements in the same order.
template <int kAtOnce, class F, class Body>
__device__ __forceinline__ void for_inputs(const F& f, const Place& p, const Body& body) {
  using T = typename F::Element;
  using A = typename F::A;
  const auto streams = f.streams();
  int64_t at = p.first;
  int i = 0;
  if (p.by_vector)
#pragma unroll 1
    for (; i + kAtOnce <= p.whole; i += kAtOnce, at += kAtOnce * p.step) {
      uint4 bits[kAtOnce][F::kInputs];
#pragma unroll
      for (int a = 0; a < kAtOnce; ++a) fetch_inputs(streams, at + a * p.step, bits[a]);
#pragma unroll
      for (int a = 0; a < kAtOnce; ++a) {
        A in[kVector<T>][F::kInputs];
        widen_inputs<F>(bits[a], in);
        body(at + a * p.step, kVector<T>, in);
      }
    }
#pragma unroll 1
  for (; i < p.vectors; ++i, at += p.step) {
    A in[kVector<T>][F::kInputs];
    const int count = i < p.whole ? kVector<T> : p.rest;
    load_inputs(streams, at, count, p.by_vector, in);
    body(at, count, in);
  }
}

/// Which of a thread's channels element v of a vector belongs to.
template <class Team, class T>
__device__ __forceinline__ int channel_of(int v) {
  return Team::template kOwn<T> == 1 ? 0 : v;
}

// ---- Sums ----

/// The sum of a channel's parts, in order.
template <class Parts>
__device__ __forceinline__ auto total_of(const Parts& parts, int count, int k, int channel) {
  auto total = parts[0][k][channel];
#pragma unroll
  for (int part = 1; part < int(sizeof(parts) / sizeof(parts[0])); ++part)
    if (part < count) total += parts[part][k][channel];
  return total;
}

/// The sums over a chunk's pixels, of channel threadIdx.x of the block.
template <class Team, class F>
__device__ __forceinline__ void sum_pixels(const Team& team, const F& f, const VbnLayout& s, const Place& p,
                                           Shared<Team, F>& shared, typename F::A* sums) {
  using T = typename F::Element;
  using A = typename F::A;
  constexpr int kOwn = Team::template kOwn<T>;
  const int channel = threadIdx.x;
  const bool inside = channel < p.channels;
  A centre[kOwn];
  const auto take_centre = [&] {
    __syncthreads();
#pragma unroll
    for (int v = 0; v < kOwn; ++v) centre[v] = shared.centre[p.own + v];
  };
  if constexpr (F::kMoments) {
    A total[kOwn][1] = {}, squares[kOwn][1] = {};
    for_inputs<kSumming<F>>(f, p, [&](int64_t, int count, const A(*in)[F::kInputs]) {
#pragma unroll
      for (int v = 0; v < kVector<T>; ++v)
        if (v < count) total[channel_of<Team, T>(v)][0] += in[v][F::kX];
    });
    team.template reduce<T>(total, shared.parts);
    __syncthreads();
    if (inside) shared.centre[channel] = sums[0] = total_of(shared.parts, Team::kParts, 0, channel) / A(p.pixels);
    take_centre();
    for_inputs<kSumming<F>>(f, p, [&](int64_t, int count, const A(*in)[F::kInputs]) {
#pragma unroll
      for (int v = 0; v < kVector<T>; ++v)
        if (v < count) {
          const A distance = in[v][F::kX] - centre[channel_of<Team, T>(v)];
          squares[channel_of<Team, T>(v)][0] += distance * distance;
        }
    });
    team.template reduce<T>(squares, shared.parts);
    __syncthreads();
    if (inside) sums[1] = total_of(shared.parts, Team::kParts, 0, channel);
  } else {
    if (inside) shared.centre[channel] = f.centre(p.row + channel, (p.row + channel) % s.channels);
    take_centre();
    A own[kOwn][F::kSums] = {};
    for_inputs<kSumming<F>>(f, p, [&](int64_t, int count, const A(*in)[F::kInputs]) {
#pragma unroll
      for (int v = 0; v < kVector<T>; ++v)
        if (v < count) {
          A terms[F::kSums];
          f.terms(in[v], centre[channel_of<Team, T>(v)], terms);
#pragma unroll
          for (int k = 0; k < F::kSums; ++k) own[channel_of<Team, T>(v)][k] += terms[k];
        }
    });
    team.template reduce<T>(own, shared.parts);
    __syncthreads();
    if (inside)
#pragma unroll
      for (int k = 0; k < F::kSums; ++k) sums[k] = total_of(shared.parts, Team::kParts, k, channel);
  }
}

/// The sums over all of a channel's pixels, from those of its chunks: partial [kSums, chunks, N·C]. `width` (a power of
/// two) threads have a channel each, and the block's rows of them share the chunks.
template <class Team, class F>
__device__ __forceinline__ void sum_chunks(const VbnLayout& s, int64_t chunks, const Place& p, int width,
                                           const typename F::A* partial, Shared<Team, F>& shared, typename F::A* sums) {
  using A = typename F::A;
  const int channel = threadIdx.x % width, rows = kThreads / width, lane = threadIdx.x % kWarp;
  const int run = width < kWarp ? kWarp : width;  // threads whose sums make a part
  const int64_t end = channel < p.channels ? chunks : 0;
  const auto part = [&](int k, int64_t chunk) { return partial[(k * chunks + chunk) * s.rows() + p.row + channel]; };
  const auto reduce = [&](A value, int k) {
    for (int distance = width; distance < kWarp; distance *= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
    if (lane < width) shared.parts[threadIdx.x / run][k][channel] = value;
  };
  const auto total = [&](int k) { return total_of(shared.parts, kThreads / run, k, int(threadIdx.x)); };
  const bool inside = threadIdx.x < p.channels;
  if constexpr (F::kMoments) {
    const int64_t size = vbn_cuda_chunk(s);
    const auto count = [&](int64_t chunk) { return A(chunk + 1 < chunks ? size : s.pixels - chunk * size); };
    A whole = 0, squares = 0;
#pragma unroll 4
    for (int64_t chunk = threadIdx.x / width; chunk < end; chunk += rows) whole += part(0, chunk) * count(chunk);
    reduce(whole, 0);
    __syncthreads();
    if (inside) shared.centre[threadIdx.x] = sums[0] = total(0) / A(s.pixels);
    __syncthreads();
    const A mean = shared.centre[channel];
#pragma unroll 4
    for (int64_t chunk = threadIdx.x / width; chunk < end; chunk += rows) {
      const A distance = part(0, chunk) - mean;
      squares += part(1, chunk) + distance * distance * count(chunk);
    }
    reduce(squares, 1);
    __syncthreads();
    if (inside) sums[1] = total(1);
  } else {
#pragma unroll
    for (int k = 0; k < F::kSums; ++k) {
      A own = 0;
#pragma unroll 4
      for (int64_t chunk = threadIdx.x / width; chunk < end; chunk += rows) own += part(k, chunk);
      reduce(own, k);
    }
    __syncthreads();
    if (inside)
#pragma unroll
      for (int k = 0; k < F::kSums; ++k) sums[k] = total(k);
  }
}

// ---- After the sums ----

/// The algebra of channel threadIdx.x of the block, and what is kept of it.
template <class F, class A>
__device__ __forceinline__ void finish_channel(const F& f, const VbnLayout& s, const Place& p, const A* sums,
                                               A* coefficients) {
  const int64_t row = p.row + threadIdx.x;
  A keep[F::kKept];
  f.coefficients(row, row % s.channels, sums, coefficients, keep);
  if (!f.keeps()) return;
#pragma unroll
  for (int k = 0; k < F::kKept; ++k) f.kept[k][row] = keep[k];
}

template <class Team, class F>
__device__ __forceinline__ void write_pixels(const F& f, const Place& p, const Shared<Team, F>& shared) {
  using T = typename F::Element;
  using A = typename F::A;
  constexpr int kOwn = Team::template kOwn<T>;
  A c[kOwn][F::kCoefficients];
#pragma unroll
  for (int k = 0; k < F::kCoefficients; ++k)
#pragma unroll
    for (int v = 0; v < kOwn; ++v) c[v][k] = shared.coefficients[k][p.own + v];
  const auto streams = f.streams();
  for_inputs<kWriting<F>>(f, p, [&](int64_t at, int count, const A(*in)[F::kInputs]) {
    A out[kVector<T>][F::kOutputs];
#pragma unroll
    for (int v = 0; v < kVector<T>; ++v) f.write(in[v], c[channel_of<Team, T>(v)], out[v]);
    store_streams(streams, at, count, p.by_vector, out);
  });
}

// ---- Kernels ----

/// Channels that are one chunk each.
template <class Team, class F>
__global__ void __launch_bounds__(kThreads, kBlocks<F>) in_one(Team team, F f, VbnLayout s) {
  using T = typename F::Element;
  using A = typename F::A;
  __shared__ Shared<Team, F> shared;
  const bool aligned = aligned_streams(f.streams());
  // The bound is the same for a whole block, so that all its threads take part in the sums.
  for (int64_t group = blockIdx.x; group < team.template groups<T>(s); group += gridDim.x) {
    const Place p = team.template place<T>(s, group, 0, aligned);
    A sums[F::kSums], c[F::kCoefficients];
    sum_pixels(team, f, s, p, shared, sums);
    if (threadIdx.x < p.channels) {
      finish_channel(f, s, p, sums, c);
#pragma unroll
      for (int k = 0; k < F::kCoefficients; ++k) shared.coefficients[k][threadIdx.x] = c[k];
    }
    __syncthreads();
    if (f.writes()) write_pixels(f, p, shared);
  }
}

/// How channels of several chunks are walked: in tasks, a chunk of a group of channels each, which are gathered
/// (summed) and spread (written). Whoever gathers a group's last chunk joins the sums of all, and makes the
/// coefficients.
///
/// Blocks take tickets and do what they stand for. The first `lead` are for gathering; then spreading takes turns with
/// the gathering of what lies `lead` tasks ahead, so that a task is read for the second time while it is in L2, and
/// memory is never idle, as it would be at the end of one kernel and the beginning of the next.
///
/// Spreading waits for its group, whose tasks all have lower tickets as `lead` is at least `chunks`. Of the tickets
/// that are not done, the lowest waits for nothing: so blocks never wait for each other, in whatever order they run.
template <class A>
struct Tickets {
  int64_t chunks, tasks, lead;
  bool with_spreading;
  A* partial;         // [kSums, chunks, N·C]
  A* coefficients;    // [kCoefficients, N·C]
  unsigned* next;     // ticket
  unsigned* arrived;  // of each group: the chunks gathered, and one more when the coefficients are there

  struct Task {
    bool spreading;
    int64_t number;
  };

  __device__ __forceinline__ int64_t count() const { return with_spreading ? 2 * tasks : tasks; }
  __device__ __forceinline__ Task task(int64_t ticket) const {
    if (ticket < lead) return {false, ticket};
    if (ticket >= 2 * tasks - lead) return {true, ticket - tasks};
    const int64_t turn = ticket - lead;
    return turn % 2 == 0 ? Task{true, turn / 2} : Task{false, lead + turn / 2};
  }
};

/// Sums the task's chunk, and joins those of the group if it is the last of them.
template <class Team, class F>
__device__ __forceinline__ void gather(const Team& team, const F& f, const VbnLayout& s,
                                       const Tickets<typename F::A>& tickets, int64_t group, const Place& p,
                                       int64_t chunk, Shared<Team, F>& shared, bool& is_last) {
  using T = typename F::Element;
  using A = typename F::A;
  A sums[F::kSums];
  sum_pixels(team, f, s, p, shared, sums);
  const int64_t row = p.row + threadIdx.x;
  const bool inside = threadIdx.x < p.channels;
  if (inside)
#pragma unroll
    for (int k = 0; k < F::kSums; ++k) tickets.partial[(k * tickets.chunks + chunk) * s.rows() + row] = sums[k];
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();  // what the block wrote comes before its arrival, and what others wrote, before what follows
    is_last = atomicAdd(tickets.arrived + group, 1u) == tickets.chunks - 1;
    __threadfence();
  }
  __syncthreads();
  if (!is_last) return;
  sum_chunks(s, tickets.chunks, p, team.template width<T>(), tickets.partial, shared, sums);
  if (inside) {
    A c[F::kCoefficients];
    finish_channel(f, s, p, sums, c);
#pragma unroll
    for (int k = 0; k < F::kCoefficients; ++k) tickets.coefficients[k * s.rows() + row] = c[k];
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(tickets.arrived + group, 1u);
  }
}

/// Writes the task's pixels, when the group's coefficients are there.
template <class Team, class F>
__device__ __forceinline__ void spread(const F& f, const VbnLayout& s, const Tickets<typename F::A>& tickets,
                                       int64_t group, const Place& p, Shared<Team, F>& shared) {
  constexpr int kWidth = Shared<Team, F>::kWidth;
  if (threadIdx.x == 0) {
    const volatile unsigned* arrived = tickets.arrived + group;
    while (*arrived <= tickets.chunks) __nanosleep(100);
    __threadfence();
  }
  __syncthreads();
  for (int i = threadIdx.x; i < F::kCoefficients * kWidth; i += kThreads) {
    const int k = i / kWidth, channel = i % kWidth;
    if (channel < p.channels) shared.coefficients[k][channel] = tickets.coefficients[k * s.rows() + p.row + channel];
  }
  __syncthreads();
  write_pixels(f, p, shared);
}

/// Channels of several chunks.
template <class Team, class F>
__global__ void __launch_bounds__(kThreads, kBlocks<F>)
    in_chunks(Team team, F f, VbnLayout s, Tickets<typename F::A> tickets) {
  using T = typename F::Element;
  __shared__ Shared<Team, F> shared;
  __shared__ unsigned ticket;
  __shared__ bool is_last;
  const bool aligned = aligned_streams(f.streams());
  unsigned next = 0;
  if (threadIdx.x == 0) next = atomicAdd(tickets.next, 1u);
  for (;;) {
    if (threadIdx.x == 0) ticket = next;
    __syncthreads();
    if (ticket >= tickets.count()) return;
    const auto task = tickets.task(ticket);
    if (threadIdx.x == 0) next = atomicAdd(tickets.next, 1u);  // on its way while the task is done
    const int64_t group = task.number / tickets.chunks, chunk = task.number % tickets.chunks;
    const Place p = team.template place<T>(s, group, chunk, aligned);
    if (task.spreading)
      spread(f, s, tickets, group, p, shared);
    else
      gather(team, f, s, tickets, group, p, chunk, shared, is_last);
    __syncthreads();
  }
}

/// Blocks that run at once on architectures from 9.0 on; on older ones fewer do, and the others only wait for a place.
template <class F>
int64_t resident_blocks() {
  int device = 0, multiprocessors = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  return int64_t(multiprocessors) * kBlocks<F>;
}

template <class Team, class F>
void walk_in_teams(const Team& team, const F& f, const VbnLayout& s, void* scratch, CudaStream stream) {
  using T = typename F::Element;
  using A = typename F::A;
  const int64_t chunks = vbn_cuda_chunks(s), groups = team.template groups<T>(s), tasks = groups * chunks;
  if (chunks == 1) {
    launch(in_one<Team, F>, grid_for(groups), kThreads, stream, team, f, s);
    return;
  }
  if constexpr (Team::kChunks) {
    const unsigned grid = grid_for(min(resident_blocks<F>(), tasks));
    A* partial = static_cast<A*>(scratch);
    A* coefficients = partial + F::kSums * chunks * s.rows();
    unsigned* counters = reinterpret_cast<unsigned*>(coefficients + F::kCoefficients * s.rows());
    // A task is done when about as many tickets later have been taken as there are blocks, of which every other one is
    // for gathering: at this distance nobody waits. On an H200 (396 blocks, in double backward 264; tasks of 32 kB an
    // input) 7 to 14 MB of inputs and 7 to 10 MB of outputs lie between the two readings, of which L2 holds 50 MB.
    const int64_t lead = f.writes() ? min(tasks, chunks + grid / 2) : tasks;
    const Tickets<A> tickets{chunks, tasks, lead, f.writes(), partial, coefficients, counters, counters + 1};
    if (cudaMemsetAsync(counters, 0, (groups + 1) * sizeof(unsigned), stream) != cudaSuccess)
      throw std::runtime_error(std::string("gan_ops: counters were not cleared: ") +
                               cudaGetErrorString(cudaGetLastError()));
    launch(in_chunks<Team, F>, grid, kThreads, stream, team, f, s, tickets);
  }
}

template <class F>
void walk(const F& f, const VbnLayout& s, void* scratch, CudaStream stream) {
  if (s.channels_adjacent)
    walk_in_teams(Columns::of<typename F::Element>(s), f, s, scratch, stream);
  else if (s.pixels <= 64)
    walk_in_teams(Planes<4>{}, f, s, scratch, stream);
  else if (s.pixels <= 1024)
    walk_in_teams(Planes<kWarp>{}, f, s, scratch, stream);
  else
    walk_in_teams(Planes<kThreads>{}, f, s, scratch, stream);
}

template <class A, int Count>
struct Totals {
  const A* kept[Count];  // [N, C]
  A* total[Count];       // [C]
};

__host__ __device__ __forceinline__ int64_t strips_of_examples(const VbnLayout& s) {
  return (s.channels + kWarp - 1) / kWarp;
}

/// kept[k]: [N, C] → total[k]: [C], a warp 32 channels, a block's warps the examples. Reads Count·N·C values, 1/P of
/// what the walk moves.
template <class A, int Count>
__global__ void __launch_bounds__(kThreads) sum_examples(Totals<A, Count> totals, VbnLayout s) {
  __shared__ A shared[kWarps][kWarp];
  const int64_t strips = strips_of_examples(s);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t block = blockIdx.x; block < Count * strips; block += gridDim.x) {
    const int64_t k = block / strips, channel = block % strips * kWarp + lane;
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
#pragma unroll 4
      for (int64_t n = warp; n < s.samples; n += kWarps) sum += kept[n * s.channels + channel];
    shared[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && channel < s.channels) {
      sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += shared[w][lane];
      total[channel] = sum;
    }
    __syncthreads();
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
  launch(sum_examples<A, Count>, grid_for(Count * strips_of_examples(s)), kThreads, stream, totals, s);
}

}  // namespace

void run_on_cuda(const VbnForwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) { walk(make_forward<T, true>(a), a.layout, a.scratch, stream); });
}

void run_on_cuda(const VbnBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    const auto f = make_backward<T, true>(a);
    walk(f, a.layout, a.scratch, stream);
    add_up(f, a.layout, {a.d_weight, a.d_bias, a.d_reference_mean, a.d_reference_var}, stream);
  });
}

void run_on_cuda(const VbnDoubleBackwardArgs& a, Dtype dtype, CudaStream stream) {
  with_type(dtype, [&]<class T>(Type<T>) {
    const auto f = make_double_backward<T, true>(a);
    walk(f, a.layout, a.scratch, stream);
    add_up(f, a.layout, {a.d_weight, a.d_reference_mean, a.d_reference_var}, stream);
  });
}

}  // namespace gan_ops
