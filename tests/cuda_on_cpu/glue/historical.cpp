#include "../../../csrc/historical.h"

#include <vector>

#include "glue.h"

using namespace gan_ops;

namespace {

/// A group of `count` tensors; `v` and `out` may be null.
struct Group {
  std::vector<HistoricalTensor> tensors;
  int64_t chunks = 0;
  bool wide_averages;
  HistoricalStep step;

  Group(const void* const* parameters, const void* const* averages, const void* const* v, void* const* out,
        const int64_t* sizes, int64_t count, int64_t wide, double step)
      : wide_averages(wide != 0), step{step, nullptr} {
    for (int64_t i = 0; i < count; ++i) {
      tensors.push_back({parameters[i], averages[i], v == nullptr ? nullptr : v[i], out == nullptr ? nullptr : out[i],
                         sizes[i], chunks});
      chunks += (sizes[i] + kHistoricalChunk - 1) / kHistoricalChunk;
    }
  }
  operator HistoricalGroup() const {
    return {tensors.data(), static_cast<int64_t>(tensors.size()), chunks, wide_averages, step};
  }
};

void add_up(const Scratch& partial, const Group& group, double* total, double factor) {
  run_on_cuda(HistoricalSumArgs{static_cast<const double*>(partial.get()), group.chunks, total, group.step, factor},
              Dtype::float64, nullptr);
}

}  // namespace

extern "C" {

void historical_distance(Dtype dtype, const void* const* parameters, const void* const* averages, double* distance,
                         const int64_t* sizes, int64_t count, int64_t wide, double step) {
  const Group group(parameters, averages, nullptr, nullptr, sizes, count, wide, step);
  const Scratch partial(Dtype::float64, group.chunks);
  run_on_cuda(HistoricalDistanceArgs{group, static_cast<double*>(partial.get())}, dtype, nullptr);
  add_up(partial, group, distance, 0.5);
}

void historical_distance_backward(Dtype dtype, const double* g, const void* const* parameters,
                                  const void* const* averages, void* const* d_parameters, const int64_t* sizes,
                                  int64_t count, int64_t wide, double step) {
  const Group group(parameters, averages, nullptr, d_parameters, sizes, count, wide, step);
  run_on_cuda(HistoricalBackwardArgs{group, g}, dtype, nullptr);
}

void historical_distance_double_backward(Dtype dtype, const void* const* v, const double* g,
                                         const void* const* parameters, const void* const* averages, double* d_g,
                                         void* const* d_parameters, const int64_t* sizes, int64_t count, int64_t wide,
                                         double step) {
  const Group group(parameters, averages, v, d_parameters, sizes, count, wide, step);
  const Scratch partial(Dtype::float64, group.chunks);
  run_on_cuda(HistoricalDoubleBackwardArgs{group, g, static_cast<double*>(partial.get())}, dtype, nullptr);
  add_up(partial, group, d_g, 1.0);
}

void historical_update(Dtype dtype, const void* const* parameters, const void* const* averages, void* const* moved,
                       const int64_t* sizes, int64_t count, int64_t wide, double step) {
  const int64_t size = dtype == Dtype::float64 ? 8 : dtype == Dtype::float32 || wide != 0 ? 4 : 2;
  for (int64_t i = 0; i < count; ++i) std::memcpy(moved[i], averages[i], sizes[i] * size);  // averages move in place
  const Group group(parameters, moved, nullptr, moved, sizes, count, wide, step);
  run_on_cuda(HistoricalUpdateArgs{group}, dtype, nullptr);
}
}
