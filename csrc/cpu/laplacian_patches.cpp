// A level of the Laplacian pyramid and its patches, an image and a channel at a time: the level of one channel stays in
// the cache from where it is made until its patches are cut out of it, and is never written to memory as a whole.
//
// Shrinking smooths by k = (1 4 6 4 1)/16 along both axes, borders mirrored, and keeps every second pixel. Enlarging
// smooths by 2k what has zeros between its pixels, so that along an axis pixel 2i becomes (s[i−1] + 6·s[i] + s[i+1])/8
// and pixel 2i + 1 becomes (s[i] + s[i+1])/2. Mirrored with its zeros, s goes on as s[−1] = s[1] and s[n] = s[n−1].
#include "../laplacian_patches.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "parallel.h"

namespace gan_ops {
namespace {

using namespace cpu;

/// smaller[i, j], [size/2, size/2]; `row` has room for size + 4.
template <class T>
GAN_OPS_LAMBDA_INLINE inline void shrink(const T* image, int64_t size, float* row, float* smaller) {
  const auto mirrored = [size](int64_t i) { return i >= size ? 2 * (size - 1) - i : std::abs(i); };
  float* const pixels = row + 2;
  for (int64_t i = 0; i < size / 2; ++i) {
    const T* taps[5];
    for (int k = 0; k < 5; ++k) taps[k] = image + mirrored(2 * i + k - 2) * size;
#pragma omp simd
    for (int64_t j = 0; j < size; ++j)
      pixels[j] = (float(taps[0][j]) + float(taps[4][j]) + 4 * (float(taps[1][j]) + float(taps[3][j])) +
                   6 * float(taps[2][j])) *
                  0.0625f;
    for (const int64_t j : {int64_t(-2), int64_t(-1), size, size + 1}) pixels[j] = pixels[mirrored(j)];
#pragma omp simd
    for (int64_t j = 0; j < size / 2; ++j)
      smaller[i * (size / 2) + j] =
          (row[2 * j] + row[2 * j + 4] + 4 * (row[2 * j + 1] + row[2 * j + 3]) + 6 * row[2 * j + 2]) * 0.0625f;
  }
}

/// wide[i, j] = smaller enlarged along its rows, [size/2, size].
GAN_OPS_LAMBDA_INLINE inline void widen_rows(const float* smaller, int64_t size, float* wide) {
  const int64_t n = size / 2;
  for (int64_t i = 0; i < n; ++i) {
    const float* const s = smaller + i * n;
    float* const to = wide + i * size;
    to[0] = (2 * s[1] + 6 * s[0]) * 0.125f;
    to[1] = (s[0] + s[1]) * 0.5f;
#pragma omp simd
    for (int64_t j = 1; j < n - 1; ++j) {
      to[2 * j] = (s[j - 1] + s[j + 1] + 6 * s[j]) * 0.125f;
      to[2 * j + 1] = (s[j] + s[j + 1]) * 0.5f;
    }
    to[size - 2] = (s[n - 2] + 7 * s[n - 1]) * 0.125f;
    to[size - 1] = s[n - 1];
  }
}

/// level = image − wide enlarged along its columns, [size, size].
template <class T>
GAN_OPS_LAMBDA_INLINE inline void subtract_enlarged(const T* image, const float* wide, int64_t size, float* level) {
  const int64_t n = size / 2;
  for (int64_t i = 0; i < n; ++i) {
    const float* const at = wide + i * size;
    const float* const before = wide + (i == 0 ? 1 : i - 1) * size;
    const float* const after = wide + std::min(i + 1, n - 1) * size;
    const T* const from = image + 2 * i * size;
    float* const to = level + 2 * i * size;
#pragma omp simd
    for (int64_t j = 0; j < size; ++j) to[j] = float(from[j]) - (before[j] + after[j] + 6 * at[j]) * 0.125f;
#pragma omp simd
    for (int64_t j = 0; j < size; ++j) to[size + j] = float(from[size + j]) - (at[j] + after[j]) * 0.5f;
  }
}

template <class T>
void run_for(const LaplacianPatchesArgs<T>& args) {
  const int64_t size = args.size, half = size / 2, pixels = size * size, length = args.channels * kPatch * kPatch;
  parallel_for(args.count, args.channels * (8 * pixels + args.patches * kPatch * kPatch),
               [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
                 std::vector<float> level(pixels), wide(half * size), row(size + 4);
                 for (int64_t n = begin; n < end; ++n)
                   for (int64_t c = 0; c < args.channels; ++c) {
                     const T* const image = args.images + (n * args.channels + c) * pixels;
                     if (args.smaller != nullptr) {
                       float* const smaller = args.smaller + (n * args.channels + c) * half * half;
                       shrink(image, size, row.data(), smaller);
                       widen_rows(smaller, size, wide.data());
                       subtract_enlarged(image, wide.data(), size, level.data());
                     } else {
                       std::copy_n(image, pixels, level.data());
                     }
                     for (int64_t p = n * args.patches; p < (n + 1) * args.patches; ++p) {
                       const float* from = level.data() + args.places[2 * p] * size + args.places[2 * p + 1];
                       float* to = args.descriptors + p * length + c * kPatch * kPatch;
                       for (int64_t y = 0; y < kPatch; ++y, from += size, to += kPatch)
                         std::memcpy(to, from, kPatch * sizeof(float));
                     }
                   }
               });
}

}  // namespace

void run_on_cpu(const LaplacianPatchesArgs<uint8_t>& args) {
  run_for(args);
}
void run_on_cpu(const LaplacianPatchesArgs<float>& args) {
  run_for(args);
}

}  // namespace gan_ops
