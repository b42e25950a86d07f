// Two sets of vectors, standardised, projected onto rays, and the 1-D Wasserstein distance of their projections, ray by
// ray. A set is rearranged once into panels of 32 vectors, [size, 32], so that a projection runs along the vectors: a
// tile of 8 rays by 32 vectors stays in registers, and each product is summed in the order of the columns, whatever the
// number of threads. For c = 147 columns a tile is 2·8·32·c = 75 kFLOP for 4·(32 + 8)·c = 24 kB out of the cache.
#include "../projected_wasserstein.h"

#include <vector>

#include "wasserstein_1d.h"

namespace gan_ops {
namespace {

using namespace cpu;

constexpr int kRays = 8;                  // of a tile
constexpr int64_t kSummedTogether = 512;  // vectors whose moments are added up in one piece

/// What column k of a set is shifted and scaled by; of float64, as a mean rounded to float32 would leave a remainder.
struct Columns {
  std::vector<double> shift, scale;
};

/// Those that bring each channel to mean 0 and deviation 1 (all to 0 where it does not vary). Sums are of float64.
Columns standardising(const float* x, int64_t count, int64_t size, int64_t channels) {
  Columns columns{std::vector<double>(size, 0.0), std::vector<double>(size, 1.0)};
  if (channels == 0) return columns;
  const int64_t pieces = (count + kSummedTogether - 1) / kSummedTogether;
  std::vector<double> sums(2 * pieces * size);
  parallel_for(pieces, kSummedTogether * size, [&](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t piece = begin; piece < end; ++piece) {
      double *const sum = &sums[2 * piece * size], *const square = sum + size;
      for (int64_t n = piece * kSummedTogether; n < std::min((piece + 1) * kSummedTogether, count); ++n) {
        const float* const row = x + n * size;
#pragma omp simd
        for (int64_t k = 0; k < size; ++k) {
          sum[k] += double(row[k]);
          square[k] += double(row[k]) * double(row[k]);
        }
      }
    }
  });
  const int64_t width = size / channels;
  for (int64_t channel = 0; channel < channels; ++channel) {
    double sum = 0, square = 0;
    for (int64_t piece = 0; piece < pieces; ++piece)
      for (int64_t k = channel * width; k < (channel + 1) * width; ++k) {
        sum += sums[2 * piece * size + k];
        square += sums[(2 * piece + 1) * size + k];
      }
    const double values = double(count) * double(width), mean = sum / values;
    const double deviation = std::sqrt(std::max(square / values - mean * mean, 0.0));
    std::fill_n(columns.shift.begin() + channel * width, width, -mean);
    std::fill_n(columns.scale.begin() + channel * width, width, deviation > 0 ? 1 / deviation : 0.0);
  }
  return columns;
}

/// panels[p, k, n] = (x[32·p + n, k] + shift[k])·scale[k]; zeros behind the last vector.
void make_panels(const float* x, int64_t count, int64_t size, const Columns& columns, float* panels) {
  parallel_for(padded_count(count) / kPanel, kPanel * size, [&](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
    for (int64_t p = begin; p < end; ++p) {
      const float* const from = x + p * kPanel * size;
      float* const panel = panels + p * kPanel * size;
      const int64_t valid = std::min(kPanel, count - p * kPanel);
      for (int64_t k = 0; k < size; ++k) {
        const double shift = columns.shift[k], scale = columns.scale[k];
        for (int64_t n = 0; n < valid; ++n)
          panel[k * kPanel + n] = static_cast<float>((double(from[n * size + k]) + shift) * scale);
        for (int64_t n = valid; n < kPanel; ++n) panel[k * kPanel + n] = 0;
      }
    }
  });
}

/// Rays in groups of kRays, [size, kRays] each; zeros behind the last one.
std::vector<float> grouped(const float* rays, int64_t directions, int64_t size) {
  std::vector<float> groups((directions + kRays - 1) / kRays * kRays * size);
  for (int64_t d = 0; d < directions; ++d)
    for (int64_t k = 0; k < size; ++k) groups[d / kRays * kRays * size + k * kRays + d % kRays] = rays[d * size + k];
  return groups;
}

/// into[r · stride + n] = Σ_k rays[k, r]·panel[k, n] for the first `valid` rays of a group.
GAN_OPS_LAMBDA_INLINE inline void project_tile(const float* panel, const float* rays, int64_t size, int64_t valid,
                                               float* into, int64_t stride) {
  float sums[kRays][kPanel] = {};
  for (int64_t k = 0; k < size; ++k)
    for (int r = 0; r < kRays; ++r) {
      const float ray = rays[k * kRays + r];
#pragma omp simd
      for (int n = 0; n < kPanel; ++n) sums[r][n] += panel[k * kPanel + n] * ray;
    }
  if (valid == kRays) {
    for (int r = 0; r < kRays; ++r)
#pragma omp simd
      for (int n = 0; n < kPanel; ++n) into[r * stride + n] = sums[r][n];
  } else {
    for (int r = 0; r < valid; ++r) std::copy_n(sums[r], kPanel, into + r * stride);
  }
}

/// The projections of all vectors onto some rays.
void project(const float* panels, int64_t count, int64_t size, const float* groups, int64_t directions, float* into) {
  const int64_t stride = projection_stride(count);
  parallel_for(padded_count(count) / kPanel, kPanel * size * directions,
               [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
                 for (int64_t p = begin; p < end; ++p)
                   for (int64_t d = 0; d < directions; d += kRays)
                     project_tile(panels + p * kPanel * size, groups + d * size, size,
                                  std::min<int64_t>(kRays, directions - d), into + d * stride + p * kPanel, stride);
               });
}

}  // namespace

void run_on_cpu(const ProjectedWassersteinArgs& args) {
  make_panels(args.a, args.count, args.size, standardising(args.a, args.count, args.size, args.channels),
              args.a_panels);
  make_panels(args.b, args.count, args.size, standardising(args.b, args.count, args.size, args.channels),
              args.b_panels);
  const std::vector<float> groups = grouped(args.rays, args.directions, args.size);
  const int64_t stride = projection_stride(args.count);
  for (int64_t first = 0; first < args.directions; first += kProjectedTogether) {
    const int64_t directions = std::min(kProjectedTogether, args.directions - first);
    const float* const rays = groups.data() + first * args.size;
    project(args.a_panels, args.count, args.size, rays, directions, args.a_projections);
    project(args.b_panels, args.count, args.size, rays, directions, args.b_projections);
    parallel_for(directions, 4 * args.count, [=](int64_t begin, int64_t end) GAN_OPS_LAMBDA_INLINE {
      Workspace work;
      for (int64_t d = begin; d < end; ++d)
        args.distance[first + d] =
            wasserstein_1d(args.a_projections + d * stride, args.b_projections + d * stride, args.count, work);
    });
  }
}

}  // namespace gan_ops
