// Filtered leaky ReLU on the CPU: planes side by side, row by row. Of the enlarged image a few rows are there at a
// time, of which each is made once: a tile's rows pass through rings as long as the filters.
#include "../filtered_lrelu.h"

#include <memory>
#include <new>
#include <vector>

#include "planes.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int64_t kTileBytes = 384 << 10;  // of a tile's rows: with what else there is, they fit in L2
constexpr int64_t kTasks = 32;             // wanted, for threads to share
constexpr int64_t kLeastRows = 24;         // of a tile: its first rows cost a filter's length of enlarged rows

GAN_OPS_INLINE int64_t modulo(int64_t a, int64_t b) {
  return ((a % b) + b) % b;
}

template <class A>
using Is = decltype(Lanes<A>{} > A(0));
template <class A>
struct BytesOf {
  typedef uint8_t type __attribute__((vector_size(kLanes<A>)));
};
template <class A>
using Bytes = typename BytesOf<A>::type;

/// A filter as it is correlated, with its gain.
template <class A>
std::vector<A> prepared(const FilterArgs& filter, int64_t rows, int64_t columns) {
  const auto* taps = static_cast<const A*>(filter.taps);
  const int64_t count = filter.separable ? columns : rows * columns;
  std::vector<A> out(count);
  for (int64_t k = 0; k < count; ++k) out[k] = taps[filter.reversed ? count - 1 - k : k] * A(filter.gain);
  return out;
}

/// Rows of vectors, of which row i takes the place of row i − `rows`.
template <class A>
struct Ring {
  Lanes<A>* data;
  int64_t rows, width;

  GAN_OPS_INLINE Lanes<A>* row(int64_t i) const { return data + modulo(i, rows) * width; }
};

/// Columns of the input and of the enlarged image that a tile's columns [begin, end) depend on.
struct Columns {
  int64_t begin, end;
  int64_t mid_begin, mid_end;      // those that the filter covers, outside the image too
  int64_t inner_begin, inner_end;  // those of them inside
  int64_t in_begin, in_end;

  Columns(const FilteredAxis& axis, int64_t begin, int64_t end)
      : begin(begin), end(end), mid_begin(axis.mid_at(begin)), mid_end(axis.mid_at(end - 1) + axis.taps2) {
    inner_begin = std::clamp<int64_t>(mid_begin, 0, axis.mid);
    inner_end = std::clamp<int64_t>(mid_end, inner_begin, axis.mid);
    in_begin = in_end = 0;
    if (inner_begin == inner_end) return;
    in_begin = axis.taps_at(inner_begin).input;
    in_end = in_begin + 1;
    for (int64_t o = std::max(inner_begin, inner_end - axis.up); o < inner_end; ++o) {
      const Taps taps = axis.taps_at(o);
      in_end = std::max(in_end, taps.input + taps.count);
    }
  }
  int64_t in_width() const { return in_end - in_begin; }
  int64_t mid_width() const { return mid_end - mid_begin; }
  int64_t width() const { return end - begin; }
};

/// Vectors of each of a tile's buffers.
struct Buffers {
  int64_t input, ring1, enlarged, ring2, output, pointers;
  int64_t ring1_rows, ring2_rows, ring1_width, ring2_width;

  Buffers(const FilteredLreluArgs& args, const Columns& columns) {
    ring1_rows = (args.rows.taps1 + args.rows.up - 1) / args.rows.up;
    ring2_rows = args.rows.taps2;
    ring1_width = args.filter1.separable ? columns.mid_width() : columns.in_width();
    ring2_width = args.filter2.separable ? columns.width() : columns.mid_width();
    input = columns.in_width();
    ring1 = ring1_rows * ring1_width;
    enlarged = columns.mid_width();
    ring2 = ring2_rows * ring2_width;
    output = columns.width();
    pointers = ring1_rows + ring2_rows;
  }
  /// The row of zeros, which stands for those outside the images, is as long as the longest.
  int64_t zeros() const { return std::max(ring1_width, ring2_width); }
  int64_t count() const { return input + ring1 + enlarged + ring2 + output + zeros(); }
};

template <class A>
struct Pass {
  using V = Lanes<A>;

  const FilteredLreluArgs& args;
  const A *w1, *w2;
  ClampedLrelu<A> lrelu;
  CodesLayout codes;
  void (*load)(const void*, const PlaneBlock&, int64_t, int64_t, int64_t, V*);  // from the tensors' type
  void (*store)(const V*, const PlaneBlock&, int64_t, int64_t, int64_t, void*);

  PlaneBlock planes(int64_t block, const FilteredAxis& rows, const FilteredAxis& columns, bool of_x) const {
    const int64_t first = block * kLanes<A>, all = args.samples * args.channels;
    return {first,
            std::min<int64_t>(kLanes<A>, all - first),
            args.channels,
            of_x ? rows.in : rows.out,
            of_x ? columns.in : columns.out,
            args.channels_last};
  }

  /// A row of the input, 0 outside, with its bias.
  void load_row(const PlaneBlock& block, const V& bias, const Columns& c, int64_t row, V* to) const {
    const int64_t begin = std::clamp<int64_t>(0, c.in_begin, c.in_end);
    const int64_t end = std::clamp<int64_t>(args.columns.in, begin, c.in_end);
    if (row < 0 || row >= args.rows.in || begin == end) {
      std::fill(to, to + c.in_width(), V{});
      return;
    }
    std::fill(to, to + begin - c.in_begin, V{});
    V* pixels = to + begin - c.in_begin;
    load(args.x, block, row, begin, end - begin, pixels);
    if (args.bias != nullptr)
      for (int64_t p = 0; p < end - begin; ++p) pixels[p] += bias;
    std::fill(pixels + (end - begin), to + c.in_width(), V{});
  }

  /// Enlarged columns [inner_begin, inner_end), in `to` from mid_begin on, of `rows` rows of the input.
  void enlarge(const V* const* from, const A* taps, int64_t rows, int64_t row_taps, const Columns& c, V* to) const {
    const int64_t up = args.columns.up;
    for (int64_t o = c.inner_begin; o < std::min(c.inner_begin + up, c.inner_end); ++o) {
      const Taps t = args.columns.taps_at(o);
      const Correlation<A> correlation{taps + t.first, rows, row_taps, t.count, up, 1, up};
      correlation(from, t.input - c.in_begin, (c.inner_end - o + up - 1) / up, to + (o - c.mid_begin));
    }
  }

  /// s of t in place, for the enlarged columns of a row; codes are written up to column `owned_end`, or read.
  void activate(V* row, int64_t block, int64_t m, const Columns& c, bool owned_row, int64_t owned_end) const {
    uint8_t* bytes = args.codes + (block * codes.rows + m) * codes.bytes * kLanes<A>;
    V* at = row - c.mid_begin;
    const int64_t end = c.inner_end;
    const ClampedLrelu<A> f = lrelu;
    const auto plain = [=](int64_t begin, int64_t) GAN_OPS_LAMBDA_INLINE {
      for (int64_t o = begin; o < end; ++o) {
        Is<A> positive, within;
        f.apply(at[o], positive, within);
      }
    };
    // A byte's four columns, or those of them that are there.
    const auto write_byte = [=](int64_t first, int64_t count) GAN_OPS_LAMBDA_INLINE {
      Is<A> all{};
#pragma GCC unroll 4
      for (int place = 0; place < kCodesPerByte; ++place) {
        if (place >= count) break;
        Is<A> positive, within;
        f.apply(at[first + place], positive, within);
        const Is<A> none{}, below = none + (1 << 2 * place), beyond = none + (2 << 2 * place);
        all |= (positive ? none : below) | (within ? none : beyond);
      }
      if (first >= owned_end) return;
      const Bytes<A> narrow = __builtin_convertvector(all, Bytes<A>);
      std::memcpy(bytes + first / kCodesPerByte * kLanes<A>, &narrow, sizeof narrow);
    };
    const auto writing = [=](int64_t begin, int64_t) GAN_OPS_LAMBDA_INLINE {
      int64_t o = begin;
      for (; o + kCodesPerByte <= end; o += kCodesPerByte) write_byte(o, kCodesPerByte);
      if (o < end) write_byte(o, end - o);
    };
    const auto reading = [=](int64_t begin, int64_t) GAN_OPS_LAMBDA_INLINE {
      for (int64_t o = begin; o < end;) {
        const int64_t first = o / kCodesPerByte * kCodesPerByte;
        Bytes<A> narrow;
        std::memcpy(&narrow, bytes + first / kCodesPerByte * kLanes<A>, sizeof narrow);
        const Is<A> all = __builtin_convertvector(narrow, Is<A>);
        for (; o < std::min(first + kCodesPerByte, end); ++o) {
          const Is<A> code = all >> (2 * (o - first));
          f.mask(at[o], (code & 1) == 0, (code & 2) == 0);
        }
      }
    };
    if (args.use == Codes::read) return run_best(reading, c.inner_begin, end);
    if (args.use == Codes::written && owned_row) return run_best(writing, c.inner_begin, end);
    run_best(plain, c.inner_begin, end);
  }

  void tile(int64_t block, int64_t tile) const {
    const FilteredAxis &rows = args.rows, &columns = args.columns;
    const int64_t row_begin = tile / args.tiles.across * args.tiles.high;
    const int64_t row_end = std::min(rows.out, row_begin + args.tiles.high);
    const int64_t column_begin = tile % args.tiles.across * args.tiles.wide;
    const Columns c(columns, column_begin, std::min(columns.out, column_begin + args.tiles.wide));
    // The tile writes the codes that no tile after it could: those ahead of the next one's first.
    const int64_t owned_rows = row_end == rows.out ? rows.mid : row_end * rows.down;
    const int64_t owned_columns = c.end == columns.out ? columns.mid : c.end * columns.down;

    const Buffers sizes(args, c);
    std::unique_ptr<char[]> larger;
    void* memory = thread_scratch();
    if (sizes.count() * static_cast<int64_t>(sizeof(V)) > kScratchBytes) {
      larger.reset(new char[sizes.count() * sizeof(V) + alignof(V)]);
      memory = larger.get() + (alignof(V) - reinterpret_cast<uintptr_t>(larger.get()) % alignof(V));
    }
    V* input = static_cast<V*>(memory);
    const Ring<A> ring1{input + sizes.input, sizes.ring1_rows, sizes.ring1_width};
    V* enlarged = ring1.data + sizes.ring1;
    const Ring<A> ring2{enlarged + sizes.enlarged, sizes.ring2_rows, sizes.ring2_width};
    V* output = ring2.data + sizes.ring2;
    V* zeros = output + sizes.output;
    std::fill(zeros, zeros + sizes.zeros(), V{});
    std::fill(enlarged, enlarged + sizes.enlarged, V{});
    if (!args.filter2.separable) std::fill(ring2.data, ring2.data + sizes.ring2, V{});
    std::vector<const V*> from(std::max(sizes.ring1_rows, sizes.ring2_rows));

    const PlaneBlock of_x = planes(block, rows, columns, true), of_y = planes(block, rows, columns, false);
    V bias{};
    if (args.bias != nullptr)
      for (int64_t lane = 0; lane < of_x.count; ++lane)
        bias[lane] = static_cast<const A*>(args.bias)[(of_x.first + lane) % args.channels];

    int64_t next_input =
        rows.taps_at(std::clamp<int64_t>(rows.mid_at(row_begin), 0, std::max<int64_t>(rows.mid - 1, 0))).input;
    int64_t next_mid = std::max<int64_t>(rows.mid_at(row_begin), 0);
    V total{};
    for (int64_t q = row_begin; q < row_end; ++q) {
      const int64_t mid_begin = rows.mid_at(q), mid_end = mid_begin + rows.taps2;
      next_mid = std::max(next_mid, mid_begin);
      for (; next_mid < std::min(mid_end, rows.mid); ++next_mid) {
        const Taps t = rows.taps_at(next_mid);
        next_input = std::max(next_input, t.input);
        for (; next_input < t.input + t.count; ++next_input) {
          if (args.filter1.separable) {
            load_row(of_x, bias, c, next_input, input);
            const V* one = input;
            enlarge(&one, w1, 1, 0, c, ring1.row(next_input));
          } else {
            load_row(of_x, bias, c, next_input, ring1.row(next_input));
          }
        }
        for (int64_t j = 0; j < t.count; ++j) from[j] = ring1.row(t.input + j);
        V* made = args.filter2.separable ? enlarged : ring2.row(next_mid);
        if (args.filter1.separable) {
          const Correlation<A> down_columns{w1 + t.first, t.count, rows.up, 1, 1, 1, 1};
          const int64_t inner = c.inner_begin - c.mid_begin;
          down_columns(from.data(), inner, c.inner_end - c.inner_begin, made + inner);
        } else {
          enlarge(from.data(), w1 + t.first * columns.taps1, t.count, rows.up * columns.taps1, c, made);
        }
        activate(made, block, next_mid, c, next_mid >= row_begin * rows.down && next_mid < owned_rows, owned_columns);
        if (args.filter2.separable) {
          const V* one = enlarged;
          const Correlation<A> along{w2, 1, 0, columns.taps2, 1, columns.down, 1};
          along(&one, 0, c.width(), ring2.row(next_mid));
        }
      }
      for (int64_t k = 0; k < rows.taps2; ++k) {
        const int64_t m = mid_begin + k;
        from[k] = m >= 0 && m < rows.mid ? ring2.row(m) : zeros;
      }
      if (args.filter2.separable) {
        const Correlation<A> down_columns{w2, rows.taps2, 1, 1, 1, 1, 1};
        down_columns(from.data(), 0, c.width(), output);
      } else {
        const Correlation<A> both{w2, rows.taps2, columns.taps2, columns.taps2, 1, columns.down, 1};
        both(from.data(), 0, c.width(), output);
      }
      store(output, of_y, q, c.begin, c.width(), args.y);
      V of_row{};
      if (args.sums != nullptr)
        for (int64_t p = 0; p < c.width(); ++p) of_row += output[p];
      total += of_row;
    }
    if (args.sums == nullptr) return;
    A* sums = static_cast<A*>(args.sums) + tile * args.samples * args.channels + of_y.first;
    for (int64_t lane = 0; lane < of_y.count; ++lane) sums[lane] = total[lane];
  }
};

}  // namespace

OutputTiles tiles_on_cpu(const FilteredLreluArgs& args, Dtype dtype) {
  const FilteredAxis &rows = args.rows, &columns = args.columns;
  const int64_t lanes = dtype == Dtype::float64 ? kLanes<double> : kLanes<float>;
  int64_t across = 1, wide = columns.out;
  while (wide > 4 && Buffers(args, Columns(columns, 0, wide)).count() * 64 > kTileBytes) {
    ++across;
    wide = ((columns.out + across - 1) / across + 3) / 4 * 4;
  }
  const int64_t blocks = (args.samples * args.channels + lanes - 1) / lanes;
  const int64_t down = std::clamp<int64_t>(kTasks / std::max<int64_t>(1, blocks * across), 1,
                                           std::max<int64_t>(1, rows.out / kLeastRows));
  return output_tiles(rows, columns, (rows.out + down - 1) / down, wide);
}

void run_on_cpu(const FilteredLreluArgs& args, Dtype dtype) {
  with_type(dtype, [&]<class T>(Type<T>) {
    using A = Accumulate<T>;
    const auto w1 = prepared<A>(args.filter1, args.rows.taps1, args.columns.taps1);
    const auto w2 = prepared<A>(args.filter2, args.rows.taps2, args.columns.taps2);
    const Pass<A> pass{args,
                       w1.data(),
                       w2.data(),
                       {A(args.gain), A(args.slope), A(args.limit), args.limit >= 0},
                       codes_layout(args.samples * args.channels, args.rows, args.columns),
                       load_pixels<T>,
                       store_pixels<T>};
    constexpr int64_t lanes = kLanes<A>;
    const int64_t blocks = (args.samples * args.channels + lanes - 1) / lanes, tiles = args.tiles.count();
    const int64_t elements = args.tiles.high * args.tiles.wide * args.rows.down * args.columns.down * lanes;
    parallel_for(blocks * tiles, elements, [&pass, tiles](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) pass.tile(task / tiles, task % tiles);
    });
  });
}

}  // namespace gan_ops
