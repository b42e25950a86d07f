// The 1-D Wasserstein distance on the CPU, almost without sorting.
//
// The mean of |sort(a)_i − sort(b)_i| is the integral of |F_a − F_b|, where n·F counts the values of a set up to x. Cut
// the line into buckets. Where D = n·(F_a − F_b) can't change its sign inside a bucket, since it begins it further from
// zero than the values in the bucket can bring it, the integral over the bucket follows from how many values of each
// set lie there and from their sum: one walk over the values finds both. Only in the other buckets the order of the
// values counts; they are few unless the sets are all but equal, and their values are gathered and put in order.
//
// A value x is taken as the whole number key(x) = sign(x)·(bits(|x| + s) − bits(s)), s being a power of two of the size
// of the mean |x|: even steps up to s, and beyond it steps that double with each octave. A bucket is a run of 2^shift
// keys within which x is linear in the key, so that everything inside it is exact in integers. Rounding x to its key
// is all that is lost: 2^-24·(|x| + s) at most.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "parallel.h"

namespace gan_ops::cpu {

constexpr int kOctaves = 10;  // at most, from s to the largest value: that bounds the tables
constexpr int64_t kFewest = 4096, kMost = int64_t(1) << 25;  // values of a row; others are sorted
constexpr int64_t kBlock = 512;
constexpr int64_t kPlacesWalked = 20;  // in the time that it takes to sort one key more

/// A bucket: how many keys, and the sum of their places within it, in one number that takes one addition.
constexpr int kCountShift = 38;  // the sum of kMost places has 25 + 10 bits, that of fewer no more
using Bucket = uint64_t;
inline int64_t count_of(Bucket bucket) {
  return static_cast<int64_t>(bucket >> kCountShift);
}
inline int64_t sum_of(Bucket bucket) {
  return static_cast<int64_t>(bucket & ((Bucket(1) << kCountShift) - 1));
}

inline uint32_t magnitude_bits(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffffu;
}

struct Keys {
  float s;
  int shift;

  int64_t width() const { return int64_t(1) << shift; }

  GAN_OPS_LAMBDA_INLINE int32_t of(float x) const {
    const int32_t sign = std::bit_cast<int32_t>(x) >> 31;
    const float magnitude = std::bit_cast<float>(magnitude_bits(x));
    const int32_t key = std::bit_cast<int32_t>(magnitude + s) - std::bit_cast<int32_t>(s);
    return (key ^ sign) - sign;
  }
  /// What a key more or less amounts to in a bucket.
  double step(int64_t bucket) const {
    const int64_t nearest = bucket < 0 ? ~bucket : bucket;  // to zero, counted from there
    const int32_t bits = std::bit_cast<int32_t>(s) + static_cast<int32_t>(nearest << shift);
    return double(std::bit_cast<float>(bits & 0x7f800000)) * 0x1p-23;
  }
};

/// Fewer values, wider buckets (to walk the tables costs too); 2M of a normal set have some 100 in one of the middle.
inline int shift_for(int64_t n) {
  return std::clamp(9 + (22 - static_cast<int>(std::bit_width(static_cast<uint64_t>(n)))) / 2, 10, 12);
}

struct Size {
  uint32_t largest;  // the bits of the largest magnitude
  double sum;        // of magnitudes
};

GAN_OPS_LAMBDA_INLINE inline Size size_of(const float* x, int64_t n) {
  Size size{0, 0};
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t width = std::min(kBlock, n - first);
    uint32_t largest = 0;
    float sum = 0;
#pragma omp simd reduction(max : largest) reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) {
      const uint32_t bits = magnitude_bits(x[first + i]);
      largest = std::max(largest, bits);
      sum += std::bit_cast<float>(bits);
    }
    size.largest = std::max(size.largest, largest);
    size.sum += sum;
  }
  return size;
}

/// body(key) for each value in order; keys are made a block at a time.
template <class Body>
GAN_OPS_LAMBDA_INLINE inline void for_keys(const float* x, int64_t n, Keys keys, const Body& body) {
  int32_t block[kBlock];
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t width = std::min(kBlock, n - first);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) block[i] = keys.of(x[first + i]);
    for (int64_t i = 0; i < width; ++i) body(block[i]);
  }
}

/// What a thread works in; memory grows to what the rows need and is used again.
struct Workspace {
  std::vector<Bucket> a_buckets, b_buckets;
  std::vector<uint8_t> wanted;              // whether a bucket's keys are gathered
  std::vector<int64_t> a_places, b_places;  // where its next one goes
  std::vector<int32_t> a_keys, b_keys;
  std::vector<int32_t> steps;  // zeros
  std::vector<float> a_sorted, b_sorted;
};

inline double distance_by_sorting(const float* a, const float* b, int64_t n, Workspace& work) {
  work.a_sorted.assign(a, a + n);
  work.b_sorted.assign(b, b + n);
  std::sort(work.a_sorted.begin(), work.a_sorted.end());
  std::sort(work.b_sorted.begin(), work.b_sorted.end());
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += std::abs(double(work.a_sorted[i]) - double(work.b_sorted[i]));
  return total / double(n);
}

GAN_OPS_LAMBDA_INLINE inline void count(const float* x, int64_t n, Keys keys, int64_t buckets,
                                        std::vector<Bucket>& into) {
  into.assign(2 * buckets, 0);
  Bucket* middle = into.data() + buckets;
  for_keys(x, n, keys, [=](int32_t key) GAN_OPS_LAMBDA_INLINE {
    middle[key >> keys.shift] += (Bucket(1) << kCountShift) + static_cast<Bucket>(key & (keys.width() - 1));
  });
}

GAN_OPS_LAMBDA_INLINE inline void gather(const float* x, int64_t n, Keys keys, int64_t buckets, const uint8_t* wanted,
                                         int64_t* places, int32_t* into) {
  int32_t block[kBlock], kept[kBlock];
  const uint8_t* const middle = wanted + buckets;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t width = std::min(kBlock, n - first);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) block[i] = keys.of(x[first + i]);
    int64_t count = 0;  // no branch for each value: half of those taken would come as a surprise
    for (int64_t i = 0; i < width; ++i) {
      kept[count] = block[i];
      count += middle[block[i] >> keys.shift];
    }
    for (int64_t i = 0; i < count; ++i) into[places[(kept[i] >> keys.shift) + buckets]++] = kept[i];
  }
}

/// The integral of |D| over a bucket, in steps of its keys; D is what it is at the bucket's begin. `steps` holds a zero
/// for each key, before and after.
inline int64_t integral_by_counting(int64_t d, int64_t width, const int32_t* a, int64_t a_count, const int32_t* b,
                                    int64_t b_count, int32_t* steps) {
  for (int64_t i = 0; i < a_count; ++i) ++steps[a[i] & (width - 1)];
  for (int64_t i = 0; i < b_count; ++i) --steps[b[i] & (width - 1)];
  int64_t total = 0;
  for (int64_t i = 0; i < width; ++i) {
    d += steps[i];
    total += std::abs(d);
    steps[i] = 0;
  }
  return total;
}

/// The same for few keys.
inline int64_t integral_by_sorting(int64_t d, int64_t width, int64_t first_key, int32_t* a, int64_t a_count, int32_t* b,
                                   int64_t b_count) {
  std::sort(a, a + a_count);
  std::sort(b, b + b_count);
  int64_t total = 0, at = first_key;
  for (int64_t i = 0, j = 0; i < a_count || j < b_count;) {
    const bool from_a = j == b_count || (i < a_count && a[i] <= b[j]);
    const int64_t key = from_a ? a[i++] : b[j++];
    total += std::abs(d) * (key - at);
    d += from_a ? 1 : -1;
    at = key;
  }
  return total + std::abs(d) * (first_key + width - at);
}

/// Of a, b: [n].
GAN_OPS_LAMBDA_INLINE inline double wasserstein_1d(const float* a, const float* b, int64_t n, Workspace& work) {
  const Size a_size = size_of(a, n), b_size = size_of(b, n);
  const uint32_t largest_bits = std::max(a_size.largest, b_size.largest);
  const float largest = std::bit_cast<float>(largest_bits);
  if (largest_bits >= 0x7f800000u) return std::numeric_limits<double>::quiet_NaN();  // infinite or NaN
  if (n < kFewest || n > kMost || !(largest > 0x1p-100f && largest < 0x1p100f))
    return distance_by_sorting(a, b, n, work);

  const double mean = (a_size.sum + b_size.sum) / (2 * double(n));
  // Keys reach kOctaves above the mean: for larger outliers they would have to be coarser than the mean allows.
  if (double(largest) > std::ldexp(mean, kOctaves)) return distance_by_sorting(a, b, n, work);
  const double s = std::exp2(std::ceil(std::log2(mean)));
  const Keys keys{static_cast<float>(s), shift_for(n)};
  const int64_t buckets = (keys.of(largest) >> keys.shift) + 1;  // on either side of 0
  count(a, n, keys, buckets, work.a_buckets);
  count(b, n, keys, buckets, work.b_buckets);

  work.wanted.assign(2 * buckets, 0);
  work.a_places.resize(2 * buckets);
  work.b_places.resize(2 * buckets);
  const int64_t width = keys.width();
  double total = 0;
  int64_t d = 0, a_wanted = 0, b_wanted = 0;
  for (int64_t i = 0; i < 2 * buckets; ++i) {
    const int64_t a_count = count_of(work.a_buckets[i]), b_count = count_of(work.b_buckets[i]);
    if (d >= b_count || d <= -a_count) {
      const int64_t after_a = a_count * width - sum_of(work.a_buckets[i]);
      const int64_t after_b = b_count * width - sum_of(work.b_buckets[i]);
      total += double(std::abs(d * width + after_a - after_b)) * keys.step(i - buckets);
    } else {
      work.wanted[i] = 1;
      work.a_places[i] = a_wanted;
      work.b_places[i] = b_wanted;
      a_wanted += a_count;
      b_wanted += b_count;
    }
    d += a_count - b_count;
  }
  if (a_wanted + b_wanted > 0) {
    work.a_keys.resize(a_wanted);
    work.b_keys.resize(b_wanted);
    work.steps.resize(width);
    gather(a, n, keys, buckets, work.wanted.data(), work.a_places.data(), work.a_keys.data());
    gather(b, n, keys, buckets, work.wanted.data(), work.b_places.data(), work.b_keys.data());
    d = 0;
    for (int64_t i = 0; i < 2 * buckets; ++i) {
      const int64_t a_count = count_of(work.a_buckets[i]), b_count = count_of(work.b_buckets[i]);
      if (work.wanted[i]) {
        const int64_t first_key = (i - buckets) * width;
        int32_t* const a_keys = work.a_keys.data() + work.a_places[i] - a_count;
        int32_t* const b_keys = work.b_keys.data() + work.b_places[i] - b_count;
        const bool few = kPlacesWalked * (a_count + b_count) < width;
        total += keys.step(i - buckets) *
                 double(few ? integral_by_sorting(d, width, first_key, a_keys, a_count, b_keys, b_count)
                            : integral_by_counting(d, width, a_keys, a_count, b_keys, b_count, work.steps.data()));
      }
      d += a_count - b_count;
    }
  }
  return total / double(n);
}

}  // namespace gan_ops::cpu
