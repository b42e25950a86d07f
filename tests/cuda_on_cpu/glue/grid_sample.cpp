#include "../../../csrc/grid_sample.h"

#include "glue.h"

using namespace gan_ops;

namespace {

GridLayout layout_of(int64_t samples, int64_t channels, int64_t points, int64_t axes, int64_t width, int64_t height,
                     int64_t depth, int64_t channels_last) {
  return {samples, channels, points, {static_cast<int>(axes), {width, height, depth}}, channels_last != 0};
}

GridOptions options_of(int64_t nearest, int64_t padding, int64_t align_corners) {
  return {nearest != 0, static_cast<GridPadding>(padding), align_corners != 0};
}

}  // namespace

extern "C" {

void grid_sample_gather(Dtype dtype, const void* still, const void* moving, const void* grid, const void* moves,
                        const void* g, void* y, void* d_grid, int64_t samples, int64_t channels, int64_t points,
                        int64_t axes, int64_t width, int64_t height, int64_t depth, int64_t channels_last,
                        int64_t nearest, int64_t padding, int64_t align_corners) {
  run_on_cuda(GridGatherArgs{still, moving, grid, moves, g, y, d_grid,
                             layout_of(samples, channels, points, axes, width, height, depth, channels_last),
                             options_of(nearest, padding, align_corners)},
              dtype, nullptr);
}

void grid_sample_cells(Dtype dtype, const void* grid, void* cells, int64_t samples, int64_t channels, int64_t points,
                       int64_t axes, int64_t width, int64_t height, int64_t depth, int64_t channels_last,
                       int64_t nearest, int64_t padding, int64_t align_corners) {
  run_on_cuda(GridCellsArgs{grid, static_cast<int64_t*>(cells),
                            layout_of(samples, channels, points, axes, width, height, depth, channels_last),
                            options_of(nearest, padding, align_corners)},
              dtype, nullptr);
}

void grid_sample_scatter(Dtype dtype, const void* g, const void* grid, const void* moves, void* d_x, const void* order,
                         const void* starts, int64_t samples, int64_t channels, int64_t points, int64_t axes,
                         int64_t width, int64_t height, int64_t depth, int64_t channels_last, int64_t nearest,
                         int64_t padding, int64_t align_corners) {
  run_on_cuda(GridScatterArgs{g,
                              grid,
                              moves,
                              d_x,
                              {static_cast<const int64_t*>(order), static_cast<const int64_t*>(starts)},
                              layout_of(samples, channels, points, axes, width, height, depth, channels_last),
                              options_of(nearest, padding, align_corners)},
              dtype, nullptr);
}
}
